"""What every dataset layout hands over: one row per image, and what it left out."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgray.places.filenames import VprName, iso_time
from vgray.places.files import Files


@dataclass
class Rows:
    """The images of a dataset as far as its layout knows them; every column has length N.

    Numbers that are unknown are NaN and texts ""; ``load_manifest`` fills what follows from the
    rest: metres and degrees from each other, splits, roles and places by its stated rules.
    ``notes`` lists the paths that the layout left out, by reason.
    """

    files: Files
    split: list[str]
    role: list[str]
    place_id: list[str]
    source: list[str]
    east_m: NDArray[np.float64]
    north_m: NDArray[np.float64]
    utm_zone: NDArray[np.object_]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    taken_at: list[str | None]
    notes: dict[str, list[str]] = field(default_factory=dict)


def numbers(values: list[Any]) -> NDArray[np.float64]:
    """Return a float64 column; None becomes NaN."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def texts(values: list[str]) -> NDArray[np.object_]:
    """Return a column of texts as an array of objects, so that rows can be selected by a mask."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def rows_of_names(
    files: Files,
    names: list[VprName],
    *,
    split: list[str],
    role: list[str],
    place_id: list[str],
    source: str,
    notes: dict[str, list[str]],
) -> Rows:
    """Return the rows of images whose VPR ``@`` names were read."""
    return Rows(
        files=files,
        split=split,
        role=role,
        place_id=place_id,
        source=[source] * len(names),
        east_m=numbers([name.east_m for name in names]),
        north_m=numbers([name.north_m for name in names]),
        utm_zone=texts([name.utm_zone for name in names]),
        lat=numbers([name.lat for name in names]),
        lon=numbers([name.lon for name in names]),
        heading_deg=numbers([name.heading_deg for name in names]),
        taken_at=[iso_time(name.timestamp) for name in names],
        notes=notes,
    )
