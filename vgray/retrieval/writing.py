"""Writing a folder of descriptors shard by shard, in whatever order the images come.

A shard is written as soon as its last image is there, under a temporary name, and renamed when it
is on disk. So a folder never has half a shard, and what is finished outlives whatever ends the
extraction; the next one goes on with the shards that are missing.
"""

import errno
import os
import shutil
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.provenance import write_skipped
from vgray.retrieval.descriptors import (
    FILE,
    NUM_CROPS,
    Described,
    Description,
    Descriptors,
    Shard,
    identity_of,
    is_query_part,
    read_description,
    shards,
    skipped_of,
    write_table,
)
from vgray.retrieval.writable import flush, joined, lock, require_ours

SKIPPED = "skipped.csv"
TEMPORARY = ".tmp-"
"""Begins the names of files that are not complete."""
_ROW_BYTES = 400  # of an image's other columns, uncompressed
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Writer:
    """Begins a folder of descriptors, or goes on with one; used in a ``with`` block.

    Memory holds the unfinished shards alone.

    Args:
        folder: where; made if it is not there. It may have parts that are not in ``description``,
            which are kept.
        description: what is to be in it.
        images: each part's rows of the manifest.

    Attributes:
        description: of all that the folder has and is to have.
        missing: the shards of ``description``'s parts that are still to be written; those that are
            damaged are among them.

    Raises:
        UserError: the folder holds something else, another extraction writes into it, or it
            cannot be written.
    """

    def __init__(
        self, folder: Path, description: Description, images: Mapping[str, pa.Table]
    ) -> None:
        self.folder = folder
        self._images = images
        self._open: dict[str, _OpenShard] = {}
        self._finished: set[str] = set()
        require_ours(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock(folder)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._begin(description)
        except BaseException:
            os.close(self._lock)
            raise

    def _begin(self, description: Description) -> None:
        for leftover in self.folder.glob(f"{TEMPORARY}*"):
            leftover.unlink()
        self.description = joined(self.folder, description)
        self._shards = {
            part: shards(self.folder, part, number, description.shard_rows)
            for part, number in description.parts.items()
        }
        self.missing = [
            shard for part in self._shards.values() for shard in part if self._is_missing(shard)
        ]
        self._require_space()
        if not (self.folder / FILE).is_file() or self.description != read_description(self.folder):
            self._write(FILE, lambda file: file.write_text(self.description.to_json()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.clear()
        os.close(self._lock)

    @property
    def is_complete(self) -> bool:
        """Whether all shards of the parts are there."""
        return len(self._finished) == len(self.missing)

    def skipped(self) -> list[tuple[str, str]]:
        """Return (path, reason) of the images that finished shards of the parts left out."""
        missing = {shard.file for shard in self.missing}
        return [
            image
            for part in self._shards.values()
            for shard in part
            if shard.file not in missing or shard.file.name in self._finished
            for image in skipped_of(shard)
        ]

    def add(
        self,
        part: str,
        rows: NDArray[np.integer],
        descriptors: Described,
        brightness: NDArray[np.floating],
        sizes_px: NDArray[np.integer],
        reasons: Mapping[int, str],
    ) -> None:
        """Take images, and write each shard of which these were the last.

        An image that comes twice, as it may after the death of a worker, is taken once.

        Args:
            part: whose images.
            rows: (N,) rows of the part, in any order.
            descriptors: (N, D), or (N, 5, D) of crops; anything for images that were skipped.
            brightness: (N,) mean of the pixels, 0 to 255.
            sizes_px: (N, 2) height and width of the files.
            reasons: of the rows that could not be read, why.

        Raises:
            UserError: the disk is full, the folder cannot be written, or a descriptor is not all of
                finite numbers.
        """
        self._require_numbers(part, rows, descriptors, reasons)
        size = self.description.shard_rows
        for index in np.unique(rows // size):
            shard = self._shards[part][index]
            if shard.file.name in self._finished:
                continue
            if shard.file.name not in self._open:
                self._open[shard.file.name] = _OpenShard(
                    shard, descriptors.shape[1:], self.description.dtype
                )
            held = self._open[shard.file.name]
            here = np.flatnonzero(rows // size == index)
            at = rows[here] - shard.start
            held.descriptors[at] = descriptors[here]
            held.brightness[at] = brightness[here]
            held.sizes_px[at] = sizes_px[here]
            held.is_there[at] = True
            held.reasons.update(
                {row: reasons[row] for row in rows[here].tolist() if row in reasons}
            )
            if held.is_there.all():
                self._finish(held)

    def _require_numbers(
        self, part: str, rows: NDArray[np.integer], descriptors: Described, reasons: Container[int]
    ) -> None:
        finite = np.isfinite(descriptors.reshape(len(rows), -1)).all(axis=1)
        for row in rows[~finite].tolist():
            if row not in reasons:
                raise UserError(
                    f"{self._images[part]['path'][row].as_py()}: the model gives no numbers for it "
                    "(NaN or infinity), so its training went astray; choose another checkpoint"
                )

    def _finish(self, held: "_OpenShard") -> None:
        shard = held.shard
        images = self._images[shard.part].slice(shard.start, shard.stop - shard.start)
        is_described = np.ones(len(held.is_there), dtype=bool)
        is_described[[row - shard.start for row in held.reasons]] = False
        paths = images["path"]
        skipped = [
            (paths[row - shard.start].as_py(), held.reasons[row]) for row in sorted(held.reasons)
        ]
        measured = {
            "brightness": pa.array(held.brightness, pa.float32()),
            "height_px": pa.array(held.sizes_px[:, 0], pa.int32()),
            "width_px": pa.array(held.sizes_px[:, 1], pa.int32()),
        }
        for name, column in measured.items():
            images = images.append_column(pa.field(name, column.type, nullable=False), column)
        self._write(
            shard.file.name,
            lambda file: write_table(
                shard,
                self.description,
                images.filter(pa.array(is_described)),
                held.descriptors[is_described],
                skipped,
                file,
            ),
        )
        self._finished.add(shard.file.name)
        del self._open[shard.file.name]

    def close(self) -> None:
        """Write ``skipped.csv``; to be called when all shards are there, or at least these parts'.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        found = Descriptors(self.folder)
        try:
            skipped = found.skipped()
        except UserError:  # another split is unfinished, and will list its own
            skipped = self.skipped()
        self._write(SKIPPED, lambda file: write_skipped(file, skipped))

    def _is_missing(self, shard: Shard) -> bool:
        if not shard.file.is_file():
            return True
        try:
            identity = identity_of(shard)
        except UserError:
            return True
        if identity != self.description.identity:
            raise UserError(
                f"{shard.file}: is of another model or data than {FILE} says; choose another "
                "--out, or delete the folder"
            )
        return False

    def _write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Have ``fill`` write a file, which gets its name when it is on disk."""
        temporary = self.folder / f"{TEMPORARY}{name}"
        try:
            fill(temporary)
            flush(temporary)
            temporary.rename(self.folder / name)
            flush(self.folder)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _needed_bytes(self) -> int:
        crops = NUM_CROPS if self.description.query_method == "five_crops" else 1
        number_bytes = np.dtype(self.description.dtype).itemsize
        row_bytes = self.description.dimension * number_bytes + _ROW_BYTES
        return sum(
            (shard.stop - shard.start) * (crops if is_query_part(shard.part) else 1)
            for shard in self.missing
            if shard.file.name not in self._finished
        ) * row_bytes  # fmt: skip

    def _require_space(self) -> None:
        if self._needed_bytes() > shutil.disk_usage(self.folder).free:
            raise self._unwritable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _unwritable(self, error: OSError) -> UserError:
        reason = (error.strerror or str(error)).splitlines()[0].lower()
        if error.errno not in _DISK_FULL:
            return UserError(
                f"{self.folder}: cannot be written ({reason}); see to that and give the same "
                "command again, finished shards are kept"
            )
        free = shutil.disk_usage(self.folder).free / 1e9
        return UserError(
            f"{self.folder}: no room for descriptors ({reason}): {self._needed_bytes() / 1e9:.3g} "
            f"GB are needed and {free:.3g} GB free; make room and give the same command again, "
            "finished shards are kept"
        )


class _OpenShard:
    """A shard of which images are still to come."""

    def __init__(self, shard: Shard, shape: tuple[int, ...], dtype: str) -> None:
        rows = shard.stop - shard.start
        self.shard = shard
        self.descriptors = np.zeros((rows, *shape), dtype)
        self.brightness = np.zeros(rows, np.float32)
        self.sizes_px = np.zeros((rows, 2), np.int32)
        self.is_there = np.zeros(rows, dtype=bool)
        self.reasons: dict[int, str] = {}
