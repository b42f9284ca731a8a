"""What the train split is made of, apart from its pixels."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.places.filenames import parse_vpr_name

# East and north in a UTM zone are below 1e7 m, so images of two zones never come near.
_ZONE_WIDTH_M = 1e8
_NOTES = ("night", "sideways")


@dataclass(frozen=True, eq=False)
class TrainSplit:
    """The readable images of a train split: T rows of a manifest."""

    rows: NDArray[np.int64]
    """(T,) of the manifest."""
    place_ids: NDArray[np.int64]
    """(T,) the place of each, from 0."""
    positions_m: NDArray[np.float64]
    """(T, 2) east and north of each; images of two UTM zones are far apart."""
    is_query: NDArray[np.bool_]
    """(T,) which are queries; with neither queries nor a database there are no tuples."""
    is_database: NDArray[np.bool_]
    """(T,) which are of the database."""
    is_night: NDArray[np.bool_]
    """(T,) whose file name notes ``night``, as Mapillary Street-level Sequences do."""
    is_sideways: NDArray[np.bool_]
    """(T,) whose file name notes ``sideways``."""

    @classmethod
    def of(cls, table: pa.Table, readable: NDArray[np.bool_] | None = None) -> Self:
        """Cut it out of a manifest; ``readable`` (N,) leaves images out."""
        train = table["split"].to_numpy() == "train"
        rows = np.flatnonzero(train if readable is None else train & readable)
        part = table.take(pa.array(rows))
        role = part["role"].to_numpy()
        east_north = np.column_stack([part["east_m"].to_numpy(), part["north_m"].to_numpy()])
        night, sideways = _notes(part["path"].to_pylist())
        return cls(
            rows=rows,
            place_ids=np.unique(part["place_id"].to_numpy(), return_inverse=True)[1].astype(
                np.int64
            ),
            positions_m=zones_apart(east_north, part["utm_zone"].to_numpy()),
            is_query=role == "queries",
            is_database=role == "database",
            is_night=night,
            is_sideways=sideways,
        )


def zones_apart(
    positions_m: NDArray[np.float64], zones: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Return positions (N, 2) in which no two images of different UTM zones (N,) are near.

    An unknown zone ("") is taken for the first one, and a zone without its hemisphere ("10") for
    the one with it ("10N"), as :func:`vgray.places.require_one_zone` does.
    """
    known = sorted(set(zones.tolist()) - {""})
    whole = [zone for zone in known if not {f"{zone}N", f"{zone}S"} & set(known)]
    shift = {zone: number * _ZONE_WIDTH_M for number, zone in enumerate(whole)}
    for zone in set(known) - set(whole):
        shift[zone] = shift[f"{zone}N" if f"{zone}N" in shift else f"{zone}S"]
    east = np.array([shift.get(zone, 0.0) for zone in zones.tolist()], np.float64)
    return positions_m + np.column_stack([east, np.zeros_like(east)])


def _notes(paths: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return of each image whether the note in its file name says night, and sideways."""
    notes = []
    for path in paths:
        name = path.rpartition("/")[2]
        # Few names have a note, and reading a name takes a while.
        has_note = any(word in name for word in _NOTES)
        parsed = parse_vpr_name(name) if has_note else None
        notes.append(parsed.note.split("_") if parsed else [])
    night, sideways = (np.array([word in note for note in notes], bool) for word in _NOTES)
    return night, sideways
