"""How should the learning rate change in the course of training, and does a warm-up help?

The best row of curello2023 has a cosine of 5 epochs in a training of 10: the rate comes down to 0,
where it stays for the sixth epoch, and goes up again. That was no better than a constant rate
(51.72 and 51.7). bracco2024 kept its steps, but prints no figures of plateau and cosine. Compose
with ``optimizers``: a rate that falls may start higher.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {}

PUBLISHED: list[dict[str, Any]] = [
    *published("schedule"),
    # GSV-Cities' code: 600 steps of 625 that an epoch has.
    {"schedule.name": "multistep", "schedule.gamma": 0.3, "schedule.warmup_epochs": 1.0},
]


def suggest(trial: Any) -> None:
    """Draw a schedule, the settings that it has, and the epochs of its warm-up."""
    name = trial.suggest_categorical("schedule.name", ["none", "cosine", "multistep", "plateau"])
    if name == "cosine":
        trial.suggest_categorical("schedule.per", ["epoch", "step"])
        # None is a single descent, however long training is; 5 goes up and down.
        trial.suggest_categorical("schedule.t_max", [None, 5])
    elif name == "multistep":
        trial.suggest_categorical("schedule.gamma", [0.1, 0.3, 0.5])
    elif name == "plateau":
        trial.suggest_categorical("schedule.factor", [0.1, 0.3, 0.5])
        trial.suggest_int("schedule.patience", 0, 3)
    trial.suggest_categorical("schedule.warmup_epochs", [0.0, 0.5, 1.0])
