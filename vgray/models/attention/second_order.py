"""SOLAR's second-order attention block."""

from torch import Tensor, nn

from vgray.models.attention.pairs import attend


class SecondOrderAttention(nn.Module):
    """Features plus a mean over all locations, weighted by how alike two locations are.

    (B, C, H, W) -> (B, C, H, W). Untrained it is the identity: the last convolution starts at zero.

    Source: Ng et al. 2020; agrees with SOLAR, whose state-dict keys it has.

    Args:
        channels: C.
        reduction: the inner channels are C / reduction; SOLAR has 4 before the last block of a
            ResNet and 2 after it.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.f = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU())
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU())
        self.h = nn.Conv2d(channels, inner, 1)
        self.v = nn.Conv2d(inner, channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # each has one
        nn.init.zeros_(self.v.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> (B, C, H, W)."""
        added: Tensor = self.v(attend(self.f(features), self.g(features), self.h(features)))
        return features + added
