"""Which optimizer, at which learning rate and weight decay?

A learning rate that suits SGD is a hundred times too large for Adam, so each has its own range: a
shared one is how SGD came to look bad at 1e-4 in the table of curello2023.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {
    "backbone.name": "resnet18",
    "backbone.crop_last": 1,
    "aggregator.name": "gem",
    "loss.name": "multi_similarity",
    "miner.name": "multi_similarity",
}


PUBLISHED: list[dict[str, Any]] = published("optimizer")


def suggest(trial: Any) -> None:
    """Draw an optimizer and the settings that it has."""
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam", "adamw", "radam"])
    if name == "sgd":
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1, log=True)
        trial.suggest_float("optimizer.momentum", 0.8, 0.99)
    else:
        trial.suggest_float("optimizer.lr", 1e-5, 1e-3, log=True)
    trial.suggest_float("optimizer.weight_decay", 1e-6, 1e-1, log=True)
