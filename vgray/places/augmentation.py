"""Augmentation of training images, on the device where they are trained on.

Random numbers are drawn on the CPU from (seed, epoch, step) alone, one set for each image, so that
a batch is changed in the same way on every device and after every resume. What one kind does is the
same whatever else is on.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as image_functional

from vgray.places.draws import generator_for, uniform
from vgray.places.warps import draw_warps, resample
from vgray.recipe.augmentation import (
    Augmentation,
    Blur,
    ColourJitter,
    HorizontalFlip,
    RandAugment,
    RandomErasing,
)

_GREY = 128
# Of erased rectangles, height to width, as in torchvision's RandomErasing.
_NARROWEST, _WIDEST = 0.3, 3.3


def augment(
    images: Tensor,
    settings: Augmentation,
    *,
    seed: int,
    epoch: int,
    step: int,
    groups: Tensor | NDArray[Any] | None = None,
    queries: Tensor | NDArray[np.bool_] | None = None,
) -> Tensor:
    """Return ``images`` changed in a copy, or the same object if nothing is on.

    Crop, perspective and rotation are one resampling; what lies outside the image is its nearest
    border pixel, since black corners would tell a network which images were turned.

    Args:
        images: (B, 3, H, W) uint8; so is the result, channels-last.
        settings: of the recipe.
        seed: of the recipe.
        epoch: of the training.
        step: of the epoch.
        groups: (B,) integers, the tuple or place of each image: a group is mirrored as a whole or
            not at all. Left out, each image is a group.
        queries: (B,) bool, needed where only queries are to change. A flip mirrors the other
            images of their groups even then: a mirrored query needs a mirrored positive.

    Raises:
        ValueError: only queries are to change and ``queries`` is missing, or ``groups`` or
            ``queries`` are not one for each image.
    """
    on = {kind: value for kind, value in settings if kind != "images" and value is not None}
    for name, given in (("groups", groups), ("queries", queries)):
        if given is not None and tuple(given.shape) != (len(images),):
            raise ValueError(f"{name} of shape {tuple(given.shape)} for {len(images)} images")
    if not on or not len(images):
        return images
    chosen = torch.ones(len(images), dtype=torch.bool)
    if settings.images == "queries":
        if queries is None:
            raise ValueError("only queries are to change; say which they are")
        chosen = torch.from_numpy(_array(queries).astype(bool))
    generators = {kind: generator_for(seed, epoch, step, kind) for kind in on}
    images = _change(images, chosen, _warp, on, generators)
    if settings.flip is not None:
        images = _flip(images, settings.flip, groups, generators["flip"])
    for kind, change in _CHANGES.items():
        if kind in on:
            images = _change(images, chosen, change, on[kind], generators[kind])
    return images.contiguous(memory_format=torch.channels_last)


def _change(images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *args: Any) -> Tensor:
    """Return images of which those ``chosen``, (B,) bool on the CPU, are changed."""
    if chosen.all():
        return change(images, *args)
    rows = chosen.nonzero().flatten().to(images.device)
    return images.index_copy(0, rows, change(images[rows], *args)) if len(rows) else images


def _array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def _warp(images: Tensor, on: dict[str, Any], generators: dict[str, Generator]) -> Tensor:
    num, _, height, width = images.shape
    matrices, moved = draw_warps(num, on, width / height, generators)
    return _change(images, moved, _resample, matrices[moved])


def _resample(images: Tensor, matrices: Tensor) -> Tensor:
    return _to_uint8(resample(images, matrices))


def _flip(
    images: Tensor,
    settings: HorizontalFlip,
    groups: Tensor | NDArray[Any] | None,
    generator: Generator,
) -> Tensor:
    mirrored = uniform(len(images), 0.0, 1.0, generator) < settings.p
    if groups is not None:
        _, first, group = np.unique(_array(groups), return_index=True, return_inverse=True)
        mirrored = mirrored[torch.from_numpy(first[group])]
    return _change(images, mirrored, torch.flip, (3,))


def _brightness(images: Tensor, limits: tuple[float, float], generator: Generator) -> Tensor:
    """Do torchvision's adjust_brightness with a factor for each image."""
    factors = uniform(len(images), *limits, generator).to(images.device)
    return _to_uint8(images * factors.view(-1, 1, 1, 1))


def _colour_jitter(images: Tensor, settings: ColourJitter, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order.

    Each is torchvision's adjustment of that name, done for all images at once, with a factor for
    each of 1 plus or minus at most the setting (hue: a turn of at most the setting).
    """
    num, device = len(images), images.device

    def factors(width: float) -> Tensor:
        return uniform(num, 1 - width, 1 + width, generator).to(device).view(-1, 1, 1, 1)

    x = images.float()
    if settings.brightness:
        x = (x * factors(settings.brightness)).clamp(0, 255)
    if settings.contrast:
        mean = image_functional.rgb_to_grayscale(x).mean((1, 2, 3), keepdim=True)
        x = torch.lerp(mean, x, factors(settings.contrast)).clamp(0, 255)
    if settings.saturation:
        grey = image_functional.rgb_to_grayscale(x)
        x = torch.lerp(grey, x, factors(settings.saturation)).clamp(0, 255)
    if settings.hue:
        turns = uniform(num, -settings.hue, settings.hue, generator).tolist()
        x = x / 255
        x = torch.stack([image_functional.adjust_hue(i, t) for i, t in zip(x, turns, strict=True)])
        x = x * 255
    return _to_uint8(x)


def _rand_augment(images: Tensor, settings: RandAugment, generator: Generator) -> Tensor:
    """Apply torchvision's RandAugment to each image by itself: its operations differ in kind.

    It fills with black, as published.
    """
    transform = v2.RandAugment(
        num_ops=settings.num_ops,
        magnitude=settings.magnitude,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    # torchvision draws from torch's global generator only.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return torch.stack([transform(image) for image in images])


def _blur(images: Tensor, settings: Blur, generator: Generator) -> Tensor:
    """Blur each image with a Gaussian of its own; at the border, over the pixels there are."""
    sigmas_px = settings.sigma_px * (1 - uniform(len(images), 0.0, 1.0, generator))
    chosen = uniform(len(images), 0.0, 1.0, generator) < settings.p
    return _change(images, chosen, _smooth, sigmas_px[chosen].to(images.device))


def _smooth(images: Tensor, sigmas_px: Tensor) -> Tensor:
    num, channels, height, width = images.shape

    def weights(size: int) -> Tensor:
        at = torch.arange(size, device=images.device)
        far = (at - at.unsqueeze(1)) / sigmas_px.view(-1, 1, 1)
        return functional.softmax(-0.5 * far.square(), dim=2)

    # One matrix for each direction does it for a sigma of any size; a kernel could outgrow the
    # image. The layouts are such that channels-last images need one copy less.
    rows = images.float().permute(0, 2, 3, 1).reshape(num, height, width * channels)
    x = torch.bmm(weights(height), rows).view(num, height, width, channels)
    columns = x.permute(0, 2, 1, 3).reshape(num, width, height * channels)
    x = torch.bmm(weights(width), columns).view(num, width, height, channels)
    return _to_uint8(x.permute(0, 3, 2, 1))


def _random_erasing(images: Tensor, settings: RandomErasing, generator: Generator) -> Tensor:
    num, _, height, width = images.shape
    area_px = uniform(num, 0.0, settings.max_area, generator) * height * width
    ratio = uniform(num, math.log(_NARROWEST), math.log(_WIDEST), generator).exp()
    high = (area_px * ratio).sqrt().floor().clamp(max=height)
    wide = (area_px / ratio).sqrt().floor().clamp(max=width)
    top = (uniform(num, 0.0, 1.0, generator) * (height - high + 1)).floor()
    left = (uniform(num, 0.0, 1.0, generator) * (width - wide + 1)).floor()
    chosen = uniform(num, 0.0, 1.0, generator) < settings.p

    def between(start: Tensor, length: Tensor, size: int) -> Tensor:
        at = torch.arange(size)
        return (at >= start.unsqueeze(1)) & (at < (start + length).unsqueeze(1))

    rows, columns = between(top, high, height), between(left, wide, width)
    erased = rows.view(num, 1, height, 1) & columns.view(num, 1, 1, width)
    return images.masked_fill((erased & chosen.view(-1, 1, 1, 1)).to(images.device), _GREY)


def _to_uint8(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


_CHANGES: dict[str, Callable[[Tensor, Any, Generator], Tensor]] = {
    "brightness": _brightness,
    "colour_jitter": _colour_jitter,
    "rand_augment": _rand_augment,
    "blur": _blur,
    "random_erasing": _random_erasing,
}
