"""The files of a folder of descriptors: which there are, and how one is written and read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.fs import LocalFileSystem

from vgray.errors import UserError
from vgray.places import SCHEMA
from vgray.retrieval.description import Description

Described: TypeAlias = NDArray[np.floating]
"""Descriptors (N, D), or (N, 5, D) of queries in crops; L2-normalised."""
IMAGE_SCHEMA = pa.schema(
    [
        *SCHEMA,
        pa.field("brightness", pa.float32(), nullable=False),
        pa.field("height_px", pa.int32(), nullable=False),
        pa.field("width_px", pa.int32(), nullable=False),
    ]
)
AGAIN = "give the command again that made the folder, jobs/extract.py or jobs/report.py"
_IDENTITY, _SKIPPED = b"vgray_identity", b"vgray_skipped"
_DISK = LocalFileSystem()


@dataclass(frozen=True)
class Shard:
    """One file of a part: which images it holds."""

    part: str
    index: int
    start: int
    """Its first image, as the row of the part."""
    stop: int
    file: Path


def shards(folder: Path, part: str, num_images: int, shard_rows: int) -> list[Shard]:
    """Return the shards that a part of so many images has."""
    count = -(-num_images // shard_rows)
    return [
        Shard(
            part,
            index,
            index * shard_rows,
            min((index + 1) * shard_rows, num_images),
            folder / f"{part}-{index:05d}-of-{count:05d}.parquet",
        )
        for index in range(count)
    ]


def identity_of(shard: Shard) -> dict[str, str | int]:
    """Return the identity that a shard was written with, and check that it can be opened.

    Raises:
        UserError: the file is damaged.
    """
    return _metadata(shard)[0]


def skipped_of(shard: Shard) -> list[tuple[str, str]]:
    """Return (path, reason) of the images of a shard that could not be read.

    Raises:
        UserError: the file is damaged.
    """
    return _metadata(shard)[1]


def write_table(
    shard: Shard,
    description: Description,
    images: pa.Table,
    descriptors: Described,
    skipped: Sequence[tuple[str, str]],
    temporary: Path,
) -> None:
    """Write the rows of a shard to the file ``temporary``, with a checksum of each page.

    Args:
        shard: what is written.
        description: of the folder.
        images: (N rows) of ``IMAGE_SCHEMA``, those of the shard that could be read, in order.
        descriptors: (N, D), or (N, 5, D) of crops.
        skipped: path and reason of those that could not.
        temporary: where to write.

    Raises:
        ValueError: these do not fit together.
        OSError: the disk is full or the file cannot be written.
    """
    if images.num_rows != len(descriptors) or images.num_rows + len(skipped) != (
        shard.stop - shard.start
    ):
        raise ValueError(
            f"{shard.file.name}: {images.num_rows} images, {len(descriptors)} descriptors and "
            f"{len(skipped)} skipped for rows {shard.start} to {shard.stop}"
        )
    crops = descriptors.shape[1] if descriptors.ndim == 3 else 1
    flat = np.ascontiguousarray(descriptors, dtype=description.dtype).reshape(-1)
    if flat.size != images.num_rows * crops * description.dimension:
        raise ValueError(f"descriptors {descriptors.shape} of {description.dimension} dimensions")
    table = images.take(np.repeat(np.arange(images.num_rows), crops))
    table = table.append_column(
        "crop", pa.array(np.tile(np.arange(crops), images.num_rows), pa.int8())
    )
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat), description.dimension)
    table = table.append_column("descriptor", column).replace_schema_metadata(
        {
            _IDENTITY: json.dumps(description.identity),
            _SKIPPED: json.dumps([list(image) for image in skipped]),
        }
    )
    # Descriptors are noise to a compressor, and dictionaries of them would be built in vain.
    pq.write_table(
        table,
        _local(temporary),
        filesystem=_DISK,
        compression=dict.fromkeys(images.column_names, "zstd") | {"crop": "zstd"},
        use_dictionary=["split", "role", "place_id", "utm_zone", "source"],
        write_page_checksum=True,
    )


def _metadata(shard: Shard) -> tuple[dict[str, str | int], list[tuple[str, str]]]:
    try:
        metadata = pq.read_schema(_local(shard.file), filesystem=_DISK).metadata
        skipped = [(path, why) for path, why in json.loads(metadata[_SKIPPED])]
        return json.loads(metadata[_IDENTITY]), skipped
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(shard) from error


def read_columns(shard: Shard, columns: Sequence[str]) -> pa.Table:
    """Return columns of a shard, after comparing the checksum of each page.

    Raises:
        UserError: the file is damaged.
    """
    try:
        table = pq.read_table(
            _local(shard.file), columns=columns, filesystem=_DISK, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(shard) from error
    return table


def _local(file: Path) -> str:
    return str(file.absolute())  # pyarrow takes the relative "run:1/x" for an address


def _damaged(shard: Shard) -> UserError:
    return UserError(
        f"{shard.file}: is damaged; delete this file and {AGAIN}, which describes its images anew"
    )
