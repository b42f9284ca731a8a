"""Miners: which pairs or triplets of a batch enter the loss.

FastAP takes none of them for its own: it ranks the whole batch for each image, and weighs an
image by how often it stands in the pairs or triplets kept, relative to the one that does most.
"""

from typing import Any, Literal

from pytorch_metric_learning import distances, miners
from torch import Tensor


class NoMiner:
    """Keeps everything."""

    def __call__(self, descriptors: Tensor, labels: Tensor) -> None:
        """Return None, by which a loss understands all pairs or triplets."""


class PairMarginMiner(miners.PairMarginMiner):  # type: ignore[misc]
    """Keeps positive pairs beyond one margin and negative pairs within another.

    On ``euclidean`` distance d: positives with d > ``pos_margin``, negatives with d <
    ``neg_margin`` (pytorch-metric-learning, OpenVPRLab). On ``cosine`` similarity s: positives
    with s < ``pos_margin``, negatives with s > ``neg_margin`` (GSV-Cities).
    """

    def __init__(
        self,
        pos_margin: float = 0.2,
        neg_margin: float = 0.8,
        distance: Literal["euclidean", "cosine"] = "euclidean",
    ) -> None:
        measures = {"euclidean": distances.LpDistance, "cosine": distances.CosineSimilarity}
        super().__init__(
            pos_margin=pos_margin, neg_margin=neg_margin, distance=measures[distance]()
        )


MINERS: dict[str, type[Any]] = {
    "none": NoMiner,
    "multi_similarity": miners.MultiSimilarityMiner,
    "pair_margin": PairMarginMiner,
    "triplet_margin": miners.TripletMarginMiner,
}
