"""What the workers of an extraction do with the blocks that were read: they describe them."""

import time
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.orchestration.reading import Fault, Work, fault_columns

if TYPE_CHECKING:
    from vgray.models.network import Network

_KEPT = ("request", "part", "row", "brightness", "height_px", "width_px", "read_s", "read_at")


class NoMemoryError(UserError):
    """A GPU that is too small for one image."""


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
        faulty = block.filter(block["is_fault"])
        if len(faulty):
            first = faulty.slice(0, 1).to_pylist()[0]
            return undescribed(block, Fault(first["reason"], first["is_bug"]))
        started = time.process_time()
        described: list[bytes] = [b""] * len(block)
        reasons = block["reason"].to_pylist()
        try:
            self._describe(block, described, reasons)
        except UserError as error:
            return undescribed(block, Fault(str(error), is_bug=False))
        except Exception:
            return undescribed(block, Fault(traceback.format_exc(), is_bug=True))
        return _described_block(block, described, reasons, None, time.process_time() - started)

    def _describe(self, block: pa.Table, described: list[bytes], reasons: list[str | None]) -> None:
        """Fill in the descriptors, and the reasons where there are none."""
        work = self._works[block["request"][0].as_py()]
        network = self._load(work)
        if isinstance(network, UserError):
            raise network
        for rows, pixels in _of_equal_size(block):
            try:
                found = _describe(network, pixels.reshape(-1, *pixels.shape[2:]))
            except NoMemoryError:
                raise
            except UserError as error:  # they are too small for the network
                for row in rows:
                    reasons[row] = str(error).partition(";")[0]
                continue
            each = found.reshape(len(rows), -1).astype(work.dtype)
            for row, descriptor in zip(rows, each, strict=True):
                described[row] = descriptor.tobytes()

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
                _require_precision(network)
                self._loaded[work.model_hash] = network
            except UserError as error:
                self._loaded[work.model_hash] = error
        return self._loaded[work.model_hash]


def undescribed(block: pa.Table, fault: Fault) -> pa.Table:
    """Return a block that was read as one that cannot be described."""
    texts: list[str | None] = [fault.text] * len(block)
    return _described_block(block, [b""] * len(block), texts, fault, 0.0)


def _described_block(
    block: pa.Table,
    described: Sequence[bytes],
    reasons: Sequence[str | None],
    fault: Fault | None,
    seconds: float,
) -> pa.Table:
    return pa.table(
        {
            **{name: block[name] for name in _KEPT},
            "reason": pa.array(reasons, pa.string()),
            **fault_columns(fault, len(block)),
            "descriptor": pa.array(described, pa.large_binary()),
            "describe_s": np.full(len(block), seconds / len(block)),
        }
    )


def _require_precision(network: "Network") -> None:
    """Refuse to compute other numbers than the recipe says, and so than other workers do."""
    if network.recipe.precision == "bfloat16" and not network.half_precision:
        raise UserError(
            f"the model is used in bfloat16, which a worker's {network.device.type.upper()} does "
            "not have, so that it would describe otherwise than others; give --set "
            "precision=float32, or use machines that have it"
        )


def _describe(network: "Network", pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (B, D) of (B, H, W, 3); in halves where a GPU has no memory for all at once."""
    import torch

    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    try:
        found: NDArray[np.float32] = network.describe_views(images).numpy()
        return found
    except torch.cuda.OutOfMemoryError:
        if len(pixels) == 1:
            height, width = pixels.shape[1:3]
            raise NoMemoryError(
                f"the GPU has no memory for a single image of {height} x {width} pixels; give a "
                "smaller one, as in --set image_size=480x640, or another --query-method"
            ) from None
    torch.cuda.empty_cache()
    half = len(pixels) // 2
    return np.concatenate([_describe(network, pixels[:half]), _describe(network, pixels[half:])])


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
