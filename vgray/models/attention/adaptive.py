"""AdAGeo's attention: where a classifier looks."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdaptiveAttention(nn.Module):
    """Weight locations by the class activation map of the most probable class of a classifier.

    (B, C, H, W) -> (B, C, H, W). The features are multiplied by the softmax of the map over its H W
    locations, times H W. Untrained (a classifier of zeros, whose map is uniform) it is the
    identity. ``fc.bias`` does not learn: it only decides the class, which passes no gradient on.

    Source: Paolicelli et al. 2021; agrees with adageo-pytorch but for that factor H W, which the L2
    norm removes. That code multiplies the features from before the last BatchNorm of a ResNet;
    here they are those of the map, so that any backbone serves.

    Args:
        channels: C.
        num_classes: of the classifier.
    """

    def __init__(self, channels: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, num_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias).requires_grad_(False)

    def load_classifier(self, weight: Tensor, bias: Tensor) -> None:
        """Start from the classifier that was trained with the backbone.

        Args:
            weight: (num_classes, C).
            bias: (num_classes,).

        Raises:
            ValueError: the shapes are others.
        """
        if weight.shape != self.fc.weight.shape or bias.shape != self.fc.bias.shape:
            raise ValueError(
                f"expected a classifier {tuple(self.fc.weight.shape)}, {tuple(self.fc.bias.shape)},"
                f" found {tuple(weight.shape)}, {tuple(bias.shape)}"
            )
        with torch.no_grad():
            self.fc.weight.copy_(weight)
            self.fc.bias.copy_(bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) -> (B, C, H, W)."""
        # Half precision would mix up classes that are nearly as probable.
        with torch.autocast(features.device.type, enabled=False):
            x = features if features.dtype == torch.float64 else features.float()
            weight, bias = self.fc.weight.to(x.dtype), self.fc.bias.to(x.dtype)
            best = functional.linear(x.mean((2, 3)), weight, bias).argmax(1)
            activation = torch.einsum("bc,bchw->bhw", weight[best], x).flatten(1)
            attention = activation.softmax(1) * activation.shape[1]
        batch, _, height, width = features.shape
        return features * attention.view(batch, 1, height, width).to(features.dtype)
