"""What the workers of an extraction do with a block of images: read them, describe them.

Blocks are Arrow tables, since those go through shared memory without being copied. An image that
cannot be read keeps its row, with the reason; a fault of the system becomes the block's ``fault``.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.images import Size, UnreadableImage
from vgray.places.views import QueryMethod, Views, read_views

_KEPT = ("part", "row", "brightness", "height_px", "width_px", "read_s")


class Read:
    """Reads images: part, row and path -> pixels and what is known of the file.

    Args:
        size_px: height and width that the model is used at.
        methods: how the images of each part are taken.
    """

    def __init__(self, size_px: Size, methods: Mapping[str, QueryMethod]) -> None:
        self._size_px = size_px
        self._methods = dict(methods)

    def __call__(self, block: pa.Table) -> pa.Table:
        started = time.process_time()
        parts = block["part"].to_pylist()
        views: list[Views | None] = []
        reasons: list[str | None] = []
        fault = None
        for part, path in zip(parts, block["path"].to_pylist(), strict=True):
            try:
                views.append(read_views(path, self._size_px, self._methods[part]))
                reasons.append(None)
            except UnreadableImage as error:
                views.append(None)
                reasons.append(str(error))
            except UserError as error:
                fault = str(error)
                break
        if fault is not None:
            views, reasons = [None] * len(block), [fault] * len(block)
        shapes = np.array([(0, 0, 0) if v is None else v.pixels.shape[:3] for v in views])
        return pa.table(
            {
                "part": block["part"],
                "row": block["row"],
                "reason": pa.array(reasons, pa.string()),
                "is_fault": np.full(len(block), fault is not None),
                "brightness": np.array([0 if v is None else v.brightness for v in views], "f4"),
                "height_px": np.array([0 if v is None else v.height_px for v in views], "i4"),
                "width_px": np.array([0 if v is None else v.width_px for v in views], "i4"),
                "views": shapes[:, 0],
                "height": shapes[:, 1],
                "width": shapes[:, 2],
                "pixels": _binary([v.pixels for v in views if v is not None], shapes),
                "read_s": np.full(len(block), (time.process_time() - started) / len(block)),
            }
        )


class Describe:
    """Describes the images that were read; the model is loaded where this is made.

    Args:
        checkpoint: the model's folder.
        settings: changes of its recipe for testing.
        device: where it computes; None for the GPU that there is.
        threads: to compute with on the CPU.
        dtype: of the descriptors.
    """

    def __init__(
        self,
        checkpoint: Path,
        settings: Mapping[str, Any],
        device: str | None,
        threads: int,
        dtype: str,
    ) -> None:
        # Those that read must not wait for torch.
        import torch

        from vgray.models.checkpoint import load_model

        torch.set_num_threads(threads)
        self._dtype = dtype
        self._fault: str | None = None
        try:
            self._network = load_model(checkpoint, device, settings=settings)
        except UserError as error:
            self._fault = str(error)

    def __call__(self, block: pa.Table) -> pa.Table:
        started = time.process_time()
        described: list[bytes] = [b""] * len(block)
        reasons = block["reason"].to_pylist()
        is_fault = block["is_fault"]
        if self._fault is not None:
            reasons, is_fault = [self._fault] * len(block), np.full(len(block), True)
        else:
            for rows, pixels in _of_equal_size(block):
                try:
                    found = self._describe(pixels.reshape(-1, *pixels.shape[2:]))
                except UserError as error:  # they are too small for the network
                    for row in rows:
                        reasons[row] = str(error).partition(";")[0]
                    continue
                each = found.reshape(len(rows), -1).astype(self._dtype)
                for row, descriptor in zip(rows, each, strict=True):
                    described[row] = descriptor.tobytes()
        return pa.table(
            {
                **{name: block[name] for name in _KEPT},
                "reason": pa.array(reasons, pa.string()),
                "is_fault": is_fault,
                "descriptor": pa.array(described, pa.large_binary()),
                "describe_s": np.full(len(block), (time.process_time() - started) / len(block)),
            }
        )

    def _describe(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (B, D) of (B, H, W, 3); in halves where a GPU has no memory for all at once."""
        import torch

        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        try:
            found: NDArray[np.float32] = self._network.describe_views(images).numpy()
            return found
        except torch.cuda.OutOfMemoryError:
            if len(pixels) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(pixels) // 2
        return np.concatenate([self._describe(pixels[:half]), self._describe(pixels[half:])])


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


def _of_equal_size(block: pa.Table) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield rows and their pixels (n, C, H, W, 3), for each size that was read."""
    shapes = np.stack([block[name].to_numpy() for name in ("views", "height", "width")], axis=1)
    column = block["pixels"].combine_chunks()
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for row, shape in enumerate(map(tuple, shapes.tolist())):
        if shape[0]:
            by_shape.setdefault(shape, []).append(row)
    for shape, rows in by_shape.items():
        pixels = np.empty((len(rows), *shape, 3), np.uint8)
        for place, row in enumerate(rows):
            pixels[place] = np.frombuffer(column[row].as_buffer(), np.uint8).reshape(*shape, 3)
        yield rows, pixels
