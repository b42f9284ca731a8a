"""Pooling over the locations of a map, without a layer behind it: SPoC, MAC, R-MAC, GeM."""

import torch
from torch import Tensor, nn

from vgray.models.aggregators.base import Aggregator, at_least_float32, l2_normalize

_OVERLAP_TENTHS = 4  # what R-MAC aims at: neighbouring regions share 0.4 of their width
_MOST_EXTRA_REGIONS = 6  # along the longer side, as published


class Average(Aggregator):
    """Mean of the feature map (SPoC): (B, C, H, W) -> L2-normalised (B, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> L2-normalised (B, C)."""
        return l2_normalize(at_least_float32(features).mean((2, 3)))


class Maximum(Aggregator):
    """Maximum of the feature map (MAC): (B, C, H, W) -> L2-normalised (B, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> L2-normalised (B, C)."""
        return l2_normalize(features.amax((2, 3)))


class RMAC(Aggregator):
    """Sum of the normalised maxima of square regions in several sizes (R-MAC), and of all.

    Source: Tolias et al. 2016; the regions are those of cnnimageretrieval-pytorch, which divides
    by norm + 1e-6 where this divides by the norm.

    Args:
        levels: how many region sizes; 1 is squares of the map's shorter side.

    Raises:
        ValueError: levels below 1.
    """

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"found levels={levels}, expected at least 1")
        self.levels = levels

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> L2-normalised (B, C)."""
        x = at_least_float32(features)
        total = l2_normalize(x.amax((2, 3)))
        for top, left, side in regions(x.shape[2], x.shape[3], self.levels):
            region = x[:, :, top : top + side, left : left + side]
            total = total + l2_normalize(region.amax((2, 3)))
        return l2_normalize(total)


def regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """Return R-MAC's regions of a map: (top, left, side), in locations."""
    short, long = sorted((height, width))
    extra = 0
    if long > short:
        # Where two overlaps, 1 - (long - short) / (n * short), are as far from the aim on either
        # side, integers keep the tie, which the fewest regions win.
        extra = min(
            range(1, _MOST_EXTRA_REGIONS + 1),
            key=lambda n: abs((10 - _OVERLAP_TENTHS) * n * short - 10 * (long - short)) / n,
        )
    found = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side == 0:
            break
        tops = _evenly(height - side, level + (extra if height > width else 0))
        lefts = _evenly(width - side, level + (extra if width > height else 0))
        found += [(top, left, side) for top in tops for left in lefts]
    return found


def _evenly(last: int, count: int) -> list[int]:
    return [i * last // max(count - 1, 1) for i in range(count)]


class GeM(Aggregator):
    """Generalised mean with one learned exponent: (B, C, H, W) -> L2-normalised (B, C).

    Source: Radenović et al. 2019; agrees with GSV-Cities, which normalises after pooling.

    Args:
        p: the exponent to begin with; 1 is the mean, infinity the maximum.
        eps: features below it, negative ones too, count as it.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), float(p)))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> L2-normalised (B, C)."""
        return l2_normalize(self.pool(features))

    def pool(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> their generalised mean (B, C), not normalised."""
        # eps**p underflows in half precision, and negative features have no fractional power.
        x = at_least_float32(features).clamp(min=self.eps)
        mean = x.pow(self.p).mean((2, 3))
        # A large exponent underflows in float32 too, where the root has no gradient.
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).pow(1.0 / self.p)
