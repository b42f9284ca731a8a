"""How many places should a batch have, and how many images of each?

More places give more negatives, more images more positives. All shapes train on the same places,
those with four images, so that only the batches differ; an epoch takes each place once, so that
small batches make more steps of it. bracco2024 has 32 places, the code of curello2023 and
dashti2024 64.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {"batch.min_images_per_place": 4}

PUBLISHED: list[dict[str, Any]] = [
    *published("batch"),
    # GSV-Cities, MixVPR and Bag-of-Queries.
    *({"batch.places": places, "batch.images_per_place": 4} for places in (100, 120, 128)),
]

PLACES = [8, 16, 32, 64, 128]


def suggest(trial: Any) -> None:
    """Draw the places of a batch and the images of a place."""
    trial.suggest_categorical("batch.places", PLACES)
    trial.suggest_categorical("batch.images_per_place", [2, 3, 4])
