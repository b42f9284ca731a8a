"""Does attention between backbone and aggregator help, and which?

brief2022 proposes it (variation c) without figures. The second-order block is SOLAR's.
"""

from typing import Any

BASE: dict[str, Any] = {
    "backbone.name": "resnet18",
    "backbone.crop_last": 1,
    "aggregator.name": "gem",
}

# Each as its paper has it, after the network without attention.
PUBLISHED: list[dict[str, Any]] = [
    {"attention.name": "none"},  # all studies
    {"attention.name": "cbam", "attention.reduction": 16, "attention.kernel_size": 7},
    {"attention.name": "non_local", "attention.reduction": 2},
    {"attention.name": "soa", "attention.reduction": 4},
    # Published on a whole network, whose classifier it takes over (backbone.crop_last=0); on a cut
    # one it has to learn classes of its own.
    {"attention.name": "adageo", "attention.num_classes": 1000},
]

NAMES = ["none", "cbam", "non_local", "soa", "adageo"]


def suggest(trial: Any) -> None:
    """Draw an attention module and its size; AdAGeo's has the weights' classes."""
    name = trial.suggest_categorical("attention.name", NAMES)
    if name == "cbam":
        trial.suggest_categorical("attention.reduction", [4, 8, 16, 32])
        trial.suggest_categorical("attention.kernel_size", [3, 5, 7])
    elif name in ("non_local", "soa"):
        trial.suggest_categorical("attention.reduction", [1, 2, 4, 8])
