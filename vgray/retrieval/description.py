"""What a folder of descriptors is: its ``descriptors.json``, and the parts that it has."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from vgray.errors import UserError

FILE = "descriptors.json"
SHARD_ROWS = 1024  # half a minute's work of two cores, which is what a kill costs
NUM_CROPS = 5
DType: TypeAlias = Literal["float16", "float32"]


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
        if any(number < 0 or not all(split_and_role(p)) for p, number in self.parts.items()):
            raise ValueError("parts of other things")

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"


_DESCRIPTION = TypeAdapter(Description)
_REQUIRED = [field.name for field in fields(Description) if field.default is MISSING]


def part_name(split: str, role: str) -> str:
    """Return the name of the images of a split and role."""
    return f"{split}-{role}"


def is_query_part(part: str) -> bool:
    """Return whether a part's images are taken as the query method says.

    The database has the recipe's image size, and so have all images of split train.
    """
    split, role = split_and_role(part)
    return role == "queries" and split != "train"


def part_images(manifest: pa.Table, split: str, role: str) -> pa.Table:
    """Return a part's rows of the manifest, in its order, which is by path."""
    return manifest.filter(
        pc.and_(pc.equal(manifest["split"], split), pc.equal(manifest["role"], role))
    )


def split_and_role(part: str) -> tuple[str, str]:
    """Return the split and the role of a part."""
    split, _, role = part.partition("-")
    return split, role


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
