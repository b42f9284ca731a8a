"""The non-local block."""

from torch import Tensor, nn

from vgray.models.attention.pairs import attend


class NonLocal(nn.Module):
    """Embedded-Gaussian non-local block: features plus what all locations tell each one.

    (B, C, H, W) -> (B, C, H, W). Untrained it is the identity: the scale of the last BatchNorm
    starts at zero.

    Source: Wang et al. 2018; agrees with video-nonlocal-net (dot products divided by the root of
    the inner channels, the same initial weights), with keys and values at full resolution. The
    biases of ``phi``, ``g`` and ``out``, which softmax and BatchNorm cancel, are left out.

    Args:
        channels: C.
        reduction: the inner channels are C / reduction.
    """

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1, bias=False)
        self.g = nn.Conv2d(channels, inner, 1, bias=False)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        for conv in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(self.theta.bias)  # type: ignore[arg-type]  # it has one
        nn.init.zeros_(self.bn.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> (B, C, H, W)."""
        mean = attend(self.theta(features), self.phi(features), self.g(features))
        added: Tensor = self.bn(self.out(mean))
        return features + added
