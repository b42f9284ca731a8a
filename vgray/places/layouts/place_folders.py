"""Place folders: ``@...@.jpg`` names, flat or in any folders, all of them for training.

The last field of a name (the note) names the place; where it is empty the panorama's field
does. Some sets put real panoramas there, each cut into several headings at one position and
time: those are one point of view and no place, so then the 10 m cell and the heading make the
place, as they do where both fields are empty, and where every image has another panorama.
"""

import re

from vgray.errors import UserError
from vgray.places.filenames import VprName, parse_vpr_name
from vgray.places.files import Files, join
from vgray.places.layouts.rows import Rows, rows_of_names

_VPR_FOLDERS = re.compile(
    r"(?P<dataset>.+?)/(images/)?(train|val|test)/(database|queries)/", re.IGNORECASE
)


def fits(files: Files) -> int:
    """Return how many images have a VPR name."""
    return sum(parse_vpr_name(path.rsplit("/", 1)[-1]) is not None for path in files.relative)


def read(files: Files, source: str) -> Rows:
    """Read the layout. Images whose names say no position are left out and noted.

    Raises UserError for a folder that holds VPR folders: their queries would be trained on.
    """
    _refuse_a_folder_too_high(files)
    parsed = [parse_vpr_name(path.rsplit("/", 1)[-1]) for path in files.relative]
    kept = [row for row, name in enumerate(parsed) if name is not None]
    names = [name for name in parsed if name is not None]
    panoramas = _are_panoramas(names)
    return rows_of_names(
        files.take(kept),
        names,
        split=["train"] * len(names),
        role=["train"] * len(names),
        place_id=[name.note or ("" if panoramas else name.pano) for name in names],
        source=source,
        notes={
            "name without a position": [
                path for path, name in zip(files.relative, parsed, strict=True) if name is None
            ]
        },
    )


def _refuse_a_folder_too_high(files: Files) -> None:
    for path in files.relative:
        found = _VPR_FOLDERS.match(path)
        if found is not None:
            raise UserError(
                f"{files.root} holds datasets and is none, did you mean "
                f"{join(files.root, found['dataset'])}?"
            )


def _are_panoramas(names: list[VprName]) -> bool:
    """Say whether the panorama's field names panoramas: several headings at one position and time.

    So it does where no two images share it, for then no place could be trained on. One group with
    two positions or times is enough to know that it names places.
    """
    first: dict[str, VprName] = {}
    turned = False
    for name in names:
        if not name.pano:
            continue
        other = first.setdefault(name.pano, name)
        if (name.east_m, name.north_m, name.timestamp) != (
            other.east_m,
            other.north_m,
            other.timestamp,
        ):
            return False
        turned = turned or abs(name.heading_deg - other.heading_deg) > 0
    return turned or len(first) == sum(bool(name.pano) for name in names)
