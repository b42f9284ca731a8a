"""The street plan: an endless grid of streets, and the blocks of houses between them.

Coordinates are metres in the city (x east, y north). Street axes lie in the middle of the 10 m
cells that the VPR folder layout groups photographs by, so a place can be centred on its street.

Around each block stand lots side by side. Each lot has a facade towards its street; where two
neighbours differ in height or setback, the bare side wall of the one that stands out shows as
well. A wall is an upright rectangle over a segment of the plan, seen from the side where its start
is on the left.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.buildings import Building, building
from vgray.places.demo_city.hashing import generator, unit

CELL_M = 10
PITCH_M = 140
NORTHWARD, EASTWARD = 0, 1
SIDE_WALL, FENCE = -1, -2
_DEPTH_M = 12.0
_FENCE_M = 1.9


@dataclass(frozen=True)
class Street:
    """One street. Distances are metres from its axis; ``*_gap_m`` is the spacing along it.

    ``dash_m`` is the period of the dashed centre line (0: none); a gap of 0 means there are none.
    """

    axis_m: float
    half_width_m: float
    half_road_m: float
    dash_m: float
    tree_gap_m: float
    lamp_gap_m: float
    parked_share: float
    paving: float


@lru_cache(maxsize=512)
def street(seed: int, direction: int, index: int) -> Street:
    """Return street number ``index`` of those that run in ``direction`` (NORTHWARD, EASTWARD)."""
    shift = CELL_M * int(unit(seed, 11, direction, index) * 2)
    rng = generator(seed, 12, direction, index)
    half_width = float(rng.choice([7.0, 8.0, 9.0, 10.0, 12.0], p=[0.2, 0.25, 0.25, 0.2, 0.1]))
    return Street(
        axis_m=PITCH_M * index + shift + CELL_M / 2,
        half_width_m=half_width,
        half_road_m=half_width - float(rng.uniform(2.0, 3.2)),
        dash_m=float(rng.choice([0.0, 6.0, 9.0])),
        tree_gap_m=float(rng.uniform(9.0, 17.0)) if rng.random() < 0.45 else 0.0,
        lamp_gap_m=float(rng.uniform(22.0, 32.0)),
        parked_share=float(rng.uniform(0.1, 0.75)),
        paving=float(rng.uniform(0.75, 1.25)),
    )


def index_near(coordinate_m: float) -> int:
    """Return a street index whose axis is within about one pitch of ``coordinate_m``."""
    return round((coordinate_m - CELL_M) / PITCH_M)


class Wall(NamedTuple):
    """One upright wall; plan positions are metres in the city.

    A gable's top falls by ``gable_slope`` metres per metre from the middle. ``side`` is 0 to 3
    (south, east, north, west) for a street front, else SIDE_WALL or FENCE.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    height_m: float
    gable_slope: float
    side: int
    building: Building


@dataclass(frozen=True)
class Block:
    """The walls of a block, and their plan as (W, 4) float64: start x, start y, end x, end y."""

    walls: tuple[Wall, ...]
    plan_m: NDArray[np.float64]


class _Lot(NamedTuple):
    begin_m: float
    end_m: float
    building: Building
    height_m: float


@lru_cache(maxsize=192)
def block(seed: int, east: int, north: int) -> Block:
    """Return the block north-east of where northward street ``east`` meets eastward ``north``."""
    west_street, east_street = street(seed, NORTHWARD, east), street(seed, NORTHWARD, east + 1)
    south_street, north_street = street(seed, EASTWARD, north), street(seed, EASTWARD, north + 1)
    x0 = west_street.axis_m + west_street.half_width_m
    x1 = east_street.axis_m - east_street.half_width_m
    y0 = south_street.axis_m + south_street.half_width_m
    y1 = north_street.axis_m - north_street.half_width_m
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    fronts = generator(seed, 23, east, north).uniform(11.0, 16.0, 4)
    corner_houses = [building(seed, east, north, 900 + c, corner=True) for c in range(4)]
    walls: list[Wall] = []
    for side in range(4):
        here, there = corners[side], corners[(side + 1) % 4]
        length = float(np.hypot(*(there - here)))
        after = (side + 1) % 4
        lots = _lots(
            seed,
            east,
            north,
            side,
            length,
            (corner_houses[side], float(fronts[side])),
            (corner_houses[after], float(fronts[after])),
        )
        walls += _facades(lots, side, here, (there - here) / length)
        walls += _side_walls(lots, here, (there - here) / length)
    return Block(tuple(walls), np.array([(*wall.start, *wall.end) for wall in walls]))


def _lots(
    seed: int,
    east: int,
    north: int,
    side: int,
    length: float,
    first: tuple[Building, float],
    last: tuple[Building, float],
) -> list[_Lot]:
    """Divide one side of a block into lots, corner to corner."""
    rng = generator(seed, 24, east, north, side)
    lots = [_Lot(0.0, first[1], first[0], first[0].height_m)]
    cursor, stop = first[1], length - last[1]
    while stop - cursor > 1e-6:
        front = float(rng.uniform(6.5, 17.0))
        if stop - cursor - front < 6.5:
            front = stop - cursor
        house = building(seed, east, north, 100 * side + len(lots), corner=False)
        vacant = rng.random() < 0.07
        lots.append(_Lot(cursor, cursor + front, house, _FENCE_M if vacant else house.height_m))
        cursor += front
    lots.append(_Lot(stop, length, last[0], last[0].height_m))
    return lots


def _facades(
    lots: list[_Lot], side: int, corner: NDArray[np.float64], along: NDArray[np.float64]
) -> list[Wall]:
    inward = np.array([-along[1], along[0]])
    walls = []
    for lot in lots:
        start = corner + along * lot.begin_m + inward * lot.building.setback_m
        end = corner + along * lot.end_m + inward * lot.building.setback_m
        vacant = lot.height_m <= _FENCE_M
        gabled = lot.building.roof == "gable" and not vacant
        slope = 2 * lot.building.roof_m / (lot.end_m - lot.begin_m) if gabled else 0.0
        kind = FENCE if vacant else side
        walls.append(Wall(_point(start), _point(end), lot.height_m, slope, kind, lot.building))
    return walls


def _side_walls(
    lots: list[_Lot], corner: NDArray[np.float64], along: NDArray[np.float64]
) -> list[Wall]:
    inward = np.array([-along[1], along[0]])
    walls = []
    for left, right in pairwise(lots):
        foot = corner + along * left.end_m
        for own, other, facing in ((left, right, 1), (right, left, -1)):
            height = _shoulder_m(own)
            stands_out = own.building.setback_m < other.building.setback_m
            if height <= _FENCE_M or not (stands_out or height > _shoulder_m(other) + 0.3):
                continue
            front = foot + inward * own.building.setback_m
            back = foot + inward * _DEPTH_M
            # Seen from over the neighbour on the right (facing = 1), the front is on the left.
            start, end = (front, back) if facing == 1 else (back, front)
            walls.append(Wall(_point(start), _point(end), height, 0.0, SIDE_WALL, own.building))
    return walls


def _shoulder_m(lot: _Lot) -> float:
    """Height of a lot's building at its edge: the eaves, if it has a gable."""
    if lot.height_m > _FENCE_M and lot.building.roof == "gable":
        return lot.building.eaves_m
    return lot.height_m


def _point(xy: NDArray[np.float64]) -> tuple[float, float]:
    return (float(xy[0]), float(xy[1]))
