"""Pooling with one linear layer: the heads of CosPlace and Conv-AP."""

from torch import Tensor, nn
from torch.nn import functional

from vgray.models.aggregators.base import Aggregator, at_least_float32, l2_normalize
from vgray.models.aggregators.pooling import GeM


class CosPlace(Aggregator):
    """Normalised locations, generalised mean, linear layer: (B, in_dim, H, W) -> (B, out_dim).

    Source: Berton et al. 2022; agrees with CosPlace, EigenPlaces and GSV-Cities.

    Args:
        in_dim: channels of the features.
        out_dim: length of the descriptor.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.out_dim = out_dim
        self.gem = GeM()
        self.fc = nn.Linear(in_dim, out_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_dim, H, W) -> L2-normalised (B, out_dim)."""
        return l2_normalize(self.fc(self.gem.pool(l2_normalize(features))))


class ConvAP(Aggregator):
    """A 1x1 convolution, averaged over s1 x s2 parts of the map (Conv-AP).

    (B, in_channels, H, W) -> L2-normalised (B, out_channels * s1 * s2). Source: Ali-bey et al.
    2022; agrees with GSV-Cities.

    Args:
        in_channels: channels of the features.
        out_channels: channels behind the convolution.
        s1: parts along the height.
        s2: parts along the width.
    """

    def __init__(self, in_channels: int, out_channels: int = 512, s1: int = 2, s2: int = 2) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.channel_pool = nn.Conv2d(in_channels, out_channels, 1)
        self.parts = (s1, s2)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_channels, H, W) -> L2-normalised (B, out_channels * s1 * s2)."""
        # The average of a linear function is that of the average, for a fraction of the products.
        means = functional.adaptive_avg_pool2d(at_least_float32(features), self.parts)
        return l2_normalize(self.channel_pool(means).flatten(1))
