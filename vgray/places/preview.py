"""A contact sheet: what a recipe's augmentation makes of images, to be looked at."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vgray.errors import UserError
from vgray.places.images import UnreadableImage, read_image
from vgray.places.manifest import root_of
from vgray.recipe.augmentation import Augmentation

DRAWS = 3
_SHOWN_PX = 192  # smaller images are enlarged to about this
_MARGIN_PX = 6
_TEXT_PX = 14
_LINE_PX = 18


def describe_augmentation(settings: Augmentation) -> list[str]:
    """Return what is on, with its values: ``rotation degrees=10``, ``brightness=[0.1, 0.3]``.

    Raises:
        UserError: nothing is on.
    """
    on = settings.model_dump(exclude={"images"}, exclude_none=True)
    if not on:
        kinds = [kind for kind in Augmentation.model_fields if kind != "images"]
        raise UserError(
            "augmentation: nothing is on, so there is nothing to see; switch something on, as in "
            f"--set augmentation.brightness=0.1-0.3; known are {', '.join(kinds)}"
        )
    said = []
    for kind, value in on.items():
        if isinstance(value, dict):
            said.append(" ".join([kind, *(f"{key}={part:g}" for key, part in value.items())]))
        else:
            said.append(f"{kind}=[{', '.join(f'{part:g}' for part in value)}]")
    return [*said, "queries only"] if settings.images == "queries" else said


def spread_images(manifest: pa.Table, image_size: tuple[int, int], count: int) -> NDArray[np.uint8]:
    """Return up to ``count`` training images, (N, H, W, 3), evenly spread over the train split.

    An image that cannot be read is left out.

    Args:
        manifest: the data set, see :func:`vgray.places.load_manifest`.
        image_size: height and width in pixels, to which images are squashed.
        count: how many, at least 1.

    Raises:
        UserError: there are no training images, or none of those chosen can be read.
    """
    rows = np.flatnonzero(np.asarray(manifest["split"].to_pylist(), dtype=object) == "train")
    if not len(rows):
        raise UserError(
            f"{root_of(manifest)}: found no training images, expected the split train; "
            "see jobs/prepare.py check"
        )
    images, why = [], ""
    for row in rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]:
        path = manifest["path"][int(row)].as_py()
        try:
            images.append(read_image(path, image_size))
        except UnreadableImage as error:
            why = f"{path}: {error}"
    if not images:
        raise UserError(
            f"none of the training images chosen can be read ({why}); give other --data"
        )
    return np.stack(images)


def preview(originals: NDArray[np.uint8], settings: Augmentation, *, seed: int = 0) -> Image.Image:
    """Draw a row for each image: itself, and what augmentation makes of it in ``DRAWS`` draws.

    Each image stands for a query, and for a tuple or place of its own.

    Args:
        originals: (N, H, W, 3) RGB.
        settings: of the recipe.
        seed: of the draws.

    Raises:
        UserError: nothing is on.
        ValueError: there are no images.
    """
    said = describe_augmentation(settings)
    if not len(originals):
        raise ValueError("no images to show")

    import torch  # here, so that a mistake is said without waiting for it

    from vgray.places.augmentation import augment

    batch = torch.from_numpy(np.array(originals)).permute(0, 3, 1, 2)
    all_queries = np.ones(len(batch), dtype=np.bool_)
    columns = [originals]
    for draw in range(DRAWS):
        changed = augment(batch, settings, seed=seed, epoch=1, step=draw, queries=all_queries)
        columns.append(changed.permute(0, 2, 3, 1).numpy())
    titles = ["original", *(f"draw {draw + 1}" for draw in range(DRAWS))]
    return _sheet(columns, titles, said)


def _sheet(columns: list[NDArray[np.uint8]], titles: list[str], said: list[str]) -> Image.Image:
    num, height, width, _ = columns[0].shape
    zoom = max(1, _SHOWN_PX // max(height, width))
    across, down = width * zoom + _MARGIN_PX, height * zoom + _MARGIN_PX
    font = ImageFont.load_default(_TEXT_PX)
    widest = max(math.ceil(font.getlength(f"{part},")) for part in said)
    total_width = max(len(columns) * across + _MARGIN_PX, widest + 2 * _MARGIN_PX)
    lines = list(_wrapped(said, total_width - 2 * _MARGIN_PX, font))
    top = _MARGIN_PX + (len(lines) + 1) * _LINE_PX
    sheet = Image.new("RGB", (total_width, top + num * down), "white")
    pen = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        pen.text((_MARGIN_PX, _MARGIN_PX + i * _LINE_PX), line, "black", font)
    for i, (column, title) in enumerate(zip(columns, titles, strict=True)):
        left = _MARGIN_PX + i * across
        pen.text((left, top - _LINE_PX), title, "black", font)
        for j, pixels in enumerate(column):
            shown = Image.fromarray(pixels).resize(
                (width * zoom, height * zoom), Image.Resampling.NEAREST
            )
            sheet.paste(shown, (left, top + j * down))
    return sheet


def _wrapped(said: list[str], width_px: int, font: Any) -> Iterator[str]:
    """Join the parts to lines that are no wider than the sheet."""
    line = said[0]
    for part in said[1:]:
        longer = f"{line}, {part}"
        if font.getlength(f"{longer},") > width_px:
            yield f"{line},"
            line = part
        else:
            line = longer
    yield line
