"""The network: photographs in, descriptors out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from PIL import Image
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
from vgray.models.photos import Photo, read_photos
from vgray.recipe import Recipe
from vgray.recipe.fit import IMAGE_SIDES, scaled_size
from vgray.recipe.networks import MultiScale, ScaleConcatenation

# Images described at once: enough for a GPU, little memory. A CPU's caches hold few: ResNet-18 at
# 224 px described a tenth more images a second in blocks of 16 than of 64, on each of two cores.
_GPU_BLOCK, _CPU_BLOCK = 64, 16


class Network(nn.Module):
    """Backbone -> attention -> aggregator -> optional projection -> L2 norm, as a recipe says.

    In evaluation a recipe with ``multi_scale`` describes each image at several scales. What is made
    for one size is interpolated at the others: a transformer's positions, and the feature map that
    MixVPR is given. So it is for images of another size (:meth:`describe_views`), and where the
    model is used at another one than it was made for (:meth:`use`).

    Args:
        recipe: decides every layer; ``recipe.precision`` decides whether ``forward`` runs in
            bfloat16 autocast (``auto`` must have been settled by the trainer; it means float32
            here).
        load_weights: False leaves the backbone's weights random, for a checkpoint to fill.

    Attributes:
        recipe: the recipe that it was built from, or is used by.
        dimension: the length of its descriptors in evaluation.
        half_precision: whether ``forward`` autocasts to bfloat16.

    Raises:
        UserError: the backbone's weights cannot be had or do not fit; the parts do not fit.
    """

    def __init__(self, recipe: Recipe, *, load_weights: bool = True) -> None:
        super().__init__()
        self.recipe = recipe
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
        self._dimension_of_scale = self.dimension
        self.use(recipe)
        self._scale: Tensor
        self._offset: Tensor
        mean, std = torch.tensor(self.backbone.mean), torch.tensor(self.backbone.std)
        self.register_buffer("_scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_offset", (-mean / std).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def use(self, recipe: Recipe) -> None:
        """Describe from now on as another recipe says: its image size, scales and precision.

        Called while the network is on the CPU.

        Args:
            recipe: equal in all layers to the one that the network was built from.

        Raises:
            UserError: it cannot describe images of that size or at those scales.
        """
        size_px, built_for = recipe.image_size, self.recipe.image_size
        self.recipe = recipe
        self.half_precision = recipe.precision == "bfloat16"
        if size_px != built_for:
            self._require_size(size_px, f"image_size: found {size_px[0]}x{size_px[1]}")
        self.dimension = self._dimension_of_scale
        if recipe.multi_scale is not None:
            self._require_scales(recipe.multi_scale)
        if isinstance(recipe.multi_scale, ScaleConcatenation):
            self.dimension *= len(recipe.multi_scale.scales)

    @property
    def _block(self) -> int:
        return _CPU_BLOCK if self.device.type == "cpu" else _GPU_BLOCK

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self._scale.device

    def forward(self, images: Tensor) -> Tensor:
        """Return L2-normalised float32 descriptors (B, D) of uint8 images (B, 3, H, W).

        Raises:
            ValueError: the model is made for images of another size.
        """
        return self._forward(images, any_size=images.shape[2:] == self.recipe.image_size)

    def _forward(self, images: Tensor, *, any_size: bool) -> Tensor:
        x = images * self._scale + self._offset
        size_px, multiple = (x.shape[2], x.shape[3]), self.backbone.size_multiple
        scales = self.recipe.multi_scale
        if scales is None or self.training:
            if any_size:
                x = resize_images(x, scaled_size(size_px, 1, multiple))
            return self._describe(x, any_size=any_size)
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
        self._require_size(
            size_px, f"multi_scale.scales: found {min(scales.scales):g}", "leave that scale out or "
        )

    def _require_size(self, size_px: tuple[int, int], found: str, remedy: str = "") -> None:
        try:
            features = self.backbone.dry_run(size_px)
            if not isinstance(self.aggregator, MixVPR):
                dry_descriptor(self.aggregator, features)
        except (UserError, ValueError) as error:
            raise UserError(
                f"{found}, which this network cannot take ({error}); {remedy}raise image_size"
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

    def describe(
        self, images: Photo | Sequence[Photo] | Tensor, *, block: int | None = None
    ) -> Tensor:
        """Describe photographs of any size; they are squashed to the recipe's ``image_size``.

        Args:
            images: a photograph (a path or a PIL image), a sequence of them, or a uint8 tensor
                (B, 3, H, W).
            block: how many go through the network at once; unless given, what suits the device.

        Returns:
            Descriptors (B, D), L2-normalised, float32, on the CPU. B is 1 for one photograph.

        Raises:
            UserError: an image cannot be read.
            ValueError: a tensor has another shape or type.
        """
        size_px = self.recipe.image_size
        block = block or self._block
        if isinstance(images, Tensor):
            _require_pixels(images)
            blocks = _split(images, block)
        else:
            photos = [images] if isinstance(images, str | Path | Image.Image) else list(images)
            blocks = (
                read_photos(photos[i : i + block], size_px) for i in range(0, len(photos), block)
            )
        return self._describe_blocks(blocks, size_px)

    def describe_views(self, pixels: Tensor) -> Tensor:
        """Describe images at the size that they have.

        At the recipe's ``image_size`` that is what :meth:`describe` does. At another, what is made
        for one size is interpolated, and sides are brought to the nearest multiples that the
        backbone needs; with ``multi_scale``, its scales are of the size that the images have.

        Args:
            pixels: uint8 (B, 3, H, W).

        Returns:
            Descriptors (B, D), L2-normalised, float32, on the CPU.

        Raises:
            UserError: the network cannot take images of this size; most often they are too small.
            ValueError: the tensor has another shape or type.
        """
        _require_pixels(pixels)
        height, width = size_px = (pixels.shape[2], pixels.shape[3])
        own = self.recipe.image_size
        # Larger images need more memory each, so fewer go through the network at once.
        most = self._block
        block = max(1, min(most, most * math.prod(own) // max(1, height * width)))
        try:
            if size_px != own and min(size_px) < IMAGE_SIDES.start:
                raise ValueError(f"expected {IMAGE_SIDES.start} pixels at least on either side")
            return self._describe_blocks(_split(pixels, block), size_px)
        except (ValueError, RuntimeError) as error:
            # What is too small for a layer, only that layer knows, and each says it in its way.
            is_smaller = height < own[0] or width < own[1]
            if isinstance(error, torch.OutOfMemoryError) or size_px == own:
                raise
            if isinstance(error, RuntimeError) and not is_smaller:
                raise
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"found images of {height}x{width}, which this network cannot take ({reason}); "
                f"resize them to {own[0]}x{own[1]}, for which it is made"
            ) from error

    def _describe_blocks(self, blocks: Iterable[Tensor], size_px: tuple[int, int]) -> Tensor:
        """Describe blocks of uint8 pixels (B, 3, H, W) at ``size_px``."""
        described = [torch.empty(0, self.dimension)]
        with self.evaluating():
            for pixels in blocks:
                x = pixels.to(self.device)
                if x.shape[2:] != size_px:
                    x = image_functional.resize(x, list(size_px), antialias=True)
                x = x.contiguous(memory_format=torch.channels_last)
                described.append(self._forward(x, any_size=True).cpu())
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


def _require_pixels(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"expected a uint8 tensor (B, 3, H, W), found {images.dtype} {tuple(images.shape)}"
        )


def _split(images: Tensor, block: int) -> Iterator[Tensor]:
    return (images[i : i + block] for i in range(0, len(images), block))
