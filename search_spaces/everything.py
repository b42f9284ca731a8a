"""Everything at once: networks, losses, miners or mining, optimizers, schedules, augmentations.

For a long search. The published settings are whole rows of the studies' tables, so that
``--published-only`` trains them again. A loss learns from batches of places, which a miner may thin
out, or from tuples, which need data with queries and a database. Without those, compose the parts:
``aggregators+losses+miners+optimizers+schedulers``. The image size is fixed, or drawn with
``everything+image_sizes``.
"""

from typing import Any

from search_spaces import (
    aggregators,
    attention,
    augmentations,
    backbones,
    batch_shape,
    brightness,
    losses,
    miners,
    mining,
    optimizers,
    schedulers,
    train_distance,
)
from search_spaces.literature import published

# Tuples have no miner.
BASE: dict[str, Any] = {"miner.name": "none", "batch.min_images_per_place": 4}

# What the studies do without; in a recipe it says the same as nothing.
WITHOUT: dict[str, Any] = {
    "attention.name": "none",
    "augmentation.brightness": "none",
    **augmentations.OFF,
}


def _whole(settings: dict[str, Any]) -> dict[str, Any]:
    of_tuples = {} if settings["mining.name"] == "none" else train_distance.PUBLISHED[0]
    # No study prints the size of its images; it is no part of the question here.
    drawn = {path: value for path, value in settings.items() if path != "image_size"}
    return drawn | of_tuples | WITHOUT | drawn


PUBLISHED: list[dict[str, Any]] = [
    # MixVPR of bracco2024 has one of two optimizers, and it is not printed which.
    _whole(settings)
    for settings in published()
    if "optimizer.name" in settings
]

# Which of these go together a recipe knows; what does not is left out of the search.
AGGREGATORS = [*aggregators.NAMES, "salad", "cls"]
LOSSES = [*losses.NAMES, "hphn"]
MINING = ["none", *mining.NAMES]


def suggest(trial: Any) -> None:
    """Draw a network, what it learns from, and how."""
    backbone = trial.suggest_categorical("backbone.name", backbones.NAMES)
    backbones.suggest_blocks(trial, backbone)
    aggregator = trial.suggest_categorical("aggregator.name", AGGREGATORS)
    aggregators.suggest_settings(trial, aggregator)
    attention.suggest(trial)
    loss = trial.suggest_categorical("loss.name", LOSSES)
    losses.suggest_settings(trial, loss)
    tuples = trial.suggest_categorical("mining.name", MINING)
    if tuples == "none":
        miners.suggest(trial)
        batch_shape.suggest(trial)
    else:
        mining.suggest_settings(trial, tuples)
        train_distance.suggest(trial)
    for space in (optimizers, schedulers, augmentations, brightness):
        space.suggest(trial)
