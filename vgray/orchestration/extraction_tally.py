"""How much an extraction described, and how long it took."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_LEAST_BLOCKS = 10
"""After the first: of fewer, too many were read before the clock began."""


@dataclass(frozen=True)
class Outcome:
    """What an extraction did."""

    folder: Path
    num_images: int
    """In the parts that were asked for."""
    num_described: int
    """Images that were described now."""
    num_skipped: int
    """Images of the parts that could not be read, now or before."""
    seconds: float
    startup_s: float
    """Of these, until the first images were described: Ray, the model, the first block."""
    images_per_s: float | None
    """After the start; None where too little was described to tell."""
    read_s: float
    """CPU seconds of reading and resizing, of all workers together."""
    describe_s: float
    """CPU seconds of the network, of all workers together."""
    write_s: float
    blocks: NDArray[np.float64] = field(
        default_factory=lambda: np.empty((0, 3)), compare=False, repr=False
    )
    """(B, 3) of the blocks in the order they came: when each was read, and when it came, in
    seconds of the Unix epoch, and its images."""


class Tally:
    """How much was described, and how long it took."""

    def __init__(self, started: float, num_images: int) -> None:
        self.num_images = num_images
        self.num_done = num_images
        self._started = started
        self._num_missing = 0
        self._blocks: list[tuple[float, float, int]] = []
        self._first = self._last = started
        self._seconds = dict.fromkeys(("read_s", "describe_s", "write_s"), 0.0)

    def expect(self, num_missing: int) -> None:
        """Take note of how many images are to be described."""
        self._num_missing = num_missing
        self.num_done = self.num_images - num_missing

    def count(self, block: pa.Table, write_s: float) -> None:
        """Count a block that was described and handed to the writer."""
        self._last = perf_counter()
        self.num_done += block.num_rows
        if not self._blocks:
            self._first = self._last
        self._blocks.append((block["read_at"][0].as_py(), time.time(), block.num_rows))
        for name in ("read_s", "describe_s"):
            self._seconds[name] += pc.sum(block[name]).as_py()
        self._seconds["write_s"] += write_s

    def outcome(self, folder: Path, num_skipped: int) -> Outcome:
        """Return what became of it."""
        steady_s = self._last - self._first
        is_known = len(self._blocks) > _LEAST_BLOCKS and steady_s > 0
        blocks = np.array(self._blocks, np.float64).reshape(-1, 3)
        return Outcome(
            folder=folder,
            num_images=self.num_images,
            num_described=self._num_missing,
            num_skipped=num_skipped,
            seconds=perf_counter() - self._started,
            startup_s=self._first - self._started,
            images_per_s=float(blocks[1:, 2].sum() / steady_s) if is_known else None,
            blocks=blocks,
            **self._seconds,
        )
