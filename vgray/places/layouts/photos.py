"""A folder of photographs (JPEG, PNG, HEIC) whose EXIF data holds the GPS position.

Latitude and longitude come from degrees, minutes and seconds with their N/S and E/W, the heading
from GPSImgDirection (as written: whether north is magnetic or true is ignored), the time from
DateTimeOriginal. Photographs without a position are left out and listed. A position of exactly
0, 0 is what cameras write before they know better, and counts as none.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from vgray.errors import UserError
from vgray.places.filenames import iso_time
from vgray.places.files import Files, join
from vgray.places.images import UnreadableImage, open_image
from vgray.places.layouts.rows import Rows, numbers, texts

_GPS, _EXIF = 0x8825, 0x8769
_DATE_TIME, _DATE_TIME_ORIGINAL = 0x0132, 0x9003
_NO_GPS = "photo without GPS"
_LAT_REF, _LAT, _LON_REF, _LON, _DIRECTION = 1, 2, 3, 4, 17


class Shot(NamedTuple):
    """Where (degrees), in which direction (degrees or None) and when a photograph was taken."""

    lat: float
    lon: float
    heading_deg: float | None
    taken_at: str | None


def fits(files: Files) -> int:
    """Return how many images have a position in their EXIF data."""
    return sum(isinstance(shot, Shot) for shot in _read_shots(files))


def read(files: Files, source: str) -> Rows:
    """Read the layout."""
    shots = _read_shots(files)
    kept = [row for row, shot in enumerate(shots) if isinstance(shot, Shot)]
    found = [shot for shot in shots if isinstance(shot, Shot)]
    notes: dict[str, list[str]] = {}
    for path, shot in zip(files.relative, shots, strict=True):
        if isinstance(shot, str):
            notes.setdefault(shot, []).append(path)
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
        notes=notes,
    )


def _read_shots(files: Files) -> list[Shot | str]:
    """Return where each photograph was taken, or why that is not known."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_read_shot, [join(files.root, path) for path in files.relative]))


def _read_shot(path: str) -> Shot | str:
    try:
        with open_image(path) as image:
            exif = image.getexif()
            gps, details = exif.get_ifd(_GPS), exif.get_ifd(_EXIF)
    except UnreadableImage as error:
        return str(error)
    except UserError:
        raise
    except Exception:  # EXIF blocks are broken in every way a parser can trip over
        return _NO_GPS
    lat, lon = _degrees(gps, _LAT, _LAT_REF, "S"), _degrees(gps, _LON, _LON_REF, "W")
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180 or (lat == 0 and lon == 0):
        return _NO_GPS
    heading = _finite(gps.get(_DIRECTION))
    time = details.get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME) or ""
    return Shot(lat, lon, None if heading is None else heading % 360, iso_time(str(time)))


def _degrees(gps: dict[int, Any], tag: int, reference: int, negative: str) -> float | None:
    """Return a coordinate in degrees; seconds and minutes may be missing, as some writers do.

    A sign, which some write as well as the letter, counts once.
    """
    value = gps.get(tag)
    given = value[:3] if isinstance(value, tuple) else (value,)
    parts = [part for part in map(_finite, given) if part is not None]
    if not parts or len(parts) < len(given):
        return None
    degrees: float = sum(abs(part) / 60**power for power, part in enumerate(parts))
    letter = gps.get(reference, "")
    letter = letter.decode("ascii", "ignore") if isinstance(letter, bytes) else str(letter)
    is_negative = parts[0] < 0 or letter.strip("\0 ").upper().startswith(negative)
    return -degrees if is_negative else degrees


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
