"""Aggregators: from a map of features to one descriptor of length 1."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Average(nn.Module):
    """Mean of the feature map (SPoC): (B, C, H, W) -> L2-normalised (B, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> L2-normalised (B, C)."""
        return functional.normalize(_at_least_float32(features).mean((2, 3)), dim=1)


class GeM(nn.Module):
    """Generalised mean with one learned exponent: (B, C, H, W) -> L2-normalised (B, C).

    Source: Radenović et al. 2019; agrees with GSV-Cities, which normalises after pooling.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), float(p)))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> L2-normalised (B, C)."""
        # eps**p underflows in half precision, and negative features have no fractional power.
        with torch.autocast(features.device.type, enabled=False):
            x = _at_least_float32(features).clamp(min=self.eps)
            mean = x.pow(self.p).mean((2, 3))
            # A large exponent underflows in float32 too, where the root has no gradient.
            root = mean.clamp(min=torch.finfo(mean.dtype).tiny).pow(1.0 / self.p)
        return functional.normalize(root, dim=1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


AGGREGATORS: dict[str, type[nn.Module]] = {"avg": Average, "gem": GeM}
