"""Losses of triplets that pytorch-metric-learning lacks: weak triplet, SARE, SOLAR.

Each takes batches of places and batches of tuples alike: forward(embeddings (B, D), labels (B,),
pairs or triplets) as in pytorch-metric-learning, where None stands for every triplet of the batch.
Embeddings are L2-normalised first. A batch without a triplet has a loss of 0 with a gradient of 0.
"""

from abc import ABC, abstractmethod

import torch
from pytorch_metric_learning.utils.loss_and_miner_utils import convert_to_triplets
from torch import Tensor, nn
from torch.nn import functional


class _TripletsLoss(nn.Module, ABC):
    def forward(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Return the loss of embeddings (B, D) with labels (B,).

        Args:
            indices_tuple: triplets (anchor, positive, negative), or pairs (anchor, positive,
                anchor, negative), of which every positive goes with every negative of its anchor.
        """
        labels = labels.to(embeddings.device)
        anchor, positive, negative = convert_to_triplets(indices_tuple, labels, t_per_anchor="all")
        if len(anchor) == 0:
            return (embeddings * 0).sum()
        return self._of_triplets(functional.normalize(embeddings), anchor, positive, negative)

    @abstractmethod
    def _of_triplets(
        self, units: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor: ...


class WeakTripletLoss(_TripletsLoss):
    """Mean over all triplets, zeros included, of relu(margin + d(a, p) - d(a, n)).

    d is the Euclidean distance. Source: Arandjelovic et al. 2016; agrees with the deep visual
    geo-localization benchmark but for the 1e-6 that torch adds to each component of a difference.
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        self.margin = margin

    def _of_triplets(
        self, units: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        # By way of a product near distances would lose their digits.
        d = torch.cdist(units, units, compute_mode="donot_use_mm_for_euclid_dist")
        return (self.margin + d[anchor, positive] - d[anchor, negative]).relu().mean()


class SAREIndependentLoss(_TripletsLoss):
    """Mean over triplets of -log softmax of -d2(a, p) among -d2(a, p) and -d2(a, n).

    d2 is the squared Euclidean distance. Source: Liu et al. 2019 (stochastic attraction-repulsion
    embedding); agrees with the deep visual geo-localization benchmark.
    """

    def _of_triplets(
        self, units: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        d2 = _squared_distances(units)
        return functional.softplus(d2[anchor, positive] - d2[anchor, negative]).mean()


class SAREJointLoss(_TripletsLoss):
    """Mean over (a, p) of -log softmax of -d2(a, p) among it and -d2(a, n) of all its negatives.

    d2 is the squared Euclidean distance. Source: Liu et al. 2019; for one tuple as in the deep
    visual geo-localization benchmark, which divides further by the number of negatives.
    """

    def _of_triplets(
        self, units: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        d2 = _squared_distances(units)
        # At most e^4 each: nothing overflows.
        ratios = (d2[anchor, positive] - d2[anchor, negative]).exp()
        return _sums_by_pair(ratios, anchor, positive, len(units)).log1p().mean()


class SolarLoss(_TripletsLoss):
    """Mean over (a, p) of a triplet loss on squared distances plus its second-order similarity.

    For each (a, p), over its negatives n: sum of relu(margin + d2(a, p) - d2(a, n)), plus
    ``second_order_weight`` times the square root of the sum of (d2(a, n) - d2(p, n))^2.
    Source: Ng et al. 2020. SOLAR's code takes the root of the sum over all tuples of a batch and
    divides that by their number; here, as in the paper, each tuple has a root, so that a tuple's
    loss does not depend on the others. With one tuple both are equal.
    """

    def __init__(self, margin: float = 0.1, second_order_weight: float = 5.0) -> None:
        super().__init__()
        self.margin = margin
        self.second_order_weight = second_order_weight

    def _of_triplets(
        self, units: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        d2 = _squared_distances(units)
        violations = (self.margin + d2[anchor, positive] - d2[anchor, negative]).relu()
        differences = (d2[anchor, negative] - d2[positive, negative]).square()
        first = _sums_by_pair(violations, anchor, positive, len(units))
        second = _root(_sums_by_pair(differences, anchor, positive, len(units)))
        return (first + self.second_order_weight * second).mean()


def _squared_distances(units: Tensor) -> Tensor:
    return 2 - 2 * units @ units.T


def _sums_by_pair(values: Tensor, anchor: Tensor, positive: Tensor, rows: int) -> Tensor:
    """Sum the values (M,) of triplets over those with the same anchor and positive."""
    pairs = anchor * rows + positive
    sums = values.new_zeros(rows**2).index_add(0, pairs, values)
    seen = torch.zeros(rows**2, dtype=torch.bool, device=values.device)
    seen[pairs] = True
    return sums[seen]


def _root(x: Tensor) -> Tensor:
    # The root's gradient at 0 is infinite; there it is taken as 0.
    positive = x > 0
    return torch.where(positive, x, 1).sqrt() * positive
