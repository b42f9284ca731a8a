"""Writing a folder of descriptors shard by shard, in whatever order the images come.

A shard is written as soon as its last image is there, under a temporary name, and renamed when it
is on disk. So a folder never has half a shard, and what is finished outlives whatever ends the
extraction; the next one goes on with the shards that are missing.
"""

import os
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.provenance import write_skipped
from vgray.retrieval.description import FILE, Description, read_description
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.open_shard import OpenShard
from vgray.retrieval.shards import Described, Shard, identity_of, shards, skipped_of
from vgray.retrieval.writable import (
    flush,
    joined,
    lock,
    require_ours,
    require_space,
    unwritable,
)

SKIPPED = "skipped.csv"
TEMPORARY = ".tmp-"
"""Begins the names of files that are not complete."""


class Writer:
    """Begins a folder of descriptors, or goes on with one; used in a ``with`` block.

    Memory holds the unfinished shards alone.

    Args:
        folder: where; made if it is not there. It may have parts that are not in ``description``,
            which are kept.
        description: what is to be in it. Its ``extractions`` are recorded with the first shard.
        images: each part's rows of the manifest.
        left_out: path and reason of the data's images that are not in the manifest.

    Attributes:
        description: of all that the folder has and is to have.
        missing: the shards of ``description``'s parts that are still to be written; those that are
            damaged are among them.

    Raises:
        UserError: the folder holds something else, another extraction writes into it, or it
            cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        description: Description,
        images: Mapping[str, pa.Table],
        left_out: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.folder = folder
        self._images = images
        self._left_out = left_out
        self._unrecorded = description.extractions
        self._open: dict[str, OpenShard] = {}
        self._finished: set[str] = set()
        self._empty: dict[str, dict[str, OpenShard]] = {}
        require_ours(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock(folder)
        except OSError as error:
            raise unwritable(folder, error, description, []) from error
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
        # A shard is there only if images of its part can be read.
        num_missing = Counter(shard.part for shard in self.missing)
        self._begun = {part for part, all_ in self._shards.items() if num_missing[part] < len(all_)}
        require_space(self.folder, self.description, self.missing)
        if not (self.folder / FILE).is_file() or self.description != read_description(self.folder):
            self._write_description()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.clear()
        self._empty.clear()
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
            UserError: the disk is full, the folder cannot be written, a descriptor is not all of
                finite numbers, or not one image of the part can be read.
        """
        self._require_numbers(part, rows, descriptors, reasons)
        for index in np.unique(rows // self.description.shard_rows):
            shard = self._shards[part][index]
            if shard.file.name in self._finished:
                continue
            if shard.file.name not in self._open:
                self._open[shard.file.name] = OpenShard(
                    shard,
                    self._images[part].slice(shard.start, shard.stop - shard.start),
                    self.description,
                    descriptors.shape[1:],
                )
            held = self._open[shard.file.name]
            held.put(rows, descriptors, brightness, sizes_px, reasons)
            if held.is_complete:
                self._take(held)

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

    def _take(self, held: OpenShard) -> None:
        """Write a shard, but nothing of a part before one of its images could be read."""
        part, name = held.shard.part, held.shard.file.name
        del self._open[name]
        empty = self._empty.setdefault(part, {})
        if part not in self._begun and held.is_empty:
            held.drop_descriptors()
            empty[name] = held
            if len(empty) == len(self._shards[part]):
                row = min(held.reasons)
                raise UserError(
                    f"{part}: not one of its {len(self._images[part]):,} images can be read, such "
                    f"as {held.path_of(row)} ({held.reasons[row]}); nothing of it is kept: see "
                    "that the data are whole and give the same command again"
                )
            return
        self._begun.add(part)
        for each in [*empty.values(), held]:
            self._finish(each)
        empty.clear()

    def _finish(self, held: OpenShard) -> None:
        if self._unrecorded:
            recorded = (*self.description.extractions, *self._unrecorded)
            self.description = replace(self.description, extractions=recorded)
            self._write_description()
            self._unrecorded = ()
        self._write(held.shard.file.name, lambda file: held.write(self.description, file))
        self._finished.add(held.shard.file.name)

    def close(self) -> None:
        """Write ``skipped.csv``: images that cannot be read, and those the manifest leaves out.

        To be called when all shards are there, or at least those of the parts.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        found = Descriptors(self.folder)
        try:
            skipped = found.skipped()
        except UserError:  # another split is unfinished, and will list its own
            skipped = self.skipped()
        self._write(SKIPPED, lambda file: write_skipped(file, [*skipped, *self._left_out]))

    def _write_description(self) -> None:
        self._write(FILE, lambda file: file.write_text(self.description.to_json()))

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

    def _unwritable(self, error: OSError) -> UserError:
        missing = [shard for shard in self.missing if shard.file.name not in self._finished]
        return unwritable(self.folder, error, self.description, missing)
