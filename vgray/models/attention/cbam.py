"""CBAM: the convolutional block attention module."""

import torch
from torch import Tensor, nn


class CBAM(nn.Module):
    """Two gates one after the other: which channels matter, then which locations.

    (B, C, H, W) -> (B, C, H, W). Each gate is a sigmoid, so that the untrained block cannot be the
    identity: the last layer of both starts at zero, and the block multiplies all features by 1/4,
    which the L2 norm of a descriptor removes if the aggregator scales with its features.

    Source: Woo et al. 2018; agrees with Jongchan/attention-module but for the initial weights.

    Args:
        channels: C.
        reduction: the channel gate has C / reduction hidden units.
        kernel_size: of the convolution in the spatial gate; odd.

    Raises:
        ValueError: ``kernel_size`` is even.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel_size, found {kernel_size}")
        hidden = max(1, channels // reduction)
        last = nn.Linear(hidden, channels)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), last)
        bn = nn.BatchNorm2d(1, momentum=0.01)
        conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.spatial = nn.Sequential(conv, bn)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        nn.init.zeros_(bn.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> (B, C, H, W)."""
        gate: Tensor = self.channel(features.mean((2, 3))) + self.channel(features.amax((2, 3)))
        x = features * gate.sigmoid()[:, :, None, None]
        pooled = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), dim=1)
        place: Tensor = self.spatial(pooled)
        return x * place.sigmoid()
