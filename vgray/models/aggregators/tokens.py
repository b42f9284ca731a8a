"""What transformers describe an image by: the class token, or attention over locations."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from vgray.models.aggregators.base import Aggregator, at_least_float32, l2_normalize


class ClassToken(Aggregator):
    """The class token itself: (features (B, C, H, W), token (B, C)) -> L2-normalised (B, C)."""

    needs_token: ClassVar[bool] = True

    def forward(self, features_and_token: tuple[Tensor, Tensor]) -> Tensor:
        """Features, which are not looked at, and token (B, C) -> L2-normalised (B, C)."""
        return l2_normalize(features_and_token[1])


class SequencePool(Aggregator):
    """Mean of the locations, weighted by learned attention: (B, in_dim, H, W) -> (B, in_dim).

    Source: Hassani et al. 2021; agrees with Compact-Transformers, and normalises.

    Args:
        in_dim: channels of the features.
    """

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.attention_pool = nn.Linear(in_dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_dim, H, W) -> L2-normalised (B, in_dim)."""
        x = at_least_float32(features).flatten(2)
        with torch.autocast(x.device.type, enabled=False):
            weights = self.attention_pool(x.transpose(1, 2)).softmax(dim=1)
            return l2_normalize((x @ weights).squeeze(2))
