"""What the workers of an extraction do with a block of images: read them, describe them.

Blocks are Arrow tables, since those go through shared memory without being copied. An image that
cannot be read keeps its row, with the reason; a fault of the system becomes the block's ``fault``.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.images import Size, UnreadableImage
from vgray.places.views import QueryMethod, Views, read_views

if TYPE_CHECKING:
    from vgray.models.network import Network

_KEPT = ("request", "part", "row", "brightness", "height_px", "width_px", "read_s")


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


class Read:
    """Reads images: request, part, row and path -> pixels and what is known of the file.

    Args:
        works: by number of the request. A block is of one request.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works

    def __call__(self, block: pa.Table) -> pa.Table:
        started = time.process_time()
        work = self._works[block["request"][0].as_py()]
        parts = block["part"].to_pylist()
        views: list[Views | None] = []
        reasons: list[str | None] = []
        fault = None
        for part, path in zip(parts, block["path"].to_pylist(), strict=True):
            try:
                views.append(read_views(path, work.size_px, work.methods[part]))
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
                "request": block["request"],
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
    """Describes the images that were read; the first model is loaded where this is made.

    Args:
        works: by number of the request. A block is of one request.
        device: where it computes; None for the GPU that there is.
        threads: to compute with on the CPU.
    """

    def __init__(self, works: Sequence[Work], device: str | None, threads: int) -> None:
        # Those that read must not wait for torch.
        import torch

        torch.set_num_threads(threads)
        self._works = works
        self._device = device
        self._loaded: dict[str, Network | UserError] = {}
        self._load(works[0])

    def __call__(self, block: pa.Table) -> pa.Table:
        work = self._works[block["request"][0].as_py()]
        network = self._load(work)
        started = time.process_time()
        described: list[bytes] = [b""] * len(block)
        reasons = block["reason"].to_pylist()
        is_fault = block["is_fault"]
        if isinstance(network, UserError):
            reasons, is_fault = [str(network)] * len(block), np.full(len(block), True)
        else:
            for rows, pixels in _of_equal_size(block):
                try:
                    found = _describe(network, pixels.reshape(-1, *pixels.shape[2:]))
                except UserError as error:  # they are too small for the network
                    for row in rows:
                        reasons[row] = str(error).partition(";")[0]
                    continue
                each = found.reshape(len(rows), -1).astype(work.dtype)
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

    def _load(self, work: Work) -> "Network | UserError":
        """Return a model, or what is wrong with it.

        Two are kept, since the blocks of two come mixed where one follows the other.
        """
        if work.model_hash not in self._loaded:
            from vgray.models.checkpoint import load_model

            if len(self._loaded) == 2:
                del self._loaded[next(iter(self._loaded))]
            try:
                network = load_model(work.checkpoint, self._device, settings=work.settings)
                self._loaded[work.model_hash] = network
            except UserError as error:
                self._loaded[work.model_hash] = error
        return self._loaded[work.model_hash]


def _describe(network: "Network", pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (B, D) of (B, H, W, 3); in halves where a GPU has no memory for all at once."""
    import torch

    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    try:
        found: NDArray[np.float32] = network.describe_views(images).numpy()
        return found
    except torch.cuda.OutOfMemoryError:
        if len(pixels) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(pixels) // 2
    return np.concatenate([_describe(network, pixels[:half]), _describe(network, pixels[half:])])


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
