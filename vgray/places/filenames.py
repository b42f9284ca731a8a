"""File names that carry a position: the ``@`` names of VPR datasets and those of GSV-Cities.

A VPR name is ``@`` + 14 fields joined by ``@`` + ``@`` + extension::

    @east@north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg

Real datasets leave fields empty and leave trailing ones out, so only east and north are required
here. The letter is the latitude band of the military grid: ``S`` is 32-40 degrees **north**;
``N`` and everything after it lies north of the equator. This is the format of the VPR datasets
downloader and of the deep visual geo-localization benchmark.
"""

import math
import os
import re
from functools import lru_cache
from typing import NamedTuple

_NUM_FIELDS = 14
_BANDS = frozenset("CDEFGHJKLMNPQRSTUVWX")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"  # 5e-05 is near Greenwich
_GSV_NAME = re.compile(
    rf"(?P<city>.+?)_(?P<place>\d{{7,}})_(?P<year>\d{{4}})_(?P<month>\d{{1,2}})_(?P<north>{_NUMBER})"
    rf"_(?P<lat>{_NUMBER})_(?P<lon>{_NUMBER})_(?P<panoid>.+)\.[A-Za-z]+"
)
_TIMESTAMP = re.compile(
    r"(?P<year>[12]\d{3})(?:[-:]?(?P<month>0[1-9]|1[0-2])(?:[-:]?(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:[ T_](?P<hour>[01]\d|2[0-3]):?(?P<minute>[0-5]\d)(?::?(?P<second>[0-5]\d))?.*)?)?)?"
)


class VprName(NamedTuple):
    """What a VPR ``@`` name says. Missing numbers are NaN (zone: 0), missing texts are ""."""

    east_m: float
    north_m: float
    zone_number: int
    zone_letter: str
    lat: float
    lon: float
    pano: str
    heading_deg: float
    timestamp: str
    note: str

    @property
    def utm_zone(self) -> str:
        """Zone number and hemisphere ("10N", "56S"); "10" without a hemisphere; "" without a zone.

        The hemisphere is the latitude's where the name has one, else the band letter's.
        """
        if not self.zone_number:
            return ""
        if not math.isnan(self.lat):
            return f"{self.zone_number}{'N' if self.lat >= 0 else 'S'}"
        if self.zone_letter:
            return f"{self.zone_number}{'N' if self.zone_letter >= 'N' else 'S'}"
        return str(self.zone_number)


class GsvName(NamedTuple):
    """What a GSV-Cities name says; ``heading_deg`` is clockwise from north."""

    city: str
    place: str
    year: int
    month: int
    heading_deg: float
    lat: float
    lon: float
    panoid: str


def format_name(
    *,
    east_m: float,
    north_m: float,
    utm_zone: int,
    zone_letter: str,
    lat: float,
    lon: float,
    pano: str = "",
    tile: str = "",
    heading_deg: float | None = None,
    pitch: str = "",
    roll: str = "",
    height: str = "",
    timestamp: str = "",
    note: str = "",
    extension: str = ".jpg",
) -> str:
    """Return the VPR name of an image, such as ``@0553003.03@4175258.88@10@S@...@@.jpg``.

    Positions are metres and degrees, ``utm_zone`` is 1 to 60 and ``zone_letter`` the latitude
    band (C to X). Raises ValueError for a text with ``@`` or ``/``, a position that is not
    finite, a zone or a letter that does not exist, or an extension without its dot.
    """
    texts = (pano, tile, pitch, roll, height, timestamp, note, extension)
    for text in texts:
        if "@" in text or "/" in text or "\0" in text:
            raise ValueError(f"a field of a file name must not contain '@' or '/': {text!r}")
    if not all(map(math.isfinite, (east_m, north_m, lat, lon))):
        raise ValueError(f"positions must be finite: {east_m}, {north_m}, {lat}, {lon}")
    if not 1 <= utm_zone <= 60:
        raise ValueError(f"a UTM zone is 1 to 60: {utm_zone}")
    if zone_letter not in _BANDS:
        raise ValueError(
            f"a latitude band is one letter of C to X without I and O: {zone_letter!r}"
        )
    if not extension.startswith("."):
        raise ValueError(f"an extension starts with a dot: {extension!r}")
    heading = "" if heading_deg is None else f"{heading_deg:.10g}"
    fields = (
        f"{east_m:010.2f}@{north_m:010.2f}@{utm_zone}@{zone_letter}@{lat:09.5f}@{lon:010.5f}"
        f"@{pano}@{tile}@{heading}@{pitch}@{roll}@{height}@{timestamp}@{note}"
    )
    return f"@{fields}@{extension}"


def parse_vpr_name(name: str) -> VprName | None:
    """Read a VPR ``@`` name; None for a name that does not start with two numbers as its fields.

    Any field after north may be empty or missing, and so may the last ``@``. A zone that is
    written but is not 1 to 60 makes the whole name unreadable: guessing would give wrong
    distances without a word.
    """
    if not name.startswith("@"):
        return None
    fields = os.path.splitext(name)[0].split("@")[1:]  # noqa: PTH122 (half a million names)
    if len(fields) > _NUM_FIELDS and fields[-1] == "":
        fields.pop()
    if len(fields) < 2:
        return None
    fields += [""] * (_NUM_FIELDS - len(fields))
    try:
        east_m, north_m = float(fields[0]), float(fields[1])
        zone = int(fields[2]) if fields[2] else 0
    except ValueError:
        return None
    if not (math.isfinite(east_m) and math.isfinite(north_m)):
        return None
    if fields[2] and not 1 <= zone <= 60:
        return None
    letter = fields[3].upper()
    lat, lon = _number(fields[4]), _number(fields[5])
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        lat = lon = math.nan
    return VprName(
        east_m,
        north_m,
        zone,
        letter if letter in _BANDS else "",
        lat,
        lon,
        fields[6],
        _number(fields[8]),
        fields[12],
        "@".join(fields[13:]),
    )


def parse_gsv_name(name: str) -> GsvName | None:
    """Read a GSV-Cities name; None for a name of another form.

    The name is ``City_0000123_YYYY_MM_NNN_lat_lon_panoid.JPG``; the city and the panorama's id
    may contain underscores. Source: the GSV-Cities dataset's own loader.
    """
    match = _GSV_NAME.fullmatch(name)
    if match is None:
        return None
    city, place, year, month, north, lat, lon, panoid = match.groups()
    if not (abs(float(lat)) <= 90 and abs(float(lon)) <= 180):
        return None
    return GsvName(city, place, int(year), int(month), float(north), float(lat), float(lon), panoid)


@lru_cache(maxsize=4096)
def iso_time(timestamp: str) -> str | None:
    """Return a time as ISO 8601 to the precision it has, or None if it is no time.

    "2017" and "201712" become "2017" and "2017-12"; "20171224_101112" and EXIF's
    "2017:12:24 10:11:12" become "2017-12-24T10:11:12". Such texts sort by time.
    """
    match = _TIMESTAMP.fullmatch(timestamp.strip())
    if match is None:
        return None
    date = "-".join(part for part in match.group("year", "month", "day") if part)
    clock = ":".join(part for part in match.group("hour", "minute", "second") if part)
    return f"{date}T{clock}" if clock else date


def _number(text: str) -> float:
    """Return the finite number that ``text`` is, else NaN."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
