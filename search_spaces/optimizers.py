"""Which optimizer, at which learning rate and weight decay?

A learning rate that suits SGD is a hundred times too large for Adam, so each has its own range: a
shared one is how SGD came to look bad at 1e-4 in the table of curello2023.
"""

from typing import Any

BASE: dict[str, Any] = {
    "backbone.name": "resnet18",
    "backbone.crop_last": 1,
    "aggregator.name": "gem",
    "loss.name": "multi_similarity",
    "miner.name": "multi_similarity",
}


def _setting(name: str, lr: float, weight_decay: float, **more: float) -> dict[str, Any]:
    values = {"name": name, "lr": lr, "weight_decay": weight_decay, **more}
    return {f"optimizer.{key}": value for key, value in values.items()}


# The best of each study first, so that even a short sweep starts from them.
PUBLISHED: list[dict[str, Any]] = [
    _setting("adamw", 1e-4, 1e-3),  # curello2023, best optimizer for MixVPR
    _setting("sgd", 1e-2, 5e-4, momentum=0.9),  # dashti2024, Table 3, best
    _setting("radam", 1e-4, 0.0),  # curello2023
    _setting("adam", 1e-5, 0.0),  # dashti2024, Tables 1 to 3, the baseline
    _setting("adamw", 1e-3, 1e-2),  # bracco2024, Figure 2, best at R@10
    _setting("radam", 1e-3, 0.0),  # curello2023
    _setting("adamw", 1e-5, 1e-2),  # dashti2024, Table 3
    _setting("adam", 1e-4, 1e-3),  # curello2023
    _setting("adamw", 1e-4, 1e-2),  # curello2023
    _setting("adamw", 1e-4, 1e-4),  # curello2023
    _setting("adamw", 1e-3, 1e-3),  # bracco2024, Figure 2
    _setting("adamw", 1e-2, 1e-2),  # bracco2024, Figure 2
    _setting("adamw", 1e-2, 1e-3),  # bracco2024, Figure 2
    _setting("adamw", 1e-4, 0.3),  # alidousti2023, Table 4
    _setting("sgd", 1e-4, 1e-3, momentum=0.9),  # curello2023; momentum is not printed
]


def suggest(trial: Any) -> None:
    """Draw an optimizer and the settings that it has."""
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam", "adamw", "radam"])
    if name == "sgd":
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1, log=True)
        trial.suggest_float("optimizer.momentum", 0.8, 0.99)
    else:
        trial.suggest_float("optimizer.lr", 1e-5, 1e-3, log=True)
    trial.suggest_float("optimizer.weight_decay", 1e-6, 1e-1, log=True)
