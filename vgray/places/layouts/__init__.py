"""The dataset layouts. A new one is a module with ``recognises`` and ``read``, and one entry here.

``LAYOUTS`` is asked in order: a layout that any ``@`` name satisfies comes after the one that
also wants folders, and reading EXIF data, which opens every file, comes last. A manifest file is
looked for before any of them, because it says what the images are.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vgray.places.files import Files
from vgray.places.layouts import gsv_cities, photos, place_folders, vpr_folders
from vgray.places.layouts.rows import Rows

__all__ = ["LAYOUTS", "MANIFEST_FILE", "Layout", "Rows"]


@dataclass(frozen=True)
class Layout:
    """How a layout is told (``recognises``), read, and described to a user."""

    recognises: Callable[[Files], bool]
    read: Callable[[Files, str], Rows]
    description: str


MANIFEST_FILE = "manifest file"

LAYOUTS: dict[str, Layout] = {
    "VPR folders": Layout(
        vpr_folders.recognises,
        vpr_folders.read,
        "[images/]{train,val,test}/{database,queries}/@east@north@...@.jpg",
    ),
    "GSV-Cities": Layout(
        gsv_cities.recognises,
        gsv_cities.read,
        "Images/<City>/<City>_<place>_<year>_<month>_<heading>_<lat>_<lon>_<panoid>.JPG",
    ),
    "place folders": Layout(
        place_folders.recognises, place_folders.read, "@east@north@...@place@.jpg in any folders"
    ),
    "photo folder": Layout(photos.recognises, photos.read, "photographs with EXIF GPS"),
}
