"""ViT-B/16 of torchvision, and DINOv2 with and without registers."""

from collections.abc import Sequence

import torch
import torchvision
from timm.layers.layer_scale import LayerScale
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from vgray.errors import UserError
from vgray.models.backbones.initialisation import draw_vit
from vgray.models.backbones.transformer import Embedding, Transformer
from vgray.recipe.architectures import ARCHITECTURES

_DINOV2_URL = "https://dl.fbaipublicfiles.com/dinov2/{0}/{0}{1}_pretrain.pth"
_DINOV2_REGISTERS = 4


class ViT(Transformer):
    """Vision transformer; agrees with torchvision's, positions at other sizes included."""

    @staticmethod
    def _cut(
        name: str, grid: tuple[int, int]
    ) -> tuple[nn.Module, str, Embedding, Sequence[nn.Module], nn.Module]:
        network = torchvision.models.get_model(name)
        encoder = network.encoder
        encoder.pos_embedding = _positions(1, grid, network.hidden_dim)
        embedding = Embedding(
            network.conv_proj,
            encoder.pos_embedding,
            grid,
            resize_aligned,
            class_token=network.class_token,
        )
        return network, "encoder.pos_embedding", embedding, list(encoder.layers), encoder.ln

    @staticmethod
    def _url(name: str) -> str:
        url: str = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
        return url

    @staticmethod
    def _draw(module: nn.Module) -> None:
        draw_vit(module)
        if isinstance(module, Embedding) and module.class_token is not None:
            nn.init.zeros_(module.class_token)
            nn.init.normal_(module.positions, std=0.02)


class DINOv2(Transformer):
    """DINOv2 with patches of 14 pixels, without and with registers.

    The blocks are timm's; keys, positions and the place of the registers are the official code's.
    Source: Oquab et al. 2024, Darcet et al. 2024.
    """

    @staticmethod
    def _cut(
        name: str, grid: tuple[int, int]
    ) -> tuple[nn.Module, str, Embedding, Sequence[nn.Module], nn.Module]:
        architecture = ARCHITECTURES[name]
        channels = architecture.channels[-1]
        network = VisionTransformer(
            patch_size=architecture.multiple,
            embed_dim=channels,
            depth=len(architecture.channels) - 1,
            num_heads=channels // 64,
            num_classes=0,
            init_values=1e-5,
        )
        network.pos_embed = _positions(1, grid, channels)
        registers = None
        if name.endswith("_reg"):
            registers = nn.Parameter(torch.empty(1, _DINOV2_REGISTERS, channels))
        network.register_parameter("register_tokens", registers)
        embedding = Embedding(
            network.patch_embed.proj,
            network.pos_embed,
            grid,
            resize_by_scale if registers is None else resize_antialiased,
            network.cls_token,
            registers,
        )
        return network, "pos_embed", embedding, list(network.blocks), network.norm

    @staticmethod
    def _url(name: str) -> str:
        plain = name.removesuffix("_reg")
        return _DINOV2_URL.format(plain, f"_reg{_DINOV2_REGISTERS}" if name != plain else "")

    @staticmethod
    def _require_kind(name: str, weights: str, state: dict[str, Tensor]) -> None:
        if "register_tokens" in state and not name.endswith("_reg"):
            raise UserError(
                f"backbone.weights={weights}: found register tokens, expected a DINOv2 without; "
                f"give backbone.name={name}_reg"
            )

    @staticmethod
    def _draw(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, LayerScale):
            nn.init.constant_(module.gamma, 1e-5)
        elif isinstance(module, Embedding):
            nn.init.trunc_normal_(module.positions, std=0.02)
            for tokens in (module.class_token, module.registers):
                if tokens is not None:
                    nn.init.normal_(tokens, std=1e-6)


def resize_aligned(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a map (1, C, h, w) as torchvision's ``interpolate_embeddings`` does."""
    return functional.interpolate(map_, size, mode="bicubic", align_corners=True)


def resize_by_scale(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a map (1, C, h, w) as the official DINOv2 without registers does.

    It adds a tenth of a location to the new sides, against rounding, and interpolates by their
    ratio to the old ones, so that the map is a little larger than what is kept of it.
    """
    scales = [(new + 0.1) / old for new, old in zip(size, map_.shape[2:], strict=True)]
    return functional.interpolate(map_, scale_factor=scales, mode="bicubic")


def resize_antialiased(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a map (1, C, h, w) as the official DINOv2 with registers does."""
    return functional.interpolate(map_, size, mode="bicubic", antialias=True)


def _positions(first: int, grid: tuple[int, int], channels: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(1, first + grid[0] * grid[1], channels))
