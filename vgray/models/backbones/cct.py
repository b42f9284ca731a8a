"""Compact convolutional transformers: convolutions make the tokens, and there is no class token.

Source: Hassani et al. 2021; architecture and state-dict keys of SHI-Labs/Compact-Transformers.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from vgray.models.backbones.transformer import Embedding, Transformer
from vgray.recipe.architectures import ARCHITECTURES

_URL = "http://ix.cs.uoregon.edu/~alih/compact-transformers/checkpoints/"
_FILES = {
    "cct14_7x2_224": "pretrained/cct_14_7x2_224_imagenet.pth",
    "cct14_7x2_384": "finetuned/cct_14_7x2_384_imagenet.pth",
}
_HEADS = 6
_MLP_RATIO = 3
_DROP = 0.1  # of attention, and at most of a whole block


class CCT(Transformer):
    """Compact convolutional transformer CCT-14/7x2; the two names differ in published weights."""

    @staticmethod
    def _cut(
        name: str, grid: tuple[int, int]
    ) -> tuple[nn.Module, str, Embedding, Sequence[nn.Module], nn.Module]:
        channels = ARCHITECTURES[name].channels[-1]
        network = _Published(channels, len(ARCHITECTURES[name].channels) - 1, grid)
        encoder = network.classifier
        layers = network.tokenizer.conv_layers
        embedding = Embedding(layers, encoder.positional_emb, grid, resize_bilinear)
        blocks = cast("list[nn.Module]", list(encoder.blocks))
        return network, "classifier.positional_emb", embedding, blocks, encoder.norm

    @staticmethod
    def _url(name: str) -> str:
        return _URL + _FILES[name]

    @staticmethod
    def _draw(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, Embedding):
            nn.init.trunc_normal_(module.positions, std=0.2)


def resize_bilinear(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a map (1, C, h, w) as the published helper for checkpoints does."""
    return functional.interpolate(map_, size, mode="bilinear")


class _Tokenizer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(here, there, kernel_size=7, stride=2, padding=3, bias=False),
                    nn.ReLU(),
                    nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
                )
                for here, there in ((3, 64), (64, channels))
            )
        )


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        dropped = _DROP if self.training else 0.0
        x = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropped)
        out: Tensor = self.proj(x.transpose(1, 2).flatten(2))
        return out


class _Block(nn.Module):
    """As usual but for ``norm1``, which is in the residual path."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(channels)
        self.self_attn = _Attention(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, _MLP_RATIO * channels)
        self.linear2 = nn.Linear(_MLP_RATIO * channels, channels)
        self.drop_path = StochasticDepth(drop, "row")

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.drop_path(self.self_attn(self.pre_norm(x))))
        out: Tensor = x + self.drop_path(self.linear2(functional.gelu(self.linear1(x))))
        return out


class _Classifier(nn.Module):
    def __init__(self, channels: int, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.attention_pool = nn.Linear(channels, 1)
        self.positional_emb = nn.Parameter(torch.empty(1, grid[0] * grid[1], channels))
        self.blocks = nn.ModuleList(_Block(channels, _DROP * i / (depth - 1)) for i in range(depth))
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, 1000)


class _Published(nn.Module):
    """Has the keys of the published state dict; only parts of it are run."""

    def __init__(self, channels: int, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.tokenizer = _Tokenizer(channels)
        self.classifier = _Classifier(channels, depth, grid)
