"""The network: photographs in, descriptors out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import functional as image_functional

from vgray.errors import UserError
from vgray.models.aggregators import MixVPR
from vgray.models.backbones import Features, build_backbone
from vgray.models.build import (
    aggregate,
    build_aggregator,
    build_attention,
    dry_descriptor,
)
from vgray.models.multi_scale import combine, resize_images
from vgray.places.images import COLOUR_MODES, UnreadableImage, read_image
from vgray.recipe import Recipe
from vgray.recipe.fit import scaled_size
from vgray.recipe.networks import MultiScale, ScaleConcatenation

Photo: TypeAlias = str | Path | Image.Image
"""An image file or a decoded image."""

_BLOCK = 64  # images described at once: enough for a GPU, little memory


class Network(nn.Module):
    """Backbone -> attention -> aggregator -> optional projection -> L2 norm, as a recipe says.

    In evaluation a recipe with ``multi_scale`` describes each image at several scales. What is made
    for one size is interpolated at the others: a transformer's positions, and the feature map that
    MixVPR is given.

    Args:
        recipe: decides every layer; ``recipe.precision`` decides whether ``forward`` runs in
            bfloat16 autocast (``auto`` must have been settled by the trainer; it means float32
            here).
        load_weights: False leaves the backbone's weights random, for a checkpoint to fill.

    Attributes:
        recipe: the recipe that it was built from.
        dimension: the length of its descriptors in evaluation.
        half_precision: whether ``forward`` autocasts to bfloat16.

    Raises:
        UserError: the backbone's weights cannot be had or do not fit; the parts do not fit.
    """

    def __init__(self, recipe: Recipe, *, load_weights: bool = True) -> None:
        super().__init__()
        self.recipe = recipe
        self.half_precision = recipe.precision == "bfloat16"
        settings = recipe.backbone.arguments()
        if not load_weights:
            settings["weights"] = "none"
        self.backbone = build_backbone(
            recipe.backbone.name, image_size=recipe.image_size, **settings
        )
        features = self.backbone.dry_run(recipe.image_size)
        self._grid = (features.map.shape[2], features.map.shape[3])
        self.attention = build_attention(recipe.attention, self.backbone)
        self.aggregator = build_aggregator(recipe.aggregator, features)
        self.dimension = dry_descriptor(self.aggregator, features).shape[1]
        self.projection: nn.Linear | None = None
        if recipe.projection is not None:
            self.projection = nn.Linear(self.dimension, recipe.projection.dim)
            self.dimension = recipe.projection.dim
        if recipe.multi_scale is not None:
            self._require_scales(recipe.multi_scale)
        if isinstance(recipe.multi_scale, ScaleConcatenation):
            self.dimension *= len(recipe.multi_scale.scales)
        self._scale: Tensor
        self._offset: Tensor
        mean, std = torch.tensor(self.backbone.mean), torch.tensor(self.backbone.std)
        self.register_buffer("_scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_offset", (-mean / std).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self._scale.device

    def forward(self, images: Tensor) -> Tensor:
        """Return L2-normalised float32 descriptors (B, D) of uint8 images (B, 3, H, W).

        Raises:
            ValueError: the model is made for images of another size.
        """
        x = images * self._scale + self._offset
        scales = self.recipe.multi_scale
        if scales is None or self.training:
            return self._describe(x)
        size_px, multiple = (x.shape[2], x.shape[3]), self.backbone.size_multiple
        described = [
            self._describe(resize_images(x, scaled_size(size_px, scale, multiple)), any_size=True)
            for scale in scales.scales
        ]
        return combine(described, scales.name, getattr(scales, "p", 1.0))

    def local_features(self, images: Tensor) -> Tensor:
        """Return what the aggregator is given of uint8 images (B, 3, H, W): (B, C, H', W')."""
        return self._features(images * self._scale + self._offset).map

    def _features(self, x: Tensor) -> Features:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half_precision):
            features = self.backbone(x)
            return Features(self.attention(features.map), features.token)

    def _require_scales(self, scales: MultiScale) -> None:
        """Try the smallest scale; the larger ones have more than it needs."""
        size_px = scaled_size(
            self.recipe.image_size, min(scales.scales), self.backbone.size_multiple
        )
        try:
            features = self.backbone.dry_run(size_px)
            if not isinstance(self.aggregator, MixVPR):
                dry_descriptor(self.aggregator, features)
        except (UserError, ValueError) as error:
            raise UserError(
                f"multi_scale.scales: found {min(scales.scales):g}, which this network cannot take "
                f"({error}); leave that scale out or raise image_size"
            ) from None

    def _describe(self, x: Tensor, *, any_size: bool = False) -> Tensor:
        features = self._features(x)
        if (
            any_size
            and isinstance(self.aggregator, MixVPR)
            and features.map.shape[2:] != self._grid
        ):
            # It is made for one size of the map.
            features = features._replace(map=resize_images(features.map, self._grid))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half_precision):
            descriptors = aggregate(self.aggregator, features)
            if self.projection is not None:
                descriptors = self.projection(descriptors)
        return functional.normalize(descriptors.float(), dim=1)

    def describe(self, images: Photo | Sequence[Photo] | Tensor, *, block: int = _BLOCK) -> Tensor:
        """Describe photographs of any size; they are squashed to the recipe's ``image_size``.

        Args:
            images: a photograph (a path or a PIL image), a sequence of them, or a uint8 tensor
                (B, 3, H, W).
            block: how many go through the network at once.

        Returns:
            Descriptors (B, D), L2-normalised, float32, on the CPU. B is 1 for one photograph.

        Raises:
            UserError: an image cannot be read.
            ValueError: a tensor has another shape or type.
        """
        size_px = self.recipe.image_size
        if isinstance(images, Tensor):
            if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
                raise ValueError(
                    f"expected a uint8 tensor (B, 3, H, W), found {images.dtype} "
                    f"{tuple(images.shape)}"
                )
            blocks: Iterator[Tensor] = (images[i : i + block] for i in range(0, len(images), block))
        else:
            photos = [images] if isinstance(images, str | Path | Image.Image) else list(images)
            blocks = (_read(photos[i : i + block], size_px) for i in range(0, len(photos), block))
        described = [torch.empty(0, self.dimension)]
        with self.evaluating():
            for pixels in blocks:
                x = pixels.to(self.device)
                if x.shape[2:] != size_px:
                    x = image_functional.resize(x, list(size_px), antialias=True)
                described.append(self(x.contiguous(memory_format=torch.channels_last)).cpu())
        return torch.cat(described)

    @contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Switch to evaluation without gradients, and back to the mode that it was in."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                yield self
        finally:
            self.train(was_training)


def _read(photos: Sequence[Photo], size_px: tuple[int, int]) -> Tensor:
    """Read photographs as a uint8 tensor (B, 3, H, W)."""
    arrays = [
        _squash(photo, size_px) if isinstance(photo, Image.Image) else _read_file(photo, size_px)
        for photo in photos
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def _read_file(path: str | Path, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return read_image(path, size_px)
    except UnreadableImage as error:
        raise UserError(f"{path}: {error}; give a photograph as JPEG, PNG or HEIC") from None


def _squash(image: Image.Image, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Turn a decoded image upright and resize it, as files are."""
    if image.mode not in COLOUR_MODES:
        raise UserError(f"an image of mode {image.mode}; give one of 8-bit grey or RGB")
    upright = ImageOps.exif_transpose(image).convert("RGB")
    height, width = size_px
    return np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR))
