"""Descriptors on disk: described once, scored as often as wanted, without the network.

A folder with ``descriptors.json``, which says what model described which data and how, and Parquet
shards. The images of one split and role are a *part*; ``test-queries-00002-of-00004.parquet`` is
the third shard of a part. A shard has the manifest's columns, ``brightness`` (mean of the decoded
pixels, 0 to 255), ``height_px`` and ``width_px`` of the file, ``crop`` (0, or 0 to 4 where a query
is described by five crops, in as many rows) and ``descriptor``, a list of fixed size.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.fs import LocalFileSystem
from pydantic import TypeAdapter, ValidationError

from vgray.errors import UserError
from vgray.places import SCHEMA

FILE = "descriptors.json"
SHARD_ROWS = 1024  # half a minute's work of two cores, which is what a kill costs
NUM_CROPS = 5
DType: TypeAlias = Literal["float16", "float32"]
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
_IDENTITY, _SKIPPED = b"vgray_identity", b"vgray_skipped"
_DISK = LocalFileSystem()
_AGAIN = "give the command again that made the folder, jobs/extract.py or jobs/report.py"


class UnknownPartError(UserError):
    """A part that was not extracted."""


@dataclass(frozen=True)
class Extraction:
    """What wrote shards, for the record."""

    command: Sequence[str]
    versions: Mapping[str, str]
    created: str
    """When it began, as ISO 8601."""


@dataclass(frozen=True)
class Description:
    """What ``descriptors.json`` says of a folder.

    ``identity`` decides whether two folders hold the same numbers; the rest is for people.
    """

    model: str
    """Where the checkpoint was."""
    model_hash: str
    """Of its weights and of its recipe with the changes for testing."""
    recipe: dict[str, Any]
    """As the images were described: with another image size, if one was asked for."""
    dimension: int
    data: str
    """The data set: a folder, a manifest or an address."""
    fingerprint: str
    """Of the data set's manifest."""
    parts: dict[str, int]
    """The images of each part (``test-queries``), the unreadable ones among them."""
    query_method: str
    """How queries were cut or resized; the database always has the recipe's image size."""
    dtype: DType
    decoder_version: int
    """``vgray.places.images.DECODER_VERSION`` where the images were read."""
    labelled: bool = True
    """False where the images came without positions."""
    shard_rows: int = SHARD_ROWS
    """Images of a shard, the last of a part has fewer."""
    extractions: tuple[Extraction, ...] = ()
    """Those that wrote shards, in order; they may have had other versions."""

    @property
    def identity(self) -> dict[str, str | int]:
        """What decides the numbers: model, data, how queries are read, number type."""
        names = ("model_hash", "fingerprint", "query_method", "dtype", "decoder_version")
        return {name: getattr(self, name) for name in names}

    @property
    def distance_m(self) -> float:
        """Within how many metres the recipe counts an image as a positive."""
        return float(self.recipe["evaluation"]["distance_m"])

    def check(self) -> None:
        """Raise ValueError, KeyError or TypeError if no extraction can have written this."""
        if not (self.distance_m > 0 and len(self.recipe["image_size"]) == 2):
            raise ValueError("a recipe of other things")
        if min(self.dimension, self.shard_rows, len(self.parts)) < 1:
            raise ValueError("nothing described")
        if any(number < 0 or not all(_split_and_role(p)) for p, number in self.parts.items()):
            raise ValueError("parts of other things")

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"


_DESCRIPTION = TypeAdapter(Description)
_REQUIRED = [field.name for field in fields(Description) if field.default is MISSING]


@dataclass(frozen=True)
class Shard:
    """One file of a part: which images it holds."""

    part: str
    index: int
    start: int
    """Its first image, as the row of the part."""
    stop: int
    file: Path


def part_name(split: str, role: str) -> str:
    """Return the name of the images of a split and role."""
    return f"{split}-{role}"


def is_query_part(part: str) -> bool:
    """Return whether a part's images are taken as the query method says.

    The database has the recipe's image size, and so have all images of split train.
    """
    split, role = _split_and_role(part)
    return role == "queries" and split != "train"


def part_images(manifest: pa.Table, split: str, role: str) -> pa.Table:
    """Return a part's rows of the manifest, in its order, which is by path."""
    return manifest.filter(
        pc.and_(pc.equal(manifest["split"], split), pc.equal(manifest["role"], role))
    )


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


def read_description(folder: str | Path) -> Description:
    """Read what a folder of descriptors is.

    Raises:
        UserError: it is none, or its ``descriptors.json`` is damaged.
    """
    folder = Path(folder)
    try:
        description = _DESCRIPTION.validate_json((folder / FILE).read_bytes(), strict=True)
        description.check()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: no descriptors here ({FILE} is missing); make them with jobs/extract.py"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if names := _missing_fields(error):
            raise UserError(
                f"{folder}: {FILE} has no {names[0]}, so another version of vgray wrote it; use "
                "that version, or extract again into another folder"
            ) from None
        raise UserError(
            f"{folder}: {FILE} is damaged; delete the folder and extract again"
        ) from None
    return description


def _missing_fields(error: Exception) -> list[str]:
    """Return the fields that a description lacks, if that is all that is wrong with it."""
    found = error.errors() if isinstance(error, ValidationError) else []
    names = [str(each["loc"][0]) for each in found if each["type"] == "missing"]
    return names if len(names) == len(found) < len(_REQUIRED) else []


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
                f"as {missing[0].file.name}; {_AGAIN}, which goes on"
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
            _first_crops(_read(shard, [*IMAGE_SCHEMA.names, "crop"]))
            for shard in self.shards(split, role)
        ]
        empty = IMAGE_SCHEMA.empty_table()
        return pa.concat_tables([empty, *(table.cast(IMAGE_SCHEMA) for table in tables)])

    def skipped(self) -> list[tuple[str, str]]:
        """Return (path, reason) of all images that could not be read, part by part."""
        return [
            image
            for part in self.description.parts
            for shard in self.shards(*_split_and_role(part))
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
        table = _read(shard, ["crop", "descriptor"])
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


def _split_and_role(part: str) -> tuple[str, str]:
    split, _, role = part.partition("-")
    return split, role


def _metadata(shard: Shard) -> tuple[dict[str, str | int], list[tuple[str, str]]]:
    try:
        metadata = pq.read_schema(_local(shard.file), filesystem=_DISK).metadata
        skipped = [(path, why) for path, why in json.loads(metadata[_SKIPPED])]
        return json.loads(metadata[_IDENTITY]), skipped
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(shard) from error


def _read(shard: Shard, columns: Sequence[str]) -> pa.Table:
    try:
        table = pq.read_table(
            _local(shard.file), columns=columns, filesystem=_DISK, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(shard) from error
    return table


def _local(file: Path) -> str:
    return str(file.absolute())  # pyarrow takes the relative "run:1/x" for an address


def _first_crops(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["crop"], 0)).drop_columns(["crop"])


def _damaged(shard: Shard) -> UserError:
    return UserError(
        f"{shard.file}: is damaged; delete this file and {_AGAIN}, which describes its images anew"
    )
