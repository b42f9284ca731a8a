"""Losses of pairs that pytorch-metric-learning has, but not in the form that is wanted here."""

from typing import Any

import torch
from pytorch_metric_learning import distances, losses
from pytorch_metric_learning.losses.generic_pair_loss import GenericPairLoss
from torch import Tensor
from torch.nn import functional


class LiftedStructureLoss(losses.GeneralizedLiftedStructureLoss):  # type: ignore[misc]
    """Mean over all anchors of relu(log sum exp(pos_margin - s) + log sum exp(s - neg_margin)).

    The first sum is over the similarities s of an anchor to its positives, the second over those
    to its negatives. GSV-Cities: neg_margin 0, pos_margin 1. Source: Hermans et al. 2017; that of
    pytorch-metric-learning, whose own default is distances instead.
    """

    def __init__(self, neg_margin: float = 0.0, pos_margin: float = 1.0) -> None:
        super().__init__(
            neg_margin=neg_margin,
            pos_margin=pos_margin,
            distance=distances.DotProductSimilarity(),
        )


class NTXentLoss(GenericPairLoss):  # type: ignore[misc]
    """Mean over positive pairs of -log softmax of their similarity among it and the negatives'.

    Similarities are divided by ``temperature`` first. Source: Sohn 2016, Chen et al. 2020; agrees
    with pytorch-metric-learning, which holds a matrix of all positive by all negative pairs (400
    images: 3 GB, where this needs a matrix of images by images).
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__(mat_based_loss=True)
        self.temperature = temperature

    def get_default_distance(self) -> distances.CosineSimilarity:
        """Return the distance of the library's loss."""
        return distances.CosineSimilarity()

    def _compute_loss(self, mat: Tensor, pos_mask: Tensor, neg_mask: Tensor) -> dict[str, Any]:
        pairs = torch.where(pos_mask)
        if not len(pairs[0]) or not neg_mask.any():
            return self.zero_losses()  # type: ignore[no-any-return]
        logits = mat / self.temperature
        # Not -inf, of which an anchor without negatives would have a gradient that is no number.
        lowest = torch.finfo(logits.dtype).min
        push = logits.masked_fill(neg_mask == 0, lowest).logsumexp(1, keepdim=True)
        terms = functional.softplus(push - logits)[pairs]
        return {"loss": {"losses": terms, "indices": pairs, "reduction_type": "pos_pair"}}
