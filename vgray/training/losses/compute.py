"""The loss of a batch: of places, from which a miner chooses, or of tuples, chosen before."""

from typing import Any, NamedTuple, TypeAlias

import torch
from pytorch_metric_learning.losses.generic_pair_loss import GenericPairLoss
from torch import Tensor, nn

from vgray.training.losses.quadruplets import HPHNLoss

Rows: TypeAlias = tuple[Tensor, ...]
"""Pairs (anchor, positive, anchor, negative), the first two and the last two of equal length, or
triplets (anchor, positive, negative)."""


class TupleShape(NamedTuple):
    """Images of a tuple, which lie in this order behind its query."""

    positives: int
    negatives: int
    others: int

    @property
    def size(self) -> int:
        """Images of a tuple, the query included."""
        return 1 + self.positives + self.negatives + self.others


class MinedLoss(NamedTuple):
    """A batch's loss and what it was computed from."""

    value: Tensor
    kept: dict[str, int]
    """How many ``positives`` and ``negatives`` (pairs), or ``triplets``, the miner kept; empty
    without one."""


def compute_loss(
    loss: nn.Module,
    miner: Any,
    descriptors: Tensor,
    labels: Tensor,
    shape: TupleShape | None = None,
) -> MinedLoss:
    """Return the loss of what the miner keeps; a zero with a gradient if it keeps nothing.

    Args:
        loss: of :data:`vgray.training.LOSSES`; normalises the descriptors itself.
        miner: of :data:`vgray.training.MINERS`; not asked if there is a ``shape``.
        descriptors: (B, D) of any floating type; with a ``shape``, B is T times its size: T tuples
            side by side, each a query, its positives, its negatives, and its others.
        labels: (B,) place of each. With a ``shape`` only FastAP goes by them and ranks the whole
            batch; the other losses compare each query with the images of its own tuple, whatever
            their labels. Those that are a mean over all rows (multi-similarity, lifted structure)
            stay one.
        shape: of the tuples; None for a batch of places.

    Raises:
        ValueError: B is no multiple of the tuples' size, or HPHN without tuples of one other each.
    """
    # Exponents of 50 times a similarity, and differences of near distances, need float32.
    with torch.autocast(descriptors.device.type, enabled=False):
        exact = descriptors if descriptors.dtype == torch.float64 else descriptors.float()
        if shape is not None:
            return MinedLoss(_loss_of_tuples(loss, exact, labels, shape), {})
        if isinstance(loss, HPHNLoss):
            raise ValueError("found a batch of places; HPHN is a loss of tuples")
        with torch.no_grad():
            mined = miner(exact, labels)
        kept = _count(mined)
        if mined is None:
            value = loss(exact, labels)
        elif any(kept.values()):
            value = loss(exact, labels, _taken_for_some(loss, mined))
        else:
            value = (exact * 0).sum()  # FastAP takes no pairs for all pairs
    return MinedLoss(value, kept)


def violating_tuples(descriptors: Tensor, shape: TupleShape) -> Tensor:
    """Return how many of the tuples (T * size, D) have a negative nearer than every positive."""
    tuples = descriptors.detach().float().view(-1, shape.size, descriptors.shape[1])
    similar = (tuples[:, 1:] @ tuples[:, 0].unsqueeze(2)).squeeze(2)
    positives, negatives = similar[:, : shape.positives], similar[:, shape.positives :]
    is_nearer = negatives[:, : shape.negatives].amax(1) > positives.amax(1)
    return torch.sum(is_nearer)


def _count(mined: Rows | None) -> dict[str, int]:
    if mined is None:
        return {}
    if len(mined) == 4:
        return {"positives": len(mined[0]), "negatives": len(mined[2])}
    return {"triplets": len(mined[0])}


def _taken_for_some(loss: nn.Module, rows: Rows) -> Rows:
    """Return the same pairs or triplets so that the library does not take one of a kind for none.

    Its losses of pairs do. All twice have the same mean.
    """
    if isinstance(loss, GenericPairLoss) and all(len(each) <= 1 for each in rows):
        return tuple(each.repeat(2) for each in rows)
    return rows


def _loss_of_tuples(
    loss: nn.Module, descriptors: Tensor, labels: Tensor, shape: TupleShape
) -> Tensor:
    if len(descriptors) % shape.size:
        raise ValueError(f"found {len(descriptors)} descriptors, expected tuples of {shape.size}")
    if isinstance(loss, HPHNLoss):
        return _quadruplets(loss, descriptors, shape)
    pairs = _pairs(shape, len(descriptors), descriptors.device)
    value: Tensor = loss(descriptors, labels, _taken_for_some(loss, pairs))
    return value


def _quadruplets(loss: nn.Module, descriptors: Tensor, shape: TupleShape) -> Tensor:
    if shape.others != 1:
        raise ValueError(f"found tuples with {shape.others} others; HPHN takes one")
    tuples = descriptors.reshape(-1, shape.size, descriptors.shape[1])
    first_negative = 1 + shape.positives
    value: Tensor = loss(
        tuples[:, 0], tuples[:, 1:first_negative], tuples[:, first_negative:-1], tuples[:, -1]
    )
    return value


def _pairs(shape: TupleShape, rows: int, device: torch.device) -> Rows:
    # Losses of triplets put every positive of a query with every negative themselves.
    queries = torch.arange(0, rows, shape.size, device=device)
    positives = 1 + torch.arange(shape.positives, device=device)
    negatives = 1 + shape.positives + torch.arange(shape.negatives, device=device)
    return (
        queries.repeat_interleave(shape.positives),
        (queries.unsqueeze(1) + positives).flatten(),
        queries.repeat_interleave(shape.negatives),
        (queries.unsqueeze(1) + negatives).flatten(),
    )
