"""Photographs that a user hands to a model, as files or decoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from vgray.errors import UserError
from vgray.places.images import COLOUR_MODES, Size, UnreadableImage, read_image

Photo: TypeAlias = str | Path | Image.Image
"""An image file or a decoded image."""


def read_photos(photos: Sequence[Photo], size_px: Size) -> Tensor:
    """Return photographs squashed to ``size_px`` (height, width): uint8 (B, 3, H, W).

    Raises:
        UserError: one cannot be read.
    """
    arrays = [
        _squash(photo, size_px) if isinstance(photo, Image.Image) else _read_file(photo, size_px)
        for photo in photos
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def _read_file(path: str | Path, size_px: Size) -> NDArray[np.uint8]:
    try:
        return read_image(path, size_px)
    except UnreadableImage as error:
        raise UserError(f"{path}: {error}; give a photograph as JPEG, PNG or HEIC") from None


def _squash(image: Image.Image, size_px: Size) -> NDArray[np.uint8]:
    """Turn a decoded image upright and resize it, as files are."""
    if image.mode not in COLOUR_MODES:
        raise UserError(f"an image of mode {image.mode}; give one of 8-bit grey or RGB")
    upright = ImageOps.exif_transpose(image).convert("RGB")
    height, width = size_px
    return np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR))
