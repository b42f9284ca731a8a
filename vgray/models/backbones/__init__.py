"""Backbones: networks that turn an image into a map of features."""

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn

from vgray.models.weights import Published, load_backbone_weights


class ResNet18(nn.Module):
    """ResNet-18 of torchvision in five blocks, the last of which can be left out.

    (B, 3, H, W) -> (B, ``out_channels``, H / s, W / s), s = 32, 16 or 8 with 0, 1 or 2 blocks left
    out. Blocks before ``train_from`` keep their weights, but their BatchNorm statistics follow the
    images, as in the published trainings (GSV-Cities, deep-visual-geo-localization-benchmark).

    Args:
        weights: ``imagenet``, ``none`` (random), or a .safetensors, .pth or .pt file.
        crop_last: how many blocks are left out at the end.
        train_from: the first block that learns.

    Raises:
        UserError: the weights cannot be had or do not fit.
    """

    PUBLISHED = {  # noqa: RUF012 (never changed)
        # IMAGENET1K_V1, the weights of the published methods, and the only ones for ResNet-18.
        "imagenet": Published("https://download.pytorch.org/models/resnet18-f37072fd.pth")
    }

    def __init__(self, weights: str = "imagenet", crop_last: int = 1, train_from: int = 0) -> None:
        super().__init__()
        # On the meta device nothing is allocated or drawn for blocks and weights that are replaced.
        with torch.device("meta"):
            net = torchvision.models.resnet18()
        stem = nn.Sequential(
            OrderedDict(conv1=net.conv1, bn1=net.bn1, relu=net.relu, maxpool=net.maxpool)
        )
        blocks = [stem, net.layer1, net.layer2, net.layer3, net.layer4][: 5 - crop_last]
        if weights == "none":
            for block in blocks:
                block.to_empty(device="cpu")
                block.apply(_draw_weights)
        else:
            load_backbone_weights(net, blocks, weights, self.PUBLISHED)
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = (64, 64, 128, 256, 512)[len(blocks) - 1]
        for block in blocks[:train_from]:
            block.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> features (B, C, H', W')."""
        for block in self.blocks:
            images = block(images)
        return images


def _draw_weights(module: nn.Module) -> None:
    """Initialise as torchvision's ResNet does."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()


BACKBONES: dict[str, type[ResNet18]] = {"resnet18": ResNet18}
