"""Losses: descriptors and place labels in, one number out."""

from typing import Any

import torch
from pytorch_metric_learning import losses
from torch import Tensor, nn

LOSSES: dict[str, type[nn.Module]] = {
    "contrastive": losses.ContrastiveLoss,
    "triplet": losses.TripletMarginLoss,
    "multi_similarity": losses.MultiSimilarityLoss,
}


def compute_loss(loss: nn.Module, miner: Any, descriptors: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of what the miner keeps; a zero with a gradient if it keeps nothing.

    Args:
        loss: of :data:`LOSSES`; normalises the descriptors itself.
        miner: of :data:`vgray.training.MINERS`.
        descriptors: (B, D) of any floating type.
        labels: (B,) place of each.
    """
    # Exponents of 50 times a similarity, and differences of near distances, need float32.
    with torch.autocast(descriptors.device.type, enabled=False):
        exact = descriptors if descriptors.dtype == torch.float64 else descriptors.float()
        with torch.no_grad():
            mined = miner(exact, labels)
        value: Tensor = loss(exact, labels, mined)
    return value
