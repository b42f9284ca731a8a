"""Which loss, with which margins, weights or temperature?

Twelve losses that learn from batches of places; ``hphn`` needs tuples and is in ``everything``.
Compose with ``miners`` for the product of both, which is the question of curello2023: there
contrastive loss beat multi-similarity under SGD, and the reverse held under AdamW. In dashti2024
multi-similarity was best and a triplet loss with a margin of 1 far behind. With
``mining.name`` fixed to another than ``none`` the same losses learn from tuples.
"""

from typing import Any

from search_spaces.literature import published

# Without a miner a loss sees all pairs of the batch, so that only losses differ.
BASE: dict[str, Any] = {"miner.name": "none"}


def _setting(name: str, **more: float) -> dict[str, Any]:
    values = {f"loss.{key}": value for key, value in {"name": name, **more}.items()}
    return values | {"miner.name": "none"}


# The studies' pairs of loss and miner, then what they do not try: without figures here, with the
# values of GSV-Cities' code, of the benchmark's and of SOLAR's.
PUBLISHED: list[dict[str, Any]] = [
    *published("loss", "miner", where={"mining.name": "none"}),
    _setting("triplet", margin=0.1),
    _setting("circle", m=0.4, gamma=80.0),
    _setting("ntxent", temperature=0.07),
    _setting("supcon", temperature=0.07),
    _setting("fastap", num_bins=30),
    _setting("lifted_structure", neg_margin=0.0, pos_margin=1.0),
    _setting("weak_triplet", margin=0.1),
    _setting("sare_joint"),
    _setting("sare_independent"),
    _setting("solar", margin=0.1, second_order_weight=5.0),
]

NAMES = [
    "contrastive", "triplet", "multi_similarity", "circle", "ntxent", "supcon", "fastap",
    "lifted_structure", "weak_triplet", "sare_joint", "sare_independent", "solar",
]  # fmt: skip


def suggest(trial: Any) -> None:
    """Draw a loss and the settings that it has."""
    suggest_settings(trial, trial.suggest_categorical("loss.name", NAMES))


def suggest_settings(trial: Any, name: str) -> None:
    """Draw the settings of one loss; distances of unit vectors are at most 2, squared ones 4."""
    if name == "contrastive":
        trial.suggest_float("loss.pos_margin", 0.0, 0.5)
        trial.suggest_float("loss.neg_margin", 0.5, 1.4)
    elif name in ("triplet", "weak_triplet"):
        trial.suggest_float("loss.margin", 0.05, 1.0, log=True)
    elif name == "multi_similarity":
        trial.suggest_float("loss.alpha", 0.5, 4.0, log=True)
        trial.suggest_float("loss.beta", 10.0, 100.0, log=True)
        trial.suggest_float("loss.base", 0.0, 1.0)
    elif name == "circle":
        trial.suggest_float("loss.m", 0.1, 0.5)
        trial.suggest_float("loss.gamma", 16.0, 256.0, log=True)
    elif name in ("ntxent", "supcon"):
        trial.suggest_float("loss.temperature", 0.02, 0.5, log=True)
    elif name == "fastap":
        trial.suggest_int("loss.num_bins", 10, 50, step=5)
    elif name == "lifted_structure":
        trial.suggest_float("loss.neg_margin", 0.0, 0.5)
        trial.suggest_float("loss.pos_margin", 0.5, 1.0)
    elif name == "solar":
        trial.suggest_float("loss.margin", 0.05, 2.0, log=True)
        trial.suggest_float("loss.second_order_weight", 0.1, 20.0, log=True)
    elif name == "hphn":
        trial.suggest_float("loss.margin", 0.1, 2.0, log=True)
