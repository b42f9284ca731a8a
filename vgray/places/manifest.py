"""The manifest: one row per image, whatever layout the images came in."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vgray.errors import UserError
from vgray.places.files import Files, is_remote, join, local_or_uri, scan
from vgray.places.layouts import LAYOUTS, MANIFEST_FILE, Rows, manifest_file, recognise
from vgray.places.positions import cell_places, complete
from vgray.places.splits import assign_roles, assign_splits

# `utm_zone` is the zone's number and hemisphere ("10N", "56S"), not the letter of the latitude
# band: San Francisco is 10N here although file names write 10 S for band S. It is "" where the
# layout does not say. `taken_at` is ISO 8601 to the precision known ("2017-12"). Positions are
# metres and degrees; degrees are null where the zone is unknown. `size_bytes` is -1 for a file
# that does not exist.
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("place_id", pa.string(), nullable=False),
        pa.field("east_m", pa.float64(), nullable=False),
        pa.field("north_m", pa.float64(), nullable=False),
        pa.field("utm_zone", pa.string(), nullable=False),
        pa.field("lat", pa.float64()),
        pa.field("lon", pa.float64()),
        pa.field("heading_deg", pa.float32()),
        pa.field("taken_at", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("modified_ns", pa.int64(), nullable=False),
    ]
)
SPLITS = ("train", "val", "test")
_ROOT, _LAYOUT, _LEFT_OUT = b"vgray_root", b"vgray_layout", b"vgray_left_out"
_ROOTS = b"vgray_roots"  # of a split's rows, where they come from several datasets


def load_manifest(uri: str | Path) -> pa.Table:
    """Return the images of a dataset as a table of ``SCHEMA``, sorted by path.

    ``uri`` is a folder in one of the five layouts, or a manifest file; a local path or a
    ``pyarrow.fs`` address. The layout is recognised, never asked for. The table's metadata holds
    the root, the layout's name and the images left out (see ``left_out``). Raises UserError for
    a folder that is missing, holds no images, or fits no layout.
    """
    root = local_or_uri(uri)
    if root.lower().endswith((".csv", ".parquet")) and (is_remote(root) or Path(root).is_file()):
        folder = root.rsplit("/", 1)[0]
        return _table(manifest_file.read(root, _name(folder)), folder, MANIFEST_FILE)
    if not is_remote(root) and Path(root).is_file():
        raise UserError(f"{root} is no dataset; give a folder, or a manifest as .csv or .parquet")
    if not is_remote(root):
        for name in manifest_file.FILE_NAMES:
            if (Path(root) / name).is_file():
                path = join(root, name)
                return _table(manifest_file.read(path, _name(root)), root, MANIFEST_FILE)
    files = scan(root)
    if not len(files):
        raise UserError(f"no images in {root}; expected JPEG, PNG or HEIC files, in any subfolder")
    files, unnameable = _nameable(files)
    layout = recognise(files)
    if layout is not None:
        rows = LAYOUTS[layout].read(files, _name(root))
        rows.notes["file name is not UTF-8"] = unnameable
        return _table(rows, root, layout)
    known = [f"{name} ({known.description})" for name, known in LAYOUTS.items()]
    raise UserError(
        f"the images in {root} fit no layout: {files.relative[0]} has no position in its name nor "
        f"in its EXIF data; known are {', '.join(known)} and manifest file "
        "(manifest.csv or .parquet with path and lat, lon or east, north)"
    )


def for_training(table: pa.Table) -> pa.Table:
    """Return the train and val rows; what training never looks at need not be decoded."""
    return table.filter(pc.is_in(table["split"], pa.array(["train", "val"])))


def layout_of(table: pa.Table) -> str:
    """Return the name of the layout a manifest was read from."""
    return _metadata(table, _LAYOUT)


def root_of(table: pa.Table) -> str:
    """Return the folder (or address) a manifest was read from; of several, " + " between them."""
    return _metadata(table, _ROOT)


def roots_of(table: pa.Table) -> dict[str, list[str]]:
    """Return the folders (or addresses) that the rows of each split are from."""
    recorded = json.loads(_metadata(table, _ROOTS) or "{}")
    return {split: recorded.get(split, [root_of(table)]) for split in SPLITS}


def with_origin(
    table: pa.Table,
    *,
    root: str,
    layout: str,
    left_out: Mapping[str, Sequence[str]],
    roots: Mapping[str, Sequence[str]] | None = None,
) -> pa.Table:
    """Return the table with what ``root_of`` and its like are to say of it."""
    metadata = {
        _ROOT: root,
        _LAYOUT: layout,
        _LEFT_OUT: json.dumps(left_out, ensure_ascii=True),
        **({_ROOTS: json.dumps(roots)} if roots is not None else {}),
    }
    return table.replace_schema_metadata(metadata)


def left_out(table: pa.Table) -> dict[str, list[str]]:
    """Return the images that are in the folder but not in the manifest, by reason."""
    reasons: dict[str, list[str]] = json.loads(_metadata(table, _LEFT_OUT) or "{}")
    return reasons


def left_out_images(table: pa.Table) -> list[tuple[str, str]]:
    """Return the same as (path, reason), with the path that a file has."""
    root = root_of(table)
    return [
        (join(root, path), reason) for reason, paths in left_out(table).items() for path in paths
    ]


def fingerprint(table: pa.Table) -> str:
    """Return 64 hexadecimal digits that change with the data: paths below the root, file sizes,
    positions, splits, roles and places.

    Where the root lies and when the files were written do not matter, so a dataset that is
    copied to another machine keeps its fingerprint.
    """
    prefixes = {
        split: tuple(f"{root.rstrip('/')}/" for root in sorted(roots, key=len, reverse=True))
        for split, roots in roots_of(table).items()
    }
    digest = hashlib.sha256(b"vgray manifest 1\n")
    rows = zip(table["path"].to_pylist(), table["split"].to_pylist(), strict=True)
    paths = [_below(path, prefixes[split]) for path, split in rows]
    for column in (paths, *(table[name].to_pylist() for name in ("split", "role", "place_id"))):
        digest.update("\n".join(column).encode("utf-8", "surrogateescape") + b"\0")
    for name in ("size_bytes", "east_m", "north_m"):
        values = np.array(table[name].to_numpy(), copy=True) + 0  # -0.0 and 0.0 are one position
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _nameable(files: Files) -> tuple[Files, list[str]]:
    """Split off the files whose names are not UTF-8, which no table could hold."""
    bad = [
        row
        for row, path in enumerate(files.relative)
        if not path.isascii() and any("\ud800" <= letter <= "\udfff" for letter in path)
    ]
    if not bad:
        return files, []
    kept = sorted(set(range(len(files))) - set(bad))
    names = [files.relative[row].encode(errors="backslashreplace").decode() for row in bad]
    if not kept:
        raise UserError(
            f"no image in {files.root} has a name in UTF-8, such as {names[0]}; rename them"
        )
    return files.take(kept), names


def _name(root: str) -> str:
    """Return the name of the dataset: its folder's, without a last ``images``."""
    parts = [part for part in root.split("/") if part]
    if len(parts) > 1 and parts[-1].lower() == "images":
        parts.pop()
    return parts[-1] if parts else "images"


def _below(path: str, prefixes: tuple[str, ...]) -> str:
    return path.removeprefix(next(filter(path.startswith, prefixes), ""))


def _metadata(table: pa.Table, key: bytes) -> str:
    metadata: dict[bytes, bytes] = table.schema.metadata or {}
    return metadata.get(key, b"").decode()


def _table(rows: Rows, root: str, layout: str) -> pa.Table:
    """Complete the rows by the stated rules and return them as the sorted table."""
    complete(rows.lat, rows.lon, rows.east_m, rows.north_m, rows.utm_zone, np.array(rows.source))
    _complete_splits(rows)
    cells = cell_places(rows.utm_zone, rows.east_m, rows.north_m, rows.heading_deg)
    places = [given or cell for given, cell in zip(rows.place_id, cells, strict=True)]
    notes = {reason: paths for reason, paths in rows.notes.items() if paths}
    table = pa.table(
        {
            "path": [join(root, path) for path in rows.files.relative],
            "split": rows.split,
            "role": rows.role,
            "place_id": places,
            "east_m": rows.east_m,
            "north_m": rows.north_m,
            "utm_zone": rows.utm_zone.tolist(),
            "lat": pa.array(rows.lat, from_pandas=True),
            "lon": pa.array(rows.lon, from_pandas=True),
            "heading_deg": pa.array(rows.heading_deg.astype(np.float32), from_pandas=True),
            "taken_at": rows.taken_at,
            "source": rows.source,
            "size_bytes": rows.files.size_bytes,
            "modified_ns": rows.files.modified_ns,
        },
        schema=SCHEMA,
    )
    return with_origin(table.sort_by("path"), root=root, layout=layout, left_out=notes)


def _complete_splits(rows: Rows) -> None:
    """Fill the splits and roles that the layout does not give, by location."""
    positions = np.column_stack([rows.east_m, rows.north_m])
    role_splits = {"train": "train", "database": "val", "queries": "val"}
    split = [
        given or role_splits.get(role, "")
        for given, role in zip(rows.split, rows.role, strict=True)
    ]
    open_rows = [row for row, name in enumerate(split) if not name]
    if open_rows:
        chosen = assign_splits(positions[open_rows], rows.utm_zone[open_rows])
        for row, name in zip(open_rows, chosen, strict=True):
            split[row] = name
    if not all(rows.role):
        chosen = assign_roles(positions, rows.utm_zone, split, rows.taken_at, rows.files.relative)
        rows.role = [given or role for given, role in zip(rows.role, chosen, strict=True)]
    rows.split = split
