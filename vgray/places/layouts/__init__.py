"""The dataset layouts. A new one is a module with ``fits`` and ``read``, and one entry here.

The first of ``LAYOUTS`` that fits about as many images as any is taken: a layout that any ``@``
name satisfies comes after the one that also wants folders, and reading EXIF data, which opens
every file, comes last. A manifest file is looked for before any of them, because it says what the
images are.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vgray.places.files import Files
from vgray.places.layouts import gsv_cities, photos, place_folders, vpr_folders
from vgray.places.layouts.rows import Rows

__all__ = ["LAYOUTS", "MANIFEST_FILE", "Layout", "Rows", "recognise"]


@dataclass(frozen=True)
class Layout:
    """How many images a layout ``fits``, how it is read, and described to a user."""

    fits: Callable[[Files], int]
    read: Callable[[Files, str], Rows]
    description: str


MANIFEST_FILE = "manifest file"

LAYOUTS: dict[str, Layout] = {
    "VPR folders": Layout(
        vpr_folders.fits,
        vpr_folders.read,
        "[images/]{train,val,test}/{database,queries}/@east@north@...@.jpg",
    ),
    "GSV-Cities": Layout(
        gsv_cities.fits,
        gsv_cities.read,
        "Images/<City>/<City>_<place>_<year>_<month>_<heading>_<lat>_<lon>_<panoid>.JPG",
    ),
    "place folders": Layout(
        place_folders.fits, place_folders.read, "@east@north@...@place@.jpg in any folders"
    ),
    "photo folder": Layout(photos.fits, photos.read, "photographs with EXIF GPS"),
}


def recognise(files: Files) -> str | None:
    """Return the name of the layout of these images, or None if none fits any.

    It is the first that fits at least half as many images as the best one; so a few stray files
    do not decide. Photographs are opened only where names tell the position of fewer than half.
    """
    fits: dict[str, int] = {}
    for name, layout in LAYOUTS.items():
        if layout.fits is not photos.fits or 2 * max(fits.values()) < len(files):
            fits[name] = layout.fits(files)
    best = max(fits.values())
    return next((name for name, count in fits.items() if best and 2 * count >= best), None)
