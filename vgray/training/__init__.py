"""Training: losses, miners, optimizers, schedules, and the trainer. Knows nothing of Ray."""

from vgray.training.checkpoints import best_checkpoint
from vgray.training.data import TrainingData
from vgray.training.finite import TrainingDiverged
from vgray.training.losses import LOSSES
from vgray.training.miners import MINERS
from vgray.training.optimizers import OPTIMIZERS
from vgray.training.precision import settle_precision
from vgray.training.schedules import SCHEDULES
from vgray.training.trainer import train

__all__ = [
    "LOSSES",
    "MINERS",
    "OPTIMIZERS",
    "SCHEDULES",
    "TrainingData",
    "TrainingDiverged",
    "best_checkpoint",
    "settle_precision",
    "train",
]
