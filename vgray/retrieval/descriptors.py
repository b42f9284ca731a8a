"""Descriptors on disk: described once, scored as often as wanted, without the network.

A folder with ``descriptors.json``, which says what model described which data and how, and Parquet
shards. The images of one split and role are a *part*; ``test-queries-00002-of-00004.parquet`` is
the third shard of a part. A shard has the manifest's columns, ``brightness`` (mean of the decoded
pixels, 0 to 255), ``height_px`` and ``width_px`` of the file, ``crop`` (0, or 0 to 4 where a query
is described by five crops, in as many rows) and ``descriptor``, a list of fixed size.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.retrieval.description import FILE, NUM_CROPS, part_name, read_description, split_and_role
from vgray.retrieval.shards import (
    AGAIN,
    IMAGE_SCHEMA,
    Described,
    Shard,
    identity_of,
    read_columns,
    shards,
    skipped_of,
)


class UnknownPartError(UserError):
    """A part that was not extracted."""


class Descriptors:
    """A complete folder of descriptors, read as it is asked for.

    Args:
        folder: as extraction writes it.

    Attributes:
        folder: where it is.
        description: what it is.

    Raises:
        UserError: there are no descriptors, or shards of another model or data among them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.description = read_description(folder)

    @property
    def dimension(self) -> int:
        """The length of a descriptor."""
        return self.description.dimension

    def splits(self) -> list[str]:
        """Return the splits of which there is something."""
        return list(dict.fromkeys(part.partition("-")[0] for part in self.description.parts))

    def shards(self, split: str, role: str) -> list[Shard]:
        """Return a part's shards, which are all there.

        Raises:
            UserError: the part was not extracted, not finished, or is of something else.
        """
        part = part_name(split, role)
        known = self.description.parts
        if part not in known:
            raise UnknownPartError(
                f"{self.folder}: has no {role} of split {split}, only {', '.join(known)}; extract "
                f"it too: jobs/extract.py --split {split}, with the same --out"
            )
        found = shards(self.folder, part, known[part], self.description.shard_rows)
        missing = [shard for shard in found if not shard.file.is_file()]
        if missing:
            raise UserError(
                f"{self.folder}: {len(missing)} of {len(found)} shards of {part} are missing, such "
                f"as {missing[0].file.name}; {AGAIN}, which goes on"
            )
        for shard in found:
            if identity_of(shard) != self.description.identity:
                raise UserError(
                    f"{shard.file}: is of another model or data than {FILE} says; delete the "
                    "folder and extract again"
                )
        return found

    def images(self, split: str, role: str) -> pa.Table:
        """Return a part's images that were described: ``IMAGE_SCHEMA``, one row each, by path.

        Raises:
            UserError: as for :meth:`shards`, or a shard is damaged.
        """
        tables = [
            _first_crops(read_columns(shard, [*IMAGE_SCHEMA.names, "crop"]))
            for shard in self.shards(split, role)
        ]
        empty = IMAGE_SCHEMA.empty_table()
        return pa.concat_tables([empty, *(table.cast(IMAGE_SCHEMA) for table in tables)])

    def skipped(self) -> list[tuple[str, str]]:
        """Return (path, reason) of all images that could not be read, part by part."""
        return [
            image
            for part in self.description.parts
            for shard in self.shards(*split_and_role(part))
            for image in skipped_of(shard)
        ]

    def blocks(self, split: str, role: str, rows: int) -> Iterator[Described]:
        """Yield a part's descriptors as they are stored, ``rows`` images at a time.

        The blocks of two folders of the same data begin at the same images, whatever shards they
        have. The order is that of :meth:`images`.

        Raises:
            UserError: as for :meth:`shards`, or a shard is damaged.
        """
        kept: list[Described] = []
        num_kept = 0
        for shard in self.shards(split, role):
            described = self._described(shard)
            while len(described):
                taken = described[: rows - num_kept]
                described = described[len(taken) :]
                kept.append(taken)
                num_kept += len(taken)
                if num_kept == rows:
                    yield np.concatenate(kept) if len(kept) > 1 else kept[0]
                    kept, num_kept = [], 0
        if kept:
            yield np.concatenate(kept)

    def load(self, split: str, role: str) -> NDArray[np.float32]:
        """Return all of a part's descriptors as float32: (N, D), or (N, 5, D) of crops.

        Raises:
            UserError: as for :meth:`shards`, or a shard is damaged.
        """
        found = list(self.blocks(split, role, self.description.shard_rows))
        if not found:
            return np.empty((0, self.dimension), np.float32)
        return np.concatenate(found).astype(np.float32)

    def _described(self, shard: Shard) -> Described:
        table = read_columns(shard, ["crop", "descriptor"])
        column = table["descriptor"].combine_chunks()
        if table.num_rows == 0:
            return np.empty((0, self.dimension), self.description.dtype)
        if column.type.list_size != self.dimension:
            raise UserError(
                f"{shard.file}: descriptors of {column.type.list_size} dimensions, {FILE} says "
                f"{self.dimension}; delete the folder and extract again"
            )
        values: Described = column.flatten().to_numpy(zero_copy_only=False)
        described = values.reshape(-1, self.dimension)
        if pc.max(table["crop"]).as_py():
            return described.reshape(-1, NUM_CROPS, self.dimension)
        return described


def _first_crops(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["crop"], 0)).drop_columns(["crop"])
