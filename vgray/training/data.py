"""What a training reads: decoded images, places, and the validation split."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.filenames import parse_vpr_name
from vgray.places.manifest import fingerprint
from vgray.places.positives import positives_within
from vgray.places.store import ImageStore
from vgray.recipe import Recipe

# East and north of a UTM zone are below 1e7 m, so images of two zones never come near.
_ZONE_WIDTH_M = 1e8
_NOTES = ("night", "sideways")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images and positions, ready to be trained on; the same for every recipe of one image size."""

    pixels: NDArray[np.uint8]
    """(N, H, W, 3), RGB; may be memory-mapped."""
    train_rows: NDArray[np.int64]
    """(T,) rows of ``pixels`` to train on."""
    place_ids: NDArray[np.int64]
    """(T,) the place of each."""
    positions_m: NDArray[np.float64]
    """(T, 2) east and north of each, in metres; images of two UTM zones are far apart."""
    is_query: NDArray[np.bool_]
    """(T,) which are queries; with neither queries nor a database there are no tuples."""
    is_database: NDArray[np.bool_]
    """(T,) which are of the database."""
    is_night: NDArray[np.bool_]
    """(T,) whose file name notes ``night``, as Mapillary Street-level Sequences do."""
    is_sideways: NDArray[np.bool_]
    """(T,) whose file name notes ``sideways``."""
    database_rows: NDArray[np.int64]
    """(D,) rows of ``pixels``: the validation database."""
    query_rows: NDArray[np.int64]
    """(Q,) rows of ``pixels``: the validation queries."""
    positives: list[NDArray[np.int64]]
    """Of each query: its positives, as indices into ``database_rows``."""
    distance_m: float
    """How near a positive is."""
    fingerprint: str
    """Of the data set."""

    @classmethod
    def prepare(cls, manifest: pa.Table, store: ImageStore, distance_m: float = 25.0) -> Self:
        """Cut a data set into what is trained on and what is validated on.

        Args:
            manifest: the data set, see :func:`vgray.places.load_manifest`.
            store: its decoded images; those that are not readable are left out.
            distance_m: how near a positive is.

        Raises:
            UserError: there is nothing to train on, or nothing to validate on.
        """
        readable = store.readable
        split = np.asarray(manifest["split"].to_pylist(), dtype=object)
        role = np.asarray(manifest["role"].to_pylist(), dtype=object)
        position = np.stack(
            [manifest[c].to_numpy().astype(np.float64) for c in ("east_m", "north_m")], axis=1
        )
        train = np.flatnonzero(readable & (split == "train"))
        place = manifest["place_id"].to_numpy()
        database = np.flatnonzero(readable & (split == "val") & (role == "database"))
        queries = np.flatnonzero(readable & (split == "val") & (role == "queries"))
        for rows, what in (
            (train, "training images"),
            (database, "validation database"),
            (queries, "validation queries"),
        ):
            if not len(rows):
                raise UserError(
                    f"data: no readable {what}; expected the split that they belong to in the data "
                    "folder, see jobs/prepare.py check"
                )
        paths = manifest["path"].to_pylist()
        night, sideways = _notes([paths[row] for row in train])
        return cls(
            pixels=store.pixels,
            train_rows=train,
            place_ids=np.unique(place[train], return_inverse=True)[1].astype(np.int64),
            positions_m=_zones_apart(position[train], manifest["utm_zone"].to_numpy()[train]),
            is_query=role[train] == "queries",
            is_database=role[train] == "database",
            is_night=night,
            is_sideways=sideways,
            database_rows=database,
            query_rows=queries,
            positives=positives_within(position[queries], position[database], distance_m),
            distance_m=distance_m,
            fingerprint=fingerprint(manifest),
        )

    def require_fits(self, recipe: Recipe) -> None:
        """Raise ValueError unless it was prepared for the recipe's image size and distance."""
        size_px = self.pixels.shape[1:3]
        if tuple(size_px) != tuple(recipe.image_size):
            raise ValueError(f"images of {size_px}, but the recipe says {recipe.image_size}")
        if self.distance_m != recipe.evaluation.distance_m:
            raise ValueError(
                f"positives within {self.distance_m} m, but the recipe says "
                f"{recipe.evaluation.distance_m}"
            )


def _zones_apart(
    positions_m: NDArray[np.float64], zones: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Return positions (T, 2) in which no two images of different UTM zones are near."""
    known = sorted({zone for zone in zones.tolist() if zone})
    shift = {zone: number * _ZONE_WIDTH_M for number, zone in enumerate(known)}
    return positions_m + np.array([[shift.get(zone, 0.0), 0.0] for zone in zones.tolist()])


def _notes(paths: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return of each image whether the note in its file name says night, and sideways."""
    notes = []
    for path in paths:
        name = path.rpartition("/")[2]
        # Few names have a note, and reading a name takes a while.
        has_note = "night" in name or "sideways" in name
        parsed = parse_vpr_name(name) if has_note else None
        notes.append(parsed.note.split("_") if parsed else [])
    night, sideways = (np.array([word in note for note in notes], bool) for word in _NOTES)
    return night, sideways
