"""A shard of which images are still to come."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.retrieval.description import Description
from vgray.retrieval.shards import Described, Shard, write_table


class OpenShard:
    """Holds the images of a shard that have come.

    Args:
        shard: which.
        images: its rows of the manifest.
        description: of the folder.
        shape: of an image's descriptors, (D,) or (5, D).

    Attributes:
        shard: which.
        reasons: of the rows of the part that could not be read, why.
    """

    def __init__(
        self, shard: Shard, images: pa.Table, description: Description, shape: tuple[int, ...]
    ) -> None:
        rows = shard.stop - shard.start
        self.shard = shard
        self.reasons: dict[int, str] = {}
        self._images = images
        self._descriptors = np.zeros((rows, *shape), description.dtype)
        self._brightness = np.zeros(rows, np.float32)
        self._sizes_px = np.zeros((rows, 2), np.int32)
        self._is_there = np.zeros(rows, dtype=bool)

    @property
    def is_complete(self) -> bool:
        """Whether all images have come."""
        return bool(self._is_there.all())

    @property
    def is_empty(self) -> bool:
        """Whether not one of the images could be read."""
        return len(self.reasons) == len(self._is_there)

    def put(
        self,
        rows: NDArray[np.integer],
        descriptors: Described,
        brightness: NDArray[np.floating],
        sizes_px: NDArray[np.integer],
        reasons: Mapping[int, str],
    ) -> None:
        """Take images, of which those of other shards are passed over; see ``Writer.add``."""
        here = np.flatnonzero((rows >= self.shard.start) & (rows < self.shard.stop))
        at = rows[here] - self.shard.start
        self._descriptors[at] = descriptors[here]
        self._brightness[at] = brightness[here]
        self._sizes_px[at] = sizes_px[here]
        self._is_there[at] = True
        self.reasons.update({row: reasons[row] for row in rows[here].tolist() if row in reasons})

    def drop_descriptors(self) -> None:
        """Give their memory back, where not one image could be read."""
        nothing = np.zeros(self._descriptors.shape[1:], self._descriptors.dtype)
        self._descriptors = np.broadcast_to(nothing, self._descriptors.shape)

    def path_of(self, row: int) -> str:
        """Return the path of a row of the part."""
        path: str = self._images["path"][row - self.shard.start].as_py()
        return path

    def write(self, description: Description, temporary: Path) -> None:
        """Write all that has come to a file.

        Raises:
            OSError: the disk is full or the file cannot be written.
        """
        is_described = np.ones(len(self._is_there), dtype=bool)
        is_described[[row - self.shard.start for row in self.reasons]] = False
        images = self._images
        measured = {
            "brightness": pa.array(self._brightness, pa.float32()),
            "height_px": pa.array(self._sizes_px[:, 0], pa.int32()),
            "width_px": pa.array(self._sizes_px[:, 1], pa.int32()),
        }
        for name, column in measured.items():
            images = images.append_column(pa.field(name, column.type, nullable=False), column)
        write_table(
            self.shard,
            description,
            images.filter(pa.array(is_described)),
            self._descriptors[is_described],
            [(self.path_of(row), self.reasons[row]) for row in sorted(self.reasons)],
            temporary,
        )
