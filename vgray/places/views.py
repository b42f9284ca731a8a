"""How a query is taken: squashed to one size, at its own proportions, or in crops.

The ways are the test methods of the deep-visual-geo-localization-benchmark, whose
``nearest_crop`` and ``maj_voting`` look at the same five crops as ``five_crops``; ``native_size``
is what CosPlace and VPR-methods-evaluation do. All images are resized by one antialiased bilinear
filter; the benchmark takes the nearest pixel for its ``central_crop``.
"""

import math
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from vgray.places.images import MAX_PIXELS, Size, UnreadableImage, read_resized
from vgray.recipe.fit import IMAGE_SIDES

QueryMethod: TypeAlias = Literal[
    "resize", "single_query", "native_size", "central_crop", "five_crops"
]
QUERY_METHODS: tuple[QueryMethod, ...] = get_args(QueryMethod)
MAX_WHOLE_PIXELS = 4_000_000
"""Pixels of an image that a network sees whole at its own proportions; larger ones are shrunk.

A network needs a few GB for so many. The queries of the benchmark's data sets have fewer, but not
every phone's photographs.
"""


class Views(NamedTuple):
    """An image as a network is to see it."""

    pixels: NDArray[np.uint8]
    """(C, H, W, 3) RGB; C is 5 of ``five_crops``, else 1."""
    height_px: int
    """Of the file, turned as its EXIF orientation says."""
    width_px: int
    brightness: float
    """Mean of all values of the resized image before it is cropped, 0 to 255."""


def read_views(path: str | Path, size_px: Size, method: QueryMethod) -> Views:
    """Read an image and take its views.

    ``resize`` squashes it to ``size_px``. ``single_query`` brings its shorter side to the smaller
    of ``size_px``, ``native_size`` leaves it as it is; both shrink it to ``MAX_WHOLE_PIXELS`` at
    most. ``central_crop`` scales it until it just covers ``size_px``, which is cut from its
    centre. ``five_crops`` cuts squares from it at ``single_query``'s size: top left, top right,
    bottom left, bottom right, centre.

    Args:
        path: the file or address.
        size_px: height and width that the network is used at.
        method: how it is taken.

    Raises:
        UnreadableImage: it cannot be decoded, is too small, or is too narrow to be enlarged.
        UserError: the system and not the image is at fault.
        ValueError: there is no such method.
    """
    if method not in QUERY_METHODS:
        raise ValueError(f"expected one of {', '.join(QUERY_METHODS)}, found {method!r}")
    image, own_px = read_resized(path, lambda own: resized_size(own, size_px, method))
    if method == "central_crop":
        pixels = _crop_centre(image, size_px)[None]
    elif method == "five_crops":
        pixels = _five_crops(image, min(size_px))
    else:
        pixels = image[None]
    # Small integers are summed several times as fast as they are averaged.
    sums = image.reshape(len(image), -1).sum(axis=1, dtype=np.uint32)
    brightness = int(sums.sum(dtype=np.uint64)) / image.size
    return Views(pixels, *own_px, brightness)


def resized_size(own_px: Size, size_px: Size, method: QueryMethod) -> Size:
    """Return the (height, width) to which an image of ``own_px`` is resized, before it is cropped.

    Sides that follow from the other are rounded down, as torchvision does.

    Raises:
        UnreadableImage: it would be smaller than a network may see, or, being narrow, larger than
            any image may be.
    """
    if method == "resize":
        return size_px
    height, width = own_px
    resized = own_px
    if method != "native_size":
        if method == "central_crop":
            by_height = size_px[0] * width >= size_px[1] * height
            kept = size_px[0] if by_height else size_px[1]
        else:
            by_height = height <= width
            kept = min(size_px)
        resized = (kept, kept * width // height) if by_height else (kept * height // width, kept)
    if method in ("native_size", "single_query"):
        resized = _bounded(resized)
        if min(resized) < IMAGE_SIDES.start:
            raise UnreadableImage(
                f"too small for {method}: {height}x{width} pixels, expected {IMAGE_SIDES.start} "
                "at least on either side"
            )
    elif math.prod(resized) > MAX_PIXELS:
        raise UnreadableImage(f"too narrow for {method}: {height}x{width} pixels")
    return resized


def _bounded(size_px: Size) -> Size:
    scale = min(1.0, math.sqrt(MAX_WHOLE_PIXELS / math.prod(size_px)))
    height, width = (math.floor(side * scale) for side in size_px)
    return height, width


def _crop_centre(image: NDArray[np.uint8], size_px: Size) -> NDArray[np.uint8]:
    top, left = (round((side - kept) / 2) for side, kept in zip(image.shape, size_px, strict=False))
    return image[top : top + size_px[0], left : left + size_px[1]]


def _five_crops(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = slice(None, side), slice(None, side)
    bottom, right = slice(-side, None), slice(-side, None)
    corners = [image[rows, columns] for rows in (top, bottom) for columns in (left, right)]
    return np.stack([*corners, _crop_centre(image, (side, side))])
