"""The published random initialisations; each function draws the weights of one module.

They are for networks that were built on the meta device, where their own constructors draw nothing.
Source: the constructors of torchvision, which the tests compare.
"""

import math

from torch import nn
from torchvision.models.convnext import CNBlock
from torchvision.models.swin_transformer import ShiftedWindowAttention


def draw_convolutional(module: nn.Module) -> None:
    """Initialise as torchvision's ResNet, VGG, EfficientNet and MobileNetV3 do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()


def draw_convnext(module: nn.Module) -> None:
    """Initialise as torchvision's ConvNeXt does."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        _draw_truncated(module, 0.02)
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()
    elif isinstance(module, CNBlock):
        nn.init.constant_(module.layer_scale, 1e-6)


def draw_swin(module: nn.Module) -> None:
    """Initialise as torchvision's Swin does."""
    if isinstance(module, nn.Linear):
        _draw_truncated(module, 0.02)
    elif isinstance(module, nn.Conv2d | nn.LayerNorm):
        module.reset_parameters()
    elif isinstance(module, ShiftedWindowAttention):
        module.define_relative_position_bias_table()
        module.define_relative_position_index()


def draw_vit(module: nn.Module) -> None:
    """Initialise as torchvision's ViT does, but for its class token and positions."""
    if isinstance(module, nn.Conv2d):
        _draw_truncated(module, math.sqrt(1 / module.weight[0].numel()))
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.normal_(module.bias, std=1e-6)
    elif isinstance(module, nn.MultiheadAttention):
        module.out_proj.reset_parameters()
        module._reset_parameters()
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()


def _draw_truncated(module: nn.Conv2d | nn.Linear, std: float) -> None:
    nn.init.trunc_normal_(module.weight, std=std)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
