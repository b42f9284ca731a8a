"""Which image size, for training and describing alike?

brief2022 (step 6) asks whether larger or smaller images than 480x640 would be better. Every image
is squashed to the size. The decoded images of each size are kept on disk: with all sizes about
2.6 MB for every image of the data set.
"""

from typing import Any

BASE: dict[str, Any] = {}

# Best first by recall@1 on the test queries of SF-XS of the studies, which print no size.
PUBLISHED: list[dict[str, Any]] = [
    # The papers of ConvAP and MixVPR; presumably bracco2024, Figure 1: 53.1
    {"image_size": "320x320"},
    # curello2023, optimizers: 51.7; implied by MixVPR's map of 14x14 in the group's code
    {"image_size": "224x224"},
    # alidousti2023, Table 6: 36.6, the default of its framework; brief2022, step 6
    {"image_size": "480x640"},
]

# The sizes of the studies and their halves, a quarter of 480x640, and the 512 of CosPlace.
SIZES = [
    "112x112", "120x160", "160x160", "224x224", "240x320", "320x320", "512x512", "480x640",
]  # fmt: skip


def suggest(trial: Any) -> None:
    """Draw an image size, height by width."""
    trial.suggest_categorical("image_size", SIZES)
