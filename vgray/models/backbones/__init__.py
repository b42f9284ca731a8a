"""Backbones: networks that turn an image into a map of features, and maybe a class token."""

import inspect
from collections.abc import Callable

from vgray.models.backbones.base import Backbone, Features
from vgray.models.backbones.cct import CCT
from vgray.models.backbones.staged import VGG16, ConvNeXt, MobileNet, ResNet, Swin
from vgray.models.backbones.timm_models import Timm
from vgray.models.backbones.vision_transformers import DINOv2, ViT

__all__ = ["BACKBONES", "Backbone", "Features", "build_backbone"]

BACKBONES: dict[str, type[Backbone]] = {
    "resnet18": ResNet,
    "resnet34": ResNet,
    "resnet50": ResNet,
    "resnet101": ResNet,
    "resnet152": ResNet,
    "vgg16": VGG16,
    "efficientnet_b0": MobileNet,
    "efficientnet_b1": MobileNet,
    "efficientnet_b2": MobileNet,
    "efficientnet_b3": MobileNet,
    "efficientnet_b4": MobileNet,
    "efficientnet_b5": MobileNet,
    "efficientnet_b6": MobileNet,
    "efficientnet_b7": MobileNet,
    "mobilenet_v3_small": MobileNet,
    "mobilenet_v3_large": MobileNet,
    "convnext_tiny": ConvNeXt,
    "convnext_small": ConvNeXt,
    "convnext_base": ConvNeXt,
    "swin_t": Swin,
    "swin_s": Swin,
    "swin_b": Swin,
    "vit_b_16": ViT,
    "dinov2_vits14": DINOv2,
    "dinov2_vitb14": DINOv2,
    "dinov2_vits14_reg": DINOv2,
    "dinov2_vitb14_reg": DINOv2,
    "cct14_7x2_224": CCT,
    "cct14_7x2_384": CCT,
    "timm": Timm,
}
"""Name -> class; ``timm`` serves every ``timm/<model>``."""


def build_backbone(
    name: str,
    *,
    image_size: tuple[int, int],
    weights: str,
    crop_last: int,
    train_from: int,
    update_frozen_statistics: bool = True,
    final_norm: bool = True,
) -> Backbone:
    """Build the backbone of a recipe.

    Args:
        name: a key of ``BACKBONES`` or ``timm/<model>``.
        image_size: height and width in pixels of the images that it will mostly see.
        weights: ``pretrained``, ``none`` (random), or a .safetensors, .pth, .pt or .ckpt file.
        crop_last: how many blocks are left out at the end.
        train_from: the first block that learns.
        update_frozen_statistics: whether BatchNorm statistics of the blocks before it update.
        final_norm: whether a transformer's output is normalised.

    Raises:
        UserError: the weights cannot be had or do not fit, there are fewer blocks, the image size
            is none of this backbone's, or timm has no such model.
        ValueError: ``final_norm`` is False of a backbone without one.
    """
    cls: Callable[..., Backbone] = BACKBONES["timm" if name.startswith("timm/") else name]
    options = {} if final_norm else {"final_norm": False}
    if not options.keys() <= inspect.signature(cls).parameters.keys():
        raise ValueError(f"final_norm=False, but {name} has no final normalisation")
    return cls(
        name=name,
        image_size=image_size,
        weights=weights,
        crop_last=crop_last,
        train_from=train_from,
        update_frozen_statistics=update_frozen_statistics,
        **options,
    )
