"""Up to which distance is a database image a positive of a query, in training?

brief2022 (step 3.3) asks it of 10 m, the benchmark's value. Nearer positives share more of the
view, but fewer queries have one; the others are not trained on. In testing it stays 25 m. For data
with queries and a database whose positives are spread over distance, as in Pitts30k. Where a place
is a cell of a few metres and the next one is far, as in the demo city (10 to 25 m give the same
positives), it has nothing to tell. Compose with ``mining``.
"""

from typing import Any

BASE: dict[str, Any] = {
    "mining.name": "partial",
    "miner.name": "none",
    "loss.name": "weak_triplet",
}

PUBLISHED: list[dict[str, Any]] = [{"mining.train_positive_distance_m": 10}]  # all studies

DISTANCES_M = [5, 10, 15, 20, 25]


def suggest(trial: Any) -> None:
    """Draw a distance; 25 m is where negatives begin."""
    trial.suggest_categorical("mining.train_positive_distance_m", DISTANCES_M)
