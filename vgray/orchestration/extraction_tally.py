"""How much an extraction described, and how long it took."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pyarrow as pa
import pyarrow.compute as pc


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
    images_per_s: float
    """After the start; 0 where nothing was left to do."""
    read_s: float
    """CPU seconds of reading and resizing, of all workers together."""
    describe_s: float
    """CPU seconds of the network, of all workers together."""
    write_s: float


class Tally:
    """How much was described, and how long it took."""

    def __init__(self, started: float, num_images: int) -> None:
        self.num_images = num_images
        self.num_done = num_images
        self._started = started
        self._num_missing = 0
        self._first: tuple[float, int] | None = None
        self._last = started
        self._seconds = dict.fromkeys(("read_s", "describe_s", "write_s"), 0.0)

    def expect(self, num_missing: int) -> None:
        """Take note of how many images are to be described."""
        self._num_missing = num_missing
        self.num_done = self.num_images - num_missing

    def count(self, block: pa.Table, write_s: float) -> None:
        """Count a block that was described and handed to the writer."""
        self._last = perf_counter()
        self.num_done += block.num_rows
        if self._first is None:
            self._first = self._last, block.num_rows
        for name in ("read_s", "describe_s"):
            self._seconds[name] += pc.sum(block[name]).as_py()
        self._seconds["write_s"] += write_s

    def outcome(self, folder: Path, num_skipped: int) -> Outcome:
        """Return what became of it."""
        first_s, num_first = self._first or (self._last, 0)
        steady_s = self._last - first_s
        return Outcome(
            folder=folder,
            num_images=self.num_images,
            num_described=self._num_missing,
            num_skipped=num_skipped,
            seconds=perf_counter() - self._started,
            startup_s=first_s - self._started,
            images_per_s=(self._num_missing - num_first) / steady_s if steady_s else 0.0,
            **self._seconds,
        )
