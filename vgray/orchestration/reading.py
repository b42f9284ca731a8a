"""What the workers of an extraction read: blocks of images, which come as Arrow tables.

Those go through shared memory without being copied. An image that cannot be read keeps its row,
with the reason; what ends the extraction is the block's ``Fault``, since an exception would come to
the driver wrapped in Ray's own.
"""

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.images import MissingImage, Size, UnreadableImage
from vgray.places.views import QueryMethod, Views, read_views


@dataclass(frozen=True)
class Work:
    """What the workers need to know of a request."""

    checkpoint: Path
    """The model's folder."""
    model_hash: str
    """Two of the same are the same model, used in the same way."""
    settings: Mapping[str, Any]
    """Changes of its recipe for testing."""
    dtype: str
    """Of the descriptors."""
    size_px: Size
    """Height and width that the model is used at."""
    methods: Mapping[str, QueryMethod]
    """How the images of each part are taken."""


@dataclass(frozen=True)
class Fault:
    """What ends an extraction."""

    text: str
    is_bug: bool
    """Whether it is a traceback, and not a line for the user."""


class Read:
    """Reads images: request, part, row, path and size_bytes -> pixels and what the file is like.

    Args:
        works: by number of the request. A block is of one request.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works

    def __call__(self, block: pa.Table) -> pa.Table:
        started = time.process_time()
        try:
            found = [self._read(*each) for each in self._images(block)]
        except UserError as error:
            return self.fail(block, Fault(str(error), is_bug=False))
        except Exception:
            return self.fail(block, Fault(traceback.format_exc(), is_bug=True))
        views = [each if isinstance(each, Views) else None for each in found]
        reasons = [None if isinstance(each, Views) else each for each in found]
        return _read_block(block, views, reasons, None, time.process_time() - started)

    def fail(self, block: pa.Table, fault: Fault) -> pa.Table:
        """Return the block without pixels."""
        nothing = [None] * len(block)
        return _read_block(block, nothing, [fault.text] * len(block), fault, 0.0)

    def _images(self, block: pa.Table) -> Iterator[tuple[str, Size, QueryMethod, bool]]:
        work = self._works[block["request"][0].as_py()]
        columns = [block[name].to_pylist() for name in ("part", "path", "size_bytes")]
        for part, path, size_bytes in zip(*columns, strict=True):
            yield path, work.size_px, work.methods[part], size_bytes >= 0

    def _read(self, path: str, size_px: Size, method: QueryMethod, is_listed: bool) -> Views | str:
        """Return an image, or why it cannot be read."""
        try:
            return read_views(path, size_px, method)
        except MissingImage as error:
            if not is_listed:
                return str(error)
            raise UserError(
                f"{path}: {error}, but it was there when the data were listed; see that every "
                "machine of the cluster has the data at this place, and start again"
            ) from error
        except UnreadableImage as error:
            return str(error)


def _read_block(
    block: pa.Table,
    views: Sequence[Views | None],
    reasons: Sequence[str | None],
    fault: Fault | None,
    seconds: float,
) -> pa.Table:
    shapes = np.array([(0, 0, 0) if v is None else v.pixels.shape[:3] for v in views])
    return pa.table(
        {
            "request": block["request"],
            "part": block["part"],
            "row": block["row"],
            "reason": pa.array(reasons, pa.string()),
            **fault_columns(fault, len(block)),
            "brightness": np.array([0 if v is None else v.brightness for v in views], "f4"),
            "height_px": np.array([0 if v is None else v.height_px for v in views], "i4"),
            "width_px": np.array([0 if v is None else v.width_px for v in views], "i4"),
            "views": shapes[:, 0],
            "height": shapes[:, 1],
            "width": shapes[:, 2],
            "pixels": _binary([v.pixels for v in views if v is not None], shapes),
            "read_s": np.full(len(block), seconds / len(block)),
            "read_at": np.full(len(block), time.time()),
        }
    )


def fault_columns(fault: Fault | None, rows: int) -> dict[str, NDArray[np.bool_]]:
    """Return the columns ``is_fault`` and ``is_bug`` of a block."""
    return {
        "is_fault": np.full(rows, fault is not None),
        "is_bug": np.full(rows, fault is not None and fault.is_bug),
    }


def _binary(arrays: list[NDArray[np.uint8]], shapes: NDArray[np.integer]) -> pa.Array:
    """Return the pixels, one image a row, in one piece of memory."""
    offsets = np.concatenate([[0], np.cumsum(3 * shapes.prod(axis=1))]).astype(np.int64)
    values = np.empty(offsets[-1], np.uint8)
    filled = 0
    for array in arrays:
        values[filled : filled + array.size] = array.reshape(-1)
        filled += array.size
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(shapes), [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    )
