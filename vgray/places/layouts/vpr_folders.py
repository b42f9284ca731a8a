"""VPR folders: ``[images/]{train,val,test}/{database,queries}/@...@.jpg``.

The layout of the deep visual geo-localization benchmark and of San Francisco XS. Folders may be
nested below, some splits may be missing, and ``train`` may hold its images directly. A folder
with ``database`` and ``queries`` at its top is one split, named after the folder if that is
train, val or test, and test otherwise.
"""

from vgray.places.filenames import VprName, parse_vpr_name
from vgray.places.files import Files
from vgray.places.layouts.rows import Rows, rows_of_names

_SPLITS = ("train", "val", "test")
_ROLES = {"database": "database", "gallery": "database", "queries": "queries", "query": "queries"}


def fits(files: Files) -> int:
    """Return how many images lie in a folder of a split and have a VPR name."""
    return sum(
        _place_of(files.root, path) is not None
        and parse_vpr_name(path.rsplit("/", 1)[-1]) is not None
        for path in files.relative
    )


def read(files: Files, source: str) -> Rows:
    """Read the layout. Images elsewhere and names that say no position are left out and noted."""
    kept: list[int] = []
    names: list[VprName] = []
    splits: list[str] = []
    roles: list[str] = []
    elsewhere: list[str] = []
    unreadable: list[str] = []
    for row, path in enumerate(files.relative):
        where = _place_of(files.root, path)
        if where is None:
            elsewhere.append(path)
            continue
        name = parse_vpr_name(path.rsplit("/", 1)[-1])
        if name is None:
            unreadable.append(path)
            continue
        kept.append(row)
        names.append(name)
        splits.append(where[0])
        roles.append(where[1])
    return rows_of_names(
        files.take(kept),
        names,
        split=splits,
        role=roles,
        place_id=[""] * len(names),
        source=source,
        notes={"outside the splits": elsewhere, "name without a position": unreadable},
    )


def _place_of(root: str, path: str) -> tuple[str, str] | None:
    """Return the split and role of an image by its folders, or None if it lies in no split."""
    parts = path.lower().split("/")[:-1]
    if parts and parts[0] == "images":
        parts = parts[1:]
    if not parts:
        return None
    if parts[0] in _ROLES:
        above = root.rsplit("/", 1)[-1].lower()
        return (above if above in _SPLITS else "test"), _ROLES[parts[0]]
    if parts[0] not in _SPLITS:
        return None
    if len(parts) > 1 and parts[1] in _ROLES:
        return parts[0], _ROLES[parts[1]]
    return ("train", "train") if parts[0] == "train" else None
