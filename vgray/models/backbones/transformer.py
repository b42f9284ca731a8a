"""What vision transformers share: an embedding with positions, blocks, a final normalisation."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vgray.models.backbones.base import (
    Backbone,
    Features,
    modules_of,
    require_blocks,
    require_multiple,
)
from vgray.models.weights import Convert
from vgray.recipe.architectures import ARCHITECTURES

Resize: TypeAlias = Callable[[Tensor, tuple[int, int]], Tensor]
"""Interpolates a map of positions (1, C, h, w) to another height and width."""


class Embedding(nn.Module):
    """Images (B, 3, H, W) -> tokens (B, T, C): class token, registers, then patches row by row.

    Args:
        projection: (B, 3, H, W) -> (B, C, h, w).
        positions: (1, T', C), one for the class token if there is one, then ``grid``.
        grid: height and width of the map that ``positions`` are for; of another map they are
            interpolated.
        resize: how they are interpolated.
        class_token: (1, 1, C).
        registers: (1, R, C) more tokens, without positions.
    """

    def __init__(
        self,
        projection: nn.Module,
        positions: nn.Parameter,
        grid: tuple[int, int],
        resize: Resize,
        class_token: nn.Parameter | None = None,
        registers: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.projection = projection
        self.class_token = class_token
        self.registers = registers
        self.positions = positions
        self.grid = grid
        self.resize = resize

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, T, C)."""
        x: Tensor = self.projection(images)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1)
        positions: Tensor = self.positions
        if grid != self.grid:
            positions = resize_positions(positions, self.grid, grid, self.resize)
        x = x + positions
        if self.registers is not None:
            x = torch.cat([x[:, :1], self.registers.expand(x.shape[0], -1, -1), x[:, 1:]], 1)
        return x


class Transformer(Backbone):
    """A vision transformer whose blocks are the embedding (0) and its own (from 1).

    (B, 3, H, W) -> a map (B, C, H / p, W / p) of the patches, p being the patch size, and the class
    token where there is one; registers are left out. The final normalisation follows the last block
    that is kept and learns with it.

    Args:
        name: which.
        image_size: height and width in pixels. There is a learned position for each of its patches:
            published ones are interpolated to it, as are these to images of another size, where
            features then differ a little from those of the published positions.
        weights: ``pretrained``, ``none`` (random), or a .safetensors, .pth, .pt or .ckpt file.
        crop_last: how many blocks are left out at the end.
        train_from: the first block that learns.
        update_frozen_statistics: whether BatchNorm of the blocks before it updates; these
            networks have none.
        final_norm: whether the output is normalised.

    Raises:
        UserError: the weights cannot be had or do not fit, there are fewer blocks, or the sides of
            ``image_size`` are no multiples of the patch size.
    """

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        weights: str,
        crop_last: int = 0,
        train_from: int = 0,
        update_frozen_statistics: bool = True,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        architecture = ARCHITECTURES[name]
        self.size_multiple = architecture.multiple
        self.has_token = architecture.has_token
        self.out_channels = architecture.channels[-1]
        self._stride = architecture.strides[-1]
        require_multiple(name, image_size, architecture.multiple)
        require_blocks(name, len(architecture.channels), crop_last, train_from)
        with torch.device("meta"):
            network, key, embedding, blocks, norm = self._cut(name, self._grid(*image_size))
        self.blocks = nn.ModuleList([embedding, *blocks[: len(blocks) - crop_last]])
        self.norm = norm if final_norm else None
        fit = fit_positions(key, int(self.has_token), embedding.grid, embedding.resize)

        def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
            self._require_kind(name, weights, state)
            return fit(state)

        self._fill(network, weights, self._url(name), self._draw, convert)
        frozen: list[nn.Module] = list(self.blocks[:train_from])
        if self.norm is not None and train_from == len(self.blocks):
            frozen.append(self.norm)
        self._freeze(modules_of(frozen), update_frozen_statistics)

    @staticmethod
    def _cut(
        name: str, grid: tuple[int, int]
    ) -> tuple[nn.Module, str, Embedding, Sequence[nn.Module], nn.Module]:
        """Return the published network, the key of its positions, and its parts.

        Its positions are for ``grid``; called on the meta device.
        """
        raise NotImplementedError

    @staticmethod
    def _url(name: str) -> str:
        """Return where the published weights are."""
        raise NotImplementedError

    @staticmethod
    def _require_kind(name: str, weights: str, state: dict[str, Tensor]) -> None:
        """Refuse weights whose names and shapes fit, but which are another network's."""

    @staticmethod
    def _draw(module: nn.Module) -> None:
        """Initialise one module as published."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) -> features of the patches and the class token.

        Raises:
            ValueError: height or width is no multiple of ``size_multiple``.
        """
        self._require_size(images)
        x = images
        for block in self.blocks:
            x = block(x)
        if self.norm is not None:
            x = self.norm(x)
        height, width = self._grid(images.shape[2], images.shape[3])
        patches = x[:, x.shape[1] - height * width :]
        map_ = patches.transpose(1, 2).reshape(x.shape[0], self.out_channels, height, width)
        return Features(map_, x[:, 0] if self.has_token else None)

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        return -(-height // self._stride), -(-width // self._stride)


def resize_positions(
    positions: Tensor, grid: tuple[int, int], new: tuple[int, int], resize: Resize
) -> Tensor:
    """Interpolate positions (1, P + h * w, C) of a ``grid`` (h, w); the first P stay."""
    first = positions.shape[1] - math.prod(grid)
    map_ = positions[:, first:].reshape(1, *grid, -1).permute(0, 3, 1, 2)
    resized = resize(map_.float(), new).to(positions.dtype)
    return torch.cat([positions[:, :first], resized.flatten(2).transpose(1, 2)], 1)


def fit_positions(key: str, first: int, grid: tuple[int, int], resize: Resize) -> Convert:
    """Return a conversion of a state dict whose positions at ``key`` are for a square map.

    Args:
        key: of positions (1, first + h * h, C).
        first: how many of them are not the map's.
        grid: height and width of the map that they are interpolated to, unless they fit.
        resize: how.
    """

    def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
        positions = state.get(key)
        if positions is None or positions.ndim != 3 or positions.shape[1] <= first:
            return state
        side = math.isqrt(positions.shape[1] - first)
        if (side, side) == grid or side * side != positions.shape[1] - first:
            return state  # they fit, or are refused for their shape
        return {**state, key: resize_positions(positions, (side, side), grid, resize)}

    return convert
