"""What every backbone is: blocks; the last can be left out and the first frozen."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vgray.errors import UserError
from vgray.models.weights import Convert, load_backbone_weights
from vgray.recipe.fit import nearest_sizes


class Features(NamedTuple):
    """What a backbone makes of a batch of images."""

    map: Tensor
    """(B, C, H, W)"""
    token: Tensor | None
    """The class token (B, C), where there is one."""


class Backbone(nn.Module):
    """A network that turns images into a map of features, and maybe a class token.

    Attributes:
        out_channels: C of the map and the token.
        has_token: whether ``Features.token`` is there.
        size_multiple: height and width of images must be multiples of it.
        mean: of red, green and blue, from 0 to 1, that images are normalised by.
        std: likewise, their standard deviations; both as the published weights were trained.
        classifier: weight (1000, C) and bias (1000) of the published classifier, where all blocks
            of a ResNet are kept and the weights have them. On the CPU, not in the state dict.
    """

    out_channels: int
    has_token: bool = False
    size_multiple: int = 1
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    classifier: tuple[Tensor, Tensor] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._with_still_statistics: list[nn.Module] = []

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) -> features."""
        raise NotImplementedError

    def dry_run(self, image_size: tuple[int, int]) -> Features:
        """Return the features of one black image, whose shapes the next part must fit."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                features: Features = self(torch.zeros(1, 3, *image_size))
        finally:
            self.train(was_training)
        return features

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training, but for the frozen BatchNorm whose statistics are to stay."""
        super().train(mode)
        for module in self._with_still_statistics:
            module.eval()
        return self

    def _fill(
        self,
        network: nn.Module,
        weights: str,
        url: str,
        draw: Callable[[nn.Module], None],
        convert: Convert | None = None,
    ) -> dict[str, Tensor]:
        """Give values to parameters on the meta device, and return the state dict read for it.

        ``draw`` initialises one module, as :meth:`torch.nn.Module.apply` calls it.
        """
        if weights != "none":
            return load_backbone_weights(self, network, weights, url, convert)
        self.to_empty(device="cpu")
        self.apply(draw)
        return {}

    def _freeze(self, modules: Iterable[nn.Module], update_statistics: bool) -> None:
        """Freeze ``modules`` themselves, not their submodules; BatchNorm updates if it is to."""
        for module in modules:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            if isinstance(module, _BatchNorm) and not update_statistics:
                self._with_still_statistics.append(module.eval())

    def _require_size(self, images: Tensor) -> None:
        height, width = images.shape[2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f"found images of {height}x{width}; height and width must be multiples of "
                f"{self.size_multiple}, {nearest_sizes(images.shape[2:], self.size_multiple)}"
            )


def require_multiple(name: str, image_size: tuple[int, int], multiple: int) -> None:
    """Refuse an image size that a backbone cannot take.

    Raises:
        UserError: names the nearest valid sides.
    """
    if any(side % multiple for side in image_size):
        raise UserError(
            f"image_size: found {image_size[0]}x{image_size[1]}; {name} needs multiples of "
            f"{multiple}, {nearest_sizes(image_size, multiple)}"
        )


def require_blocks(name: str, blocks: int, crop_last: int, train_from: int) -> None:
    """Refuse to crop or to freeze more than there is; the recipe checks what it knows earlier.

    Raises:
        UserError: names the allowed range.
    """
    if not 0 <= crop_last <= blocks - 2:
        raise UserError(
            f"backbone.crop_last: found {crop_last}; {name} has {blocks} blocks, of which two must "
            f"stay, so give 0 to {blocks - 2}"
        )
    left = blocks - crop_last
    if not 0 <= train_from <= left:
        raise UserError(
            f"backbone.train_from: found {train_from}, but with crop_last {crop_last} {left} "
            f"blocks of {name} are left; give 0 to {left} ({left} trains none of them)"
        )


def modules_of(blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """Return every module in ``blocks``, themselves included."""
    return [module for block in blocks for module in block.modules()]
