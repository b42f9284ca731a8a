"""Images without positions: a database and queries to retrieve from it, and nothing to score."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from vgray.errors import UserError
from vgray.places.files import join, local_or_uri, scan
from vgray.places.manifest import SCHEMA, SPLITS, with_origin

UNLABELLED = "without labels"
"""What ``layout_of`` says of such a table."""
_ROLES = ("database", "queries")


def load_unlabelled(root: str | Path) -> pa.Table:
    """Return the images below folders ``database`` and ``queries`` as a table of ``SCHEMA``.

    These folders lie anywhere below ``root``; the first on an image's path is its role. The split
    is that of the nearest folder train, val or test above, the root among them, and test without.
    Positions are NaN, and what a file's name may say is not looked at. Rows are sorted by path;
    ``left_out`` lists the images elsewhere.

    Raises:
        UserError: there is no such folder, or there are no such images.
    """
    folder = local_or_uri(root)
    files = scan(folder)
    rows: list[int] = []
    parts: list[tuple[str, str]] = []
    notes: dict[str, list[str]] = {}
    for row, path in enumerate(files.relative):
        part = _part_of(folder, path)
        name = path.encode(errors="backslashreplace").decode()
        if part is None:
            notes.setdefault("outside database and queries", []).append(name)
        elif name != path:  # no table could hold it
            notes.setdefault("file name is not UTF-8", []).append(name)
        else:
            rows.append(row)
            parts.append(part)
    if not rows:
        seen = f"{len(files):,} images, none of them" if len(files) else "no images"
        raise UserError(
            f"{folder}: found {seen} in a folder named database or queries; without labels, "
            "expected the images to search in database/ and those to look for in queries/"
        )
    found = files.take(rows)
    unknown = np.full(len(found), np.nan)
    table = pa.table(
        {
            "path": [join(folder, path) for path in found.relative],
            "split": [split for split, _ in parts],
            "role": [role for _, role in parts],
            "place_id": [""] * len(found),
            "east_m": unknown,
            "north_m": unknown,
            "utm_zone": [""] * len(found),
            **dict.fromkeys(("lat", "lon", "heading_deg", "taken_at"), [None] * len(found)),
            "source": [folder.rsplit("/", 1)[-1] or "images"] * len(found),
            "size_bytes": found.size_bytes,
            "modified_ns": found.modified_ns,
        },
        schema=SCHEMA,
    )
    return with_origin(table.sort_by("path"), root=folder, layout=UNLABELLED, left_out=notes)


def _part_of(root: str, path: str) -> tuple[str, str] | None:
    """Return the split and role of an image by its folders, or None if they give it no role."""
    folders = path.lower().split("/")[:-1]
    role = next((name for name in folders if name in _ROLES), None)
    if role is None:
        return None
    above = [root.rsplit("/", 1)[-1].lower(), *folders[: folders.index(role)]]
    return next((name for name in reversed(above) if name in SPLITS), "test"), role
