"""What each backbone is made of, as plain data: a recipe is checked without building a network."""

from typing import NamedTuple


class Architecture(NamedTuple):
    """The shape of a backbone's feature map after each of its blocks."""

    channels: tuple[int, ...]
    """Channels behind each block; their number is the number of blocks."""
    strides: tuple[int, ...]
    """Pixels between neighbouring locations of the map behind each block."""
    has_token: bool = False
    """Whether it has a class token beside the map."""
    multiple: int = 1
    """Height and width of an image must be multiples of this (the patch size)."""


_STAGES = (4, 4, 8, 16, 32)
_EFFICIENTNET = (2, 2, 4, 8, 16, 16, 32, 32, 32)


def _patches(channels: int, blocks: int, patch: int) -> Architecture:
    """Return a transformer with an embedding and ``blocks`` of its own."""
    return Architecture((channels,) * (1 + blocks), (patch,) * (1 + blocks), True, patch)


# Its convolutions pad, so that an image may have any size.
_CCT14 = Architecture((384,) * 15, (16,) * 15)

ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture((64, 64, 128, 256, 512), _STAGES),
    "resnet34": Architecture((64, 64, 128, 256, 512), _STAGES),
    "resnet50": Architecture((64, 256, 512, 1024, 2048), _STAGES),
    "resnet101": Architecture((64, 256, 512, 1024, 2048), _STAGES),
    "resnet152": Architecture((64, 256, 512, 1024, 2048), _STAGES),
    "vgg16": Architecture((64, 128, 256, 512, 512), (1, 2, 4, 8, 16)),
    "efficientnet_b0": Architecture((32, 16, 24, 40, 80, 112, 192, 320, 1280), _EFFICIENTNET),
    "efficientnet_b1": Architecture((32, 16, 24, 40, 80, 112, 192, 320, 1280), _EFFICIENTNET),
    "efficientnet_b2": Architecture((32, 16, 24, 48, 88, 120, 208, 352, 1408), _EFFICIENTNET),
    "efficientnet_b3": Architecture((40, 24, 32, 48, 96, 136, 232, 384, 1536), _EFFICIENTNET),
    "efficientnet_b4": Architecture((48, 24, 32, 56, 112, 160, 272, 448, 1792), _EFFICIENTNET),
    "efficientnet_b5": Architecture((48, 24, 40, 64, 128, 176, 304, 512, 2048), _EFFICIENTNET),
    "efficientnet_b6": Architecture((56, 32, 40, 72, 144, 200, 344, 576, 2304), _EFFICIENTNET),
    "efficientnet_b7": Architecture((64, 32, 48, 80, 160, 224, 384, 640, 2560), _EFFICIENTNET),
    "mobilenet_v3_small": Architecture(
        (16, 16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96, 576),
        (2, 4, 8, 8, 16, 16, 16, 16, 16, 32, 32, 32, 32),
    ),
    "mobilenet_v3_large": Architecture(
        (16, 16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160, 960),
        (2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32, 32, 32),
    ),
    "convnext_tiny": Architecture((96, 96, 192, 384, 768), _STAGES),
    "convnext_small": Architecture((96, 96, 192, 384, 768), _STAGES),
    "convnext_base": Architecture((128, 128, 256, 512, 1024), _STAGES),
    "swin_t": Architecture((96, 96, 192, 384, 768), _STAGES),
    "swin_s": Architecture((96, 96, 192, 384, 768), _STAGES),
    "swin_b": Architecture((128, 128, 256, 512, 1024), _STAGES),
    "vit_b_16": _patches(768, 12, 16),
    "dinov2_vits14": _patches(384, 12, 14),
    "dinov2_vitb14": _patches(768, 12, 14),
    "dinov2_vits14_reg": _patches(384, 12, 14),
    "dinov2_vitb14_reg": _patches(768, 12, 14),
    "cct14_7x2_224": _CCT14,
    "cct14_7x2_384": _CCT14,
}
"""Backbone name -> its architecture; those of ``timm/...`` only timm knows."""
