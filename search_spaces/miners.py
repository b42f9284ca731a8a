"""Which miner, that is which pairs of a batch enter the loss?

Miners helped neither ConvAP nor MixVPR in curello2023: their differences are within the noise of
1000 queries, or to the worse. Compose with ``losses`` for the product of both, as it was asked
there; every miner goes with every loss, but a loss of pairs takes triplets as the pairs in them.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {"mining.name": "none"}

PUBLISHED: list[dict[str, Any]] = [
    *published("miner", where={"mining.name": "none"}),
    # GSV-Cities' code, without figures here: margins of the similarity, and triplets.
    {
        "miner.name": "pair_margin", "miner.pos_margin": 0.7, "miner.neg_margin": 0.3,
        "miner.distance": "cosine",
    },
    {
        "miner.name": "triplet_margin", "miner.margin": 0.1,
        "miner.type_of_triplets": "semihard",
    },
]  # fmt: skip

NAMES = ["none", "multi_similarity", "pair_margin", "triplet_margin"]


def suggest(trial: Any) -> None:
    """Draw a miner and the settings that it has."""
    name = trial.suggest_categorical("miner.name", NAMES)
    if name == "multi_similarity":
        trial.suggest_float("miner.epsilon", 0.0, 0.5)
    elif name == "pair_margin":
        # Positives that are farther apart, or less similar, than their margin are kept.
        if trial.suggest_categorical("miner.distance", ["euclidean", "cosine"]) == "euclidean":
            trial.suggest_float("miner.pos_margin", 0.0, 0.6)
            trial.suggest_float("miner.neg_margin", 0.6, 1.3)
        else:
            trial.suggest_float("miner.pos_margin", 0.6, 1.0)
            trial.suggest_float("miner.neg_margin", 0.0, 0.6)
    elif name == "triplet_margin":
        trial.suggest_float("miner.margin", 0.0, 0.5)
        trial.suggest_categorical("miner.type_of_triplets", ["all", "semihard", "hard"])
