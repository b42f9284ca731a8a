"""Losses: descriptors and place labels, or tuples, in; one number out."""

from pytorch_metric_learning import losses
from torch import nn

from vgray.training.losses.compute import MinedLoss, TupleShape, compute_loss, violating_tuples
from vgray.training.losses.pairs import LiftedStructureLoss, NTXentLoss
from vgray.training.losses.quadruplets import HPHNLoss
from vgray.training.losses.triplets import (
    SAREIndependentLoss,
    SAREJointLoss,
    SolarLoss,
    WeakTripletLoss,
)

LOSSES: dict[str, type[nn.Module]] = {
    "contrastive": losses.ContrastiveLoss,
    "triplet": losses.TripletMarginLoss,
    "multi_similarity": losses.MultiSimilarityLoss,
    "circle": losses.CircleLoss,
    "ntxent": NTXentLoss,
    "supcon": losses.SupConLoss,
    "fastap": losses.FastAPLoss,
    "lifted_structure": LiftedStructureLoss,
    "weak_triplet": WeakTripletLoss,
    "sare_joint": SAREJointLoss,
    "sare_independent": SAREIndependentLoss,
    "solar": SolarLoss,
    "hphn": HPHNLoss,
}

__all__ = ["LOSSES", "MinedLoss", "TupleShape", "compute_loss", "violating_tuples"]
