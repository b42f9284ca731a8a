"""The plan of the photographs: which places, in which split, from where, when, and their names.

Everything here is computed from a place's number, so a city of any size needs no list of it.
"""

import string
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

import numpy as np
from pyproj import Transformer

from vgray.places.demo_city.camera import Camera
from vgray.places.demo_city.hashing import generator, mix
from vgray.places.demo_city.light import DAY, DUSK, NIGHT
from vgray.places.demo_city.settings import CitySettings
from vgray.places.demo_city.streets import EASTWARD, NORTHWARD, street
from vgray.places.filenames import format_name

SPLITS = ("train", "val", "test")
UTM_ZONE, ZONE_LETTER = 32, "T"
# The city's origin lies in the Ligurian Sea, where there is no street to confuse it with.
ORIGIN_EAST_M, ORIGIN_NORTH_M = 440_000.0, 4_800_000.0
ROAM_M = 3.0  # photographs of a place are taken this far from its centre, within its 10 m cell
TURN_DEG = 9  # ... and turned this far from its heading, within its 30 degree class
# Places lie on the four kinds of street stretch of a block, so many metres past the crossing. Two
# per stretch keep 50 m from each other and from those around the corner.
_SPOTS = ((NORTHWARD, 40), (EASTWARD, 40), (NORTHWARD, 90), (EASTWARD, 90))
_FIRST_STREET = 16
_SPLIT_GAP = 3  # blocks left empty between the districts of two splits
# Headings relative to the street, in the 30 degree classes of the VPR folder layout: most look
# along it or obliquely at one side of it.
_TURNS_DEG = (0, 30, -30, 60, -60, 180, 150, -150)
_DATABASE_YEARS, _QUERY_YEARS = (2009, 2014), (2015, 2021)
_ID_LETTERS = string.ascii_letters + string.digits + "-_"


@dataclass(frozen=True)
class Place:
    """One place: ``x_m``, ``y_m`` are its centre in the city, ``direction`` its street's.

    ``queries`` and ``database`` count its photographs; a place without queries is a distractor.
    """

    number: int
    split: str
    x_m: float
    y_m: float
    direction: int
    heading_deg: int
    database: int
    queries: int


@dataclass(frozen=True)
class Shot:
    """One planned photograph; the camera's position is metres from the place's centre."""

    role: str
    camera: Camera
    year: int
    month: int
    time_of_day: str
    key: int
    name: str


def split_sizes(settings: CitySettings) -> dict[str, int]:
    """Return how many places with queries each split has: about 70, 20 and 10 %."""
    val = max(1, round(0.2 * settings.places))
    test = max(1, round(0.1 * settings.places))
    return {"train": settings.places - val - test, "val": val, "test": test}


def count_places(settings: CitySettings) -> int:
    """Return the number of places, distractors included."""
    sizes = split_sizes(settings)
    return sizes["train"] + 2 * sizes["val"] + 2 * sizes["test"]


def count_photos(settings: CitySettings) -> int:
    """Return the number of photographs of a city."""
    sizes = split_sizes(settings)
    distractors = sizes["val"] + sizes["test"]
    return settings.places * settings.images_per_place + distractors * _distractor_photos(settings)


def place(settings: CitySettings, number: int) -> Place:
    """Return place ``number``, 0 to count_places - 1.

    Each split has a square district of its own; in val and test every second place is a distractor.
    """
    sizes = split_sizes(settings)
    first_street, rest = _FIRST_STREET, number
    for split in SPLITS:
        own = sizes[split] * (1 if split == "train" else 2)
        side = ceil(sqrt(own / len(_SPOTS)))
        if rest < own:
            break
        rest -= own
        first_street += side + _SPLIT_GAP
    block, spot = divmod(rest, len(_SPOTS))
    east, north = first_street + block % side, _FIRST_STREET + block // side
    direction, offset = _SPOTS[spot]
    x = street(settings.seed, NORTHWARD, east).axis_m + offset * (direction == EASTWARD)
    y = street(settings.seed, EASTWARD, north).axis_m + offset * (direction == NORTHWARD)
    turn = _TURNS_DEG[mix(settings.seed, 31, number) % len(_TURNS_DEG)]
    distractor = split != "train" and mix(settings.seed, 32, rest // 2) % 2 == rest % 2
    images = settings.images_per_place
    return Place(
        number=number,
        split=split,
        x_m=x,
        y_m=y,
        direction=direction,
        heading_deg=((0 if direction == NORTHWARD else 90) + turn) % 360,
        database=_distractor_photos(settings) if distractor else (images + 1) // 2,
        queries=0 if distractor else images // 2,
    )


def shots(settings: CitySettings, at: Place) -> list[Shot]:
    """Return the photographs of a place: the database's, then the queries'."""
    planned = []
    for number in range(at.database + at.queries):
        role = "database" if number < at.database else "queries"
        planned.append(_shot(settings, at, role, number))
    return planned


def _distractor_photos(settings: CitySettings) -> int:
    return max(1, settings.images_per_place // 4)


def _shot(settings: CitySettings, at: Place, role: str, number: int) -> Shot:
    rng = generator(settings.seed, 33, at.number, number)
    east = round(ORIGIN_EAST_M + at.x_m + float(rng.uniform(-ROAM_M, ROAM_M)), 2)
    north = round(ORIGIN_NORTH_M + at.y_m + float(rng.uniform(-ROAM_M, ROAM_M)), 2)
    heading = (at.heading_deg + int(rng.integers(-TURN_DEG, TURN_DEG + 1))) % 360
    if role == "database":  # from a car with a mast, mostly by day
        height, tilt, roll = 2.5, float(rng.normal(3.0, 0.8)), float(rng.normal(0.0, 0.4))
        years, chances = _DATABASE_YEARS, (0.86, 0.10, 0.04)
    else:  # from a hand, in any light
        height, tilt, roll = 1.6, float(rng.normal(3.0, 1.5)), float(rng.normal(0.0, 1.5))
        years, chances = _QUERY_YEARS, (0.60, 0.22, 0.18)
    year, month = int(rng.integers(years[0], years[1] + 1)), int(rng.integers(1, 13))
    time_of_day = (DAY, DUSK, NIGHT)[int(rng.choice(3, p=chances))]
    tilt, roll = round(tilt, 1), round(roll, 1)
    camera = Camera(
        x_m=east - ORIGIN_EAST_M - at.x_m,
        y_m=north - ORIGIN_NORTH_M - at.y_m,
        height_m=height,
        heading_deg=heading,
        pitch_deg=tilt,
        roll_deg=roll,
        fov_deg=float(rng.uniform(77.0, 85.0)),
    )
    lon, lat = _to_degrees().transform(east, north)
    key = mix(settings.seed, 34, at.number, number)
    name = format_name(
        east_m=east,
        north_m=north,
        utm_zone=UTM_ZONE,
        zone_letter=ZONE_LETTER,
        lat=lat,
        lon=lon,
        pano="".join(_ID_LETTERS[n] for n in np.asarray(generator(key).integers(0, 64, 22))),
        heading_deg=heading,
        pitch=f"{tilt:.1f}",
        roll=f"{roll:.1f}",
        height=f"{height:.1f}",
        timestamp=f"{year}{month:02d}",
    )
    return Shot(role, camera, year, month, time_of_day, key, name)


@lru_cache(maxsize=1)
def _to_degrees() -> Transformer:
    return Transformer.from_crs(f"EPSG:{32600 + UTM_ZONE}", "EPSG:4326", always_xy=True)
