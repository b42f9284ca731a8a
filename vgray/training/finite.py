"""What ends a training at once: numbers that are no longer finite."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgray.recipe import Recipe


class TrainingDiverged(Exception):  # noqa: N818 (an outcome of training, not a fault in it)
    """The loss, a gradient or a descriptor is no longer a finite number."""


def require_finite_step(
    loss: Tensor, gradient: Tensor, recipe: Recipe, epoch: int, step: int, lr: float
) -> tuple[float, float]:
    """Return the loss and the size of the gradient of a step as numbers, read at once.

    Args:
        loss, gradient: the loss and the norm of all gradients; scalars.
        recipe: what is trained.
        epoch, step, lr: for the message; steps count from 0.

    Raises:
        TrainingDiverged: one of the two is not finite.
    """
    value, size = torch.stack([loss.detach().float(), gradient.float()]).tolist()
    if math.isfinite(value) and math.isfinite(size):
        return value, size
    what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is not finite"
    raise TrainingDiverged(
        f"epoch {epoch}, step {step + 1}: {what} (loss {value:.4g}) with {_optimizer_of(recipe)}, "
        f"lr {lr:.3g} at this step; lower optimizer.lr"
    )


def require_finite_descriptors(described: NDArray[np.float32], recipe: Recipe, epoch: int) -> None:
    """Refuse descriptors (N, D) of which one is not finite.

    Raises:
        TrainingDiverged: there is one.
    """
    if not np.isfinite(described).all():
        raise TrainingDiverged(
            f"epoch {epoch}: a descriptor is not finite with {_optimizer_of(recipe)}; lower "
            "optimizer.lr"
        )


def _optimizer_of(recipe: Recipe) -> str:
    return f"optimizer {recipe.optimizer.name}, optimizer.lr {recipe.optimizer.lr:g}"
