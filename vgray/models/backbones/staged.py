"""Backbones of torchvision that are made of stages: ResNet, VGG-16, EfficientNet, ConvNeXt, ..."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from vgray.models.backbones import initialisation
from vgray.models.backbones.base import (
    Backbone,
    Features,
    modules_of,
    require_blocks,
    require_multiple,
)
from vgray.recipe.architectures import ARCHITECTURES


class Staged(Backbone):
    """A torchvision network without its classifier, in blocks that can be left out at the end.

    (B, 3, H, W) -> a map (B, ``out_channels``, H / s, W / s) without a token. Blocks before
    ``train_from`` keep their weights, but their BatchNorm statistics follow the images, as in the
    published trainings (GSV-Cities, deep-visual-geo-localization-benchmark).

    Args:
        name: torchvision's name of the network.
        image_size: height and width in pixels; any will do.
        weights: ``pretrained`` (IMAGENET1K_V1, the weights of the published methods), ``none``
            (random), or a .safetensors, .pth, .pt or .ckpt file.
        crop_last: how many blocks are left out at the end.
        train_from: the first block that learns.
        update_frozen_statistics: whether BatchNorm statistics of the blocks before it update.

    Raises:
        UserError: the weights cannot be had or do not fit, or there are fewer blocks.
    """

    draw = staticmethod(initialisation.draw_convolutional)

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        weights: str,
        crop_last: int = 0,
        train_from: int = 0,
        update_frozen_statistics: bool = True,
    ) -> None:
        super().__init__()
        architecture = ARCHITECTURES[name]
        require_multiple(name, image_size, architecture.multiple)
        require_blocks(name, len(architecture.channels), crop_last, train_from)
        # On the meta device nothing is allocated or drawn for blocks and weights that are replaced.
        with torch.device("meta"):
            network = torchvision.models.get_model(name)
        blocks = self._cut(network, crop_last)
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = architecture.channels[len(blocks) - 1]
        url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
        state = self._fill(network, weights, url, self.draw)
        if crop_last == 0 and isinstance(self, ResNet) and {"fc.weight", "fc.bias"} <= state.keys():
            self.classifier = state["fc.weight"].clone(), state["fc.bias"].clone()
        self._freeze(modules_of(self.blocks[:train_from]), update_frozen_statistics)

    @staticmethod
    def _cut(network: nn.Module, crop_last: int) -> Sequence[nn.Module]:
        """Return the blocks of a torchvision network that are kept."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) -> features (B, C, H', W'), no token."""
        for block in self.blocks:
            images = block(images)
        return Features(images, None)


class ResNet(Staged):
    """ResNet in five blocks: the stem and layer1 to layer4."""

    @staticmethod
    def _cut(network: nn.Module, crop_last: int) -> Sequence[nn.Module]:
        names = ("conv1", "bn1", "relu", "maxpool")
        stem = nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in names))
        layers = [network.get_submodule(f"layer{i}") for i in range(1, 5 - crop_last)]
        return [stem, *layers]


class VGG16(Staged):
    """VGG-16 in five blocks of convolutions, each but the first with the max-pool in front of it.

    The last ReLU and max-pool are left out, as in deep-visual-geo-localization-benchmark.
    """

    @staticmethod
    def _cut(network: nn.Module, crop_last: int) -> Sequence[nn.Module]:
        features = _sequence(network)
        pools = [i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
        starts, ends = [0, *pools[:-1]], [*pools[:-1], pools[-1] - 1]
        blocks = [features[a:b] for a, b in zip(starts, ends, strict=True)]
        return blocks[: len(blocks) - crop_last]


class MobileNet(Staged):
    """EfficientNet or MobileNetV3: the stem, the stages, the last 1x1 convolution."""

    @staticmethod
    def _cut(network: nn.Module, crop_last: int) -> Sequence[nn.Module]:
        blocks = list(_sequence(network))
        return blocks[: len(blocks) - crop_last]


class ConvNeXt(Staged):
    """ConvNeXt in five blocks: the stem, and four stages with the downsampling in front of them."""

    draw = staticmethod(initialisation.draw_convnext)

    @staticmethod
    def _cut(network: nn.Module, crop_last: int) -> Sequence[nn.Module]:
        blocks = _downsampled_stages(network)
        return blocks[: len(blocks) - crop_last]


class Swin(Staged):
    """Swin in five blocks: the stem, and four stages with the downsampling in front of them.

    Its final normalisation belongs to the last block.
    """

    draw = staticmethod(initialisation.draw_swin)

    @staticmethod
    def _cut(network: nn.Module, crop_last: int) -> Sequence[nn.Module]:
        *blocks, last = _downsampled_stages(network)
        last.add_module("norm", network.get_submodule("norm"))
        return [*blocks, last][: len(blocks) + 1 - crop_last]

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) -> features (B, C, H', W'), no token."""
        map_, _ = super().forward(images)
        return Features(map_.permute(0, 3, 1, 2), None)


def _downsampled_stages(network: nn.Module) -> list[nn.Sequential]:
    features = _sequence(network)
    return [features[:1], features[1:2], *(features[i : i + 2] for i in (2, 4, 6))]


def _sequence(network: nn.Module) -> nn.Sequential:
    features = network.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    return features
