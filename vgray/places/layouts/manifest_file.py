"""A manifest file: ``manifest.csv`` or ``manifest.parquet``, in the folder or given itself.

It has a column ``path`` (relative to the manifest, absolute, or an address) and positions as
``lat, lon`` or ``east, north``; every other column of the manifest is optional, and columns of
other names are ignored. Cells that are empty count as not given.
"""

import io
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError, nearest_name
from vgray.places.filenames import iso_time
from vgray.places.files import open_binary, stat
from vgray.places.layouts.rows import Rows, numbers, texts

FILE_NAMES = ("manifest.csv", "manifest.parquet")

_ALIASES = {
    "path": "path",
    "lat": "lat",
    "latitude": "lat",
    "lon": "lon",
    "lng": "lon",
    "longitude": "lon",
    "east": "east_m",
    "east_m": "east_m",
    "north": "north_m",
    "north_m": "north_m",
    "utm_zone": "utm_zone",
    "split": "split",
    "role": "role",
    "place_id": "place_id",
    "heading": "heading_deg",
    "heading_deg": "heading_deg",
    "taken_at": "taken_at",
    "timestamp": "taken_at",
    "source": "source",
    # Written by vgray and measured again here.
    "size_bytes": "size_bytes",
    "modified_ns": "modified_ns",
}
_CHOICES = {"split": ("train", "val", "test"), "role": ("train", "database", "queries")}
_LIMITS = {"lat": 90.0, "lon": 180.0, "east_m": 1e8, "north_m": 1e8, "heading_deg": 1e4}


def read(path: str, source: str) -> Rows:
    """Read a manifest file. Raises UserError that names the column and the image that is wrong."""
    table = _load(path)
    columns = _columns(table, path)
    relative = columns.pop("path")
    missing_path = next((row for row, text in enumerate(relative) if not text), None)
    if missing_path is not None:
        raise UserError(f"{path}: row {missing_path + 1} has no path")
    twice, count = Counter(relative).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: {twice} is listed more than once; give each image one row")
    files = stat(path.rsplit("/", 1)[0], relative)
    if (files.size_bytes < 0).all():
        raise UserError(
            f"{path}: none of its {len(relative)} images exists, such as {relative[0]}; "
            "paths are relative to the manifest's folder"
        )
    count = len(relative)
    values = {name: _floats(columns.get(name), name, relative, path) for name in _LIMITS}
    for name, allowed in _CHOICES.items():
        if name in columns:
            columns[name] = [text.lower() for text in columns[name]]
        for row, text in enumerate(columns.get(name, ())):
            if text and text not in allowed:
                raise UserError(
                    f"{path}: {name} {text!r} of {relative[row]}; it is one of {', '.join(allowed)}"
                )
    positioned = ~np.isnan(values["lat"] + values["lon"])
    positioned |= ~np.isnan(values["east_m"] + values["north_m"])
    if not positioned.all():
        row = int(np.argmin(positioned))
        raise UserError(
            f"{path}: {relative[row]} has no position; give lat and lon, or east and north"
        )
    empty = [""] * count
    return Rows(
        files=files,
        split=columns.get("split", empty),
        role=columns.get("role", empty),
        place_id=columns.get("place_id", empty),
        source=[text or source for text in columns.get("source", empty)],
        east_m=values["east_m"],
        north_m=values["north_m"],
        utm_zone=texts([_zone(text, path) for text in columns.get("utm_zone", empty)]),
        lat=values["lat"],
        lon=values["lon"],
        heading_deg=values["heading_deg"],
        taken_at=[iso_time(text) for text in columns.get("taken_at", empty)],
    )


def _load(path: str) -> Any:
    """Return the Arrow table; every cell of a CSV is text, so that "0012" stays a place's name."""
    import pyarrow.csv
    import pyarrow.parquet

    try:
        with open_binary(path) as stream:
            data = stream.read()
        if path.lower().endswith(".parquet"):
            return pyarrow.parquet.read_table(io.BytesIO(data))
        header = pyarrow.csv.open_csv(io.BytesIO(data)).schema.names
        return pyarrow.csv.read_csv(
            io.BytesIO(data),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in header}
            ),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from error


def _columns(table: Any, path: str) -> dict[str, list[str]]:
    """Return the columns by their standard name, as texts with "" for what is not given."""
    names = {name: _ALIASES.get(name.strip().lower()) for name in table.column_names}
    for name in [name for name, standard in names.items() if standard is None]:
        # Other columns are the user's own (a pitch, an altitude); one that is nearly a known name
        # which no other column has is a slip.
        missing = [alias for alias, standard in _ALIASES.items() if standard not in names.values()]
        meant = nearest_name(name.strip().lower(), missing)
        if meant:
            raise UserError(f"{path}: unknown column {name!r}{meant}")
        del names[name]
    given = [standard for standard in names.values() if standard]
    double = sorted({name for name in given if given.count(name) > 1})
    if double:
        raise UserError(f"{path}: more than one column means {double[0]}; keep one")
    if "path" not in given:
        raise UserError(
            f"{path}: the column 'path' is missing; it has {', '.join(table.column_names)}"
        )
    if not ({"lat", "lon"} <= set(given) or {"east_m", "north_m"} <= set(given)):
        raise UserError(
            f"{path}: a position is missing, it needs the columns lat and lon or east and north; "
            f"it has {', '.join(table.column_names)}"
        )
    if table.num_rows == 0:
        raise UserError(f"{path}: no rows; list at least one image")
    columns = {}
    for name, standard in names.items():
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            cells = pc.cast(column, pa.string()).to_pylist()
        except pa.ArrowException as error:
            raise UserError(f"{path}: the column {name!r} is of type {column.type}") from error
        columns[str(standard)] = [(cell or "").strip() for cell in cells]
    if "path" in columns:
        columns["path"] = [_normal(text) for text in columns["path"]]
    return columns


def _normal(text: str) -> str:
    """Return a path without "./" and doubled slashes; an address as it is."""
    return text if not text or "://" in text else str(PurePosixPath(text))


def _floats(
    cells: list[str] | None, name: str, relative: list[str], path: str
) -> NDArray[np.float64]:
    """Return a column of numbers within its limit; NaN where nothing is given."""
    if cells is None:
        return numbers([None] * len(relative))
    values: list[float | None] = []
    for row, cell in enumerate(cells):
        try:
            if "_" in cell:  # Python's way to write 1000, and nobody else's
                raise ValueError
            value = float(cell) if cell else None
        except ValueError:
            raise UserError(f"{path}: {name} {cell!r} of {relative[row]} is not a number") from None
        if value is not None and value != value:
            value = None
        if value is not None and not abs(value) <= _LIMITS[name]:
            raise UserError(f"{path}: {name} {cell} of {relative[row]} is out of range")
        values.append(value)
    return numbers(values)


def _zone(text: str, path: str) -> str:
    """Return a zone as "10N"; texts such as "10n" and "10" are accepted, a band letter is not."""
    zone = text.upper()
    digits = zone.rstrip("NS")
    if zone and not (digits.isdigit() and 1 <= int(digits) <= 60 and len(zone) - len(digits) <= 1):
        raise UserError(
            f"{path}: utm_zone {text!r}; write the number and the hemisphere, such as 10N or 56S"
        )
    return f"{int(digits)}{zone[len(digits) :]}" if zone else ""
