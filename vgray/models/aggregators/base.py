"""What every aggregator shares: its kind of input, and a normalisation that survives zeros."""

from typing import ClassVar

import torch
from torch import Tensor, nn


class Aggregator(nn.Module):
    """Base of the aggregators: features (B, C, H, W) -> L2-normalised (B, D).

    Descriptors are float32, or float64 for float64 features, inside autocast too. Features may be
    bfloat16; parameters stay float32, and autocast decides where half precision does.
    """

    needs_token: ClassVar[bool] = False
    """Whether it takes the pair (features (B, C, H, W), token (B, C)) instead of features."""


def at_least_float32(x: Tensor) -> Tensor:
    """Float32 of any narrower type; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def safe_norm(x: Tensor, dim: int = 1) -> Tensor:
    """L2 norm along ``dim``, kept as a dimension of 1, or 1 where it is zero (below 1e-12).

    Divided by its own norm, a vector of zeros stays one and passes its gradient on unscaled.
    """
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    # Dividing by a small epsilon instead multiplies the gradient by its inverse, 1e12 each time.
    return torch.where(norm < 1e-12, 1.0, norm)


def l2_normalize(x: Tensor, dim: int = 1) -> Tensor:
    """Vectors along ``dim`` at length 1, at least float32; vectors of zeros stay zeros."""
    x = at_least_float32(x)
    return x / safe_norm(x, dim)
