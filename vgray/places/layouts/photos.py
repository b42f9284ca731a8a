"""A folder of photographs (JPEG, PNG, HEIC) whose EXIF data holds the GPS position.

Latitude and longitude come from degrees, minutes and seconds with their N/S and E/W, the heading
from GPSImgDirection (as written: whether north is magnetic or true is ignored), the time from
DateTimeOriginal. Photographs without a position are left out and listed. A position of exactly
0, 0 is what cameras write before they know better, and counts as none.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

from vgray.places.filenames import iso_time
from vgray.places.files import Files, join
from vgray.places.images import UnreadableImage, open_image
from vgray.places.layouts.rows import Rows, numbers, texts

_GPS, _EXIF = 0x8825, 0x8769
_DATE_TIME, _DATE_TIME_ORIGINAL = 0x0132, 0x9003
_LAT_REF, _LAT, _LON_REF, _LON, _DIRECTION = 1, 2, 3, 4, 17


class Shot(NamedTuple):
    """Where (degrees), in which direction (degrees or None) and when a photograph was taken."""

    lat: float
    lon: float
    heading_deg: float | None
    taken_at: str | None


def recognises(files: Files) -> bool:
    """Say whether any image has a position in its EXIF data; stops at the first that has."""
    return any(_read_shot(join(files.root, path)) is not None for path in files.relative)


def read(files: Files, source: str) -> Rows:
    """Read the layout."""
    paths = [join(files.root, path) for path in files.relative]
    with ThreadPoolExecutor() as pool:
        shots = list(pool.map(_read_shot, paths))
    kept = [row for row, shot in enumerate(shots) if shot is not None]
    found = [shot for shot in shots if shot is not None]
    unknown = [None] * len(found)
    return Rows(
        files=files.take(kept),
        split=[""] * len(found),
        role=[""] * len(found),
        place_id=[""] * len(found),
        source=[source] * len(found),
        east_m=numbers(unknown),
        north_m=numbers(unknown),
        utm_zone=texts([""] * len(found)),
        lat=numbers([shot.lat for shot in found]),
        lon=numbers([shot.lon for shot in found]),
        heading_deg=numbers([shot.heading_deg for shot in found]),
        taken_at=[shot.taken_at for shot in found],
        notes={
            "photo without GPS": [
                path for path, shot in zip(files.relative, shots, strict=True) if shot is None
            ]
        },
    )


def _read_shot(path: str) -> Shot | None:
    try:
        with open_image(path) as image:
            exif = image.getexif()
            gps, details = exif.get_ifd(_GPS), exif.get_ifd(_EXIF)
    except UnreadableImage:
        return None
    except Exception:  # EXIF blocks are broken in every way a parser can trip over
        return None
    lat, lon = _degrees(gps, _LAT, _LAT_REF, "S"), _degrees(gps, _LON, _LON_REF, "W")
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180 or (lat == 0 and lon == 0):
        return None
    heading = _finite(gps.get(_DIRECTION))
    time = details.get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME) or ""
    return Shot(lat, lon, None if heading is None else heading % 360, iso_time(str(time)))


def _degrees(gps: dict[int, Any], tag: int, reference: int, negative: str) -> float | None:
    """Return a coordinate in degrees; seconds and minutes may be missing, as some writers do."""
    value = gps.get(tag)
    parts = [_finite(part) for part in islice(value, 3)] if isinstance(value, tuple) else []
    if not parts or parts[0] is None:
        return None
    degrees = float(sum((part or 0.0) / 60**power for power, part in enumerate(parts)))
    letter = gps.get(reference, "")
    letter = letter.decode("ascii", "ignore") if isinstance(letter, bytes) else str(letter)
    return -degrees if letter.strip("\0 ").upper().startswith(negative) else degrees


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
