"""Which negatives should a tuple have, and how are they found?

For data with queries and a database, as Pitts30k. alidousti2023 takes ``partial``, for full mining
is a little better in the benchmark, but slow. brief2022 (variation d) asks for smaller pools.
``msls_weighted`` only makes sense on that data set; fix it with ``--set mining.name=msls_weighted``
in a space that does not draw it. Compose with ``train_distance``, ``losses`` or ``brightness``.
Short trials need fewer queries than the 5000 of an epoch: ``--set mining.queries_per_epoch=100``.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {"miner.name": "none", "loss.name": "weak_triplet"}

PUBLISHED: list[dict[str, Any]] = [
    *published("mining", where={"mining.name": "partial"}),
    # The benchmark's defaults of the other two, without figures here.
    {"mining.name": "full", "mining.negatives": 10, "mining.pool_size": 1000},
    {"mining.name": "random", "mining.negatives": 10},
]

NAMES = ["random", "partial", "full"]


def suggest(trial: Any) -> None:
    """Draw a way of mining, the negatives of a tuple and the pool they come from."""
    suggest_settings(trial, trial.suggest_categorical("mining.name", NAMES))


def suggest_settings(trial: Any, name: str) -> None:
    """Draw the settings of one way of mining."""
    trial.suggest_categorical("mining.negatives", [2, 5, 10, 20])
    if name != "random":
        trial.suggest_categorical("mining.pool_size", [250, 500, 1000, 2000])
