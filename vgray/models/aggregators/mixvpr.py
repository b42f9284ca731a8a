"""MixVPR: every location mixed with every other one by perceptrons over the whole map."""

from torch import Tensor, nn

from vgray.models.aggregators.base import Aggregator, at_least_float32, l2_normalize


class MixVPR(Aggregator):
    """Residual perceptrons over locations, then projections of channels and of locations.

    (B, in_channels, in_h, in_w) -> L2-normalised (B, out_channels * out_rows). Source: Ali-bey et
    al. 2023; agrees with MixVPR. The size of the map is part of its weights.

    Args:
        in_channels: channels of the features.
        in_h: height of the map.
        in_w: width of the map.
        out_channels: channels that are left.
        mix_depth: how many perceptrons.
        mlp_ratio: width of a perceptron's hidden layer, as a multiple of in_h * in_w.
        out_rows: locations that are left.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        in_h: int = 20,
        in_w: int = 20,
        out_channels: int = 512,
        mix_depth: int = 1,
        mlp_ratio: float = 1,
        out_rows: int = 4,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.in_h = in_h
        self.in_w = in_w
        self.out_channels = out_channels
        self.out_rows = out_rows
        locations = in_h * in_w
        hidden = int(locations * mlp_ratio)
        self.mix = nn.Sequential(*(_Mixer(locations, hidden) for _ in range(mix_depth)))
        self.channel_proj = nn.Linear(in_channels, out_channels)
        self.row_proj = nn.Linear(locations, out_rows)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_channels, in_h, in_w) -> L2-normalised (B, out_channels * out_rows).

        Raises:
            ValueError: the map has another size.
        """
        height, width = features.shape[2:]
        if (height, width) != (self.in_h, self.in_w):
            raise ValueError(
                f"found a map of {height}x{width}, expected {self.in_h}x{self.in_w}: MixVPR "
                "describes maps of the size that it was built for"
            )
        x = self.mix(at_least_float32(features).flatten(2))
        x = self.channel_proj(x.transpose(1, 2)).transpose(1, 2)
        return l2_normalize(self.row_proj(x).flatten(1))


class _Mixer(nn.Module):
    """A residual perceptron over the last dimension: (B, C, N) -> (B, C, N)."""

    def __init__(self, locations: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.LayerNorm(locations),
            nn.Linear(locations, hidden),
            nn.ReLU(),
            nn.Linear(hidden, locations),
        )
        for layer in self.mix:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(x)
        return x + mixed
