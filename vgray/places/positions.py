"""Degrees to UTM metres and back, and the cell that makes a place of positions."""

import re

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_ZONE = re.compile(r"(\d{1,2})([NS])")
_CELL_M = 10  # CosPlace's M
_HEADING_DEG = 30  # CosPlace's alpha
# A zone is 6 degrees wide. Stretched by this much on either side its scale is wrong by less than
# 0.2 % (5 cm in 25 m), and a city on the border between two zones keeps one system of metres.
_STRETCH_DEG = 1.5
_SAME_POINT_M = 50  # degrees are sometimes written with three digits only


def zone_of(lat: float, lon: float) -> str:
    """Return the UTM zone of a position as number and hemisphere, such as "10N" or "56S".

    The exceptions of Norway and Svalbard are not applied: zones here only have to be the same
    for positions that are compared.
    """
    number = min(int((lon + 180) // 6) + 1, 60)
    return f"{number}{'N' if lat >= 0 else 'S'}"


def to_utm(lat: Floats, lon: Floats, zone: str) -> tuple[Floats, Floats]:
    """Return east and north in metres of positions in degrees; all arrays (N,)."""
    east, north = _transformer(zone).transform(lon, lat)
    return np.asarray(east, np.float64), np.asarray(north, np.float64)


def to_latlon(east_m: Floats, north_m: Floats, zone: str) -> tuple[Floats, Floats]:
    """Return latitude and longitude in degrees of positions in metres; all arrays (N,)."""
    lon, lat = _transformer(zone).transform(east_m, north_m, direction="INVERSE")
    return np.asarray(lat, np.float64), np.asarray(lon, np.float64)


def choose_zones(lat: Floats, lon: Floats, groups: NDArray[np.str_]) -> NDArray[np.object_]:
    """Return the UTM zone in which to write each position; all arrays (N,).

    Positions of one group (a data set, a city) share the zone of the group's median where that
    zone reaches them all with 1.5 degrees to spare, so that a city on a border has one zone.
    Groups that spread further get the zone of each position.
    """
    zones = np.empty(len(lat), object)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        common = zone_of(float(np.median(lat[rows])), float(np.median(lon[rows])))
        central = 6 * int(common[:-1]) - 183
        if np.all(np.abs(lon[rows] - central) <= 3 + _STRETCH_DEG) and np.ptp(lat[rows]) <= 9:
            zones[rows] = common
        else:
            zones[rows] = [zone_of(a, b) for a, b in zip(lat[rows], lon[rows], strict=True)]
    return zones


def complete(
    lat: Floats,
    lon: Floats,
    east_m: Floats,
    north_m: Floats,
    zones: NDArray[np.object_],
    groups: NDArray[np.str_],
) -> None:
    """Fill, in place, the metres that are NaN from the degrees and the degrees from the metres.

    All arrays are (N,). Degrees stay NaN where the zone or its hemisphere is unknown; a position
    that has degrees but neither metres nor a zone gets one from ``choose_zones``, and one that has
    both but no zone gets the zone in which they are the same point.
    """
    has_degrees = ~np.isnan(lat) & ~np.isnan(lon)
    has_metres = ~np.isnan(east_m) & ~np.isnan(north_m)
    known = np.array([_ZONE.fullmatch(zone) is not None for zone in zones], bool)
    rows = np.flatnonzero(has_degrees & ~has_metres & ~known)
    if len(rows):
        zones[rows] = choose_zones(lat[rows], lon[rows], groups[rows])
        known[rows] = True
    rows = np.flatnonzero(has_degrees & has_metres & ~known)
    if len(rows):
        zones[rows] = _matching_zones(
            lat[rows], lon[rows], east_m[rows], north_m[rows], zones[rows]
        )
    for zone in sorted(set(zones[known])):
        here = known & (zones == zone)
        rows = np.flatnonzero(here & has_degrees & ~has_metres)
        if len(rows):
            east_m[rows], north_m[rows] = to_utm(lat[rows], lon[rows], zone)
        rows = np.flatnonzero(here & has_metres & ~has_degrees)
        if len(rows):
            degrees = np.array(to_latlon(east_m[rows], north_m[rows], zone))
            # Metres that lie outside the zone come back as inf: unknown, not a position.
            degrees[:, ~np.isfinite(degrees).all(axis=0)] = np.nan
            lat[rows], lon[rows] = degrees


def _matching_zones(
    lat: Floats, lon: Floats, east_m: Floats, north_m: Floats, zones: NDArray[np.object_]
) -> NDArray[np.object_]:
    """Return the zones in which degrees and metres agree, or ``zones`` where none is; all (N,)."""
    found = zones.copy()
    own = np.minimum((lon + 180) // 6, 59).astype(np.int64)
    for step in (0, -1, 1):  # the zone of the degrees, else a neighbour, as on a border
        for number in np.unique(own):
            name = str((number + step) % 60 + 1)
            for hemisphere, here in (("N", lat >= 0), ("S", lat < 0)):
                rows = np.flatnonzero(
                    here & (own == number) & (found == zones) & ((zones == "") | (zones == name))
                )
                if len(rows):
                    east, north = to_utm(lat[rows], lon[rows], name + hemisphere)
                    same = np.hypot(east - east_m[rows], north - north_m[rows]) <= _SAME_POINT_M
                    found[rows[same]] = name + hemisphere
    return found


def cell_places(
    zones: NDArray[np.object_], east_m: Floats, north_m: Floats, heading_deg: NDArray[np.floating]
) -> list[str]:
    """Return the place of each image: its 10 m cell and, with a heading, its 30 degree class.

    Class 0 looks within 15 degrees of north. Without a heading (NaN) the class is left out. The
    sizes are CosPlace's M = 10 and alpha = 30.
    """
    easts = np.floor(east_m / _CELL_M).astype(np.int64).tolist()
    norths = np.floor(north_m / _CELL_M).astype(np.int64).tolist()
    # In double precision: a heading of -1e-9 in single precision would round up to class 12.
    turned = (heading_deg.astype(np.float64) + _HEADING_DEG / 2) % 360
    classes = np.floor(np.nan_to_num(turned, nan=-1.0) / _HEADING_DEG).astype(np.int64).tolist()
    return [
        f"{zone}_{east}_{north}" if heading < 0 else f"{zone}_{east}_{north}_{heading}"
        for zone, east, north, heading in zip(zones, easts, norths, classes, strict=True)
    ]


def _transformer(zone: str):  # type: ignore[no-untyped-def]  # imported late: pyproj takes 0.2 s
    from pyproj import Transformer

    match = _ZONE.fullmatch(zone)
    if match is None or not 1 <= int(match[1]) <= 60:
        raise ValueError(f"a UTM zone is a number and N or S, such as 10N: {zone!r}")
    base = 32600 if match[2] == "N" else 32700
    return Transformer.from_crs(4326, base + int(match[1]), always_xy=True)
