"""The walls, kerbs, trees and lamps around one place, with the place's centre as the origin."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.hashing import Bools, Floats, unit
from vgray.places.demo_city.streets import (
    EASTWARD,
    NORTHWARD,
    Street,
    Wall,
    block,
    index_near,
    street,
)

REACH_M = 240.0
_ROAM_M = 8.0  # how far from the centre a camera may stand


class Fixture(NamedTuple):
    """A tree or a lamp that stands by the kerb; ``x_m`` and ``y_m`` from the place's centre."""

    kind: str
    x_m: float
    y_m: float
    size: float
    key: int


class Rooms(NamedTuple):
    """What lies behind each of W walls, for the windows that are lit at night: (W,) each.

    ``bay_m`` is the width of a window with its share of the wall, ``key`` tells houses apart.
    """

    bay_m: Floats
    storey_m: Floats
    ground_m: Floats
    shop: Bools
    key: NDArray[np.uint32]


@dataclass(frozen=True)
class Scene:
    """What stands around a place. W walls; positions are metres from the place's centre.

    ``start_m``, ``end_m``: (W, 2); ``height_m``, ``gable_slope``: (W,). ``axes_m[d]`` are the axes
    of the streets of direction d, in rising order, and ``streets[d]`` the streets themselves.
    ``along_m`` is the centre's own coordinate along its street, in the city.
    ``skyline_m`` (2, 2 * REACH_M) is the height of the facades along the place's own street, metre
    by metre, on its left and right side looking north or east.
    """

    seed: int
    direction: int
    walls: tuple[Wall, ...]
    start_m: Floats
    end_m: Floats
    height_m: Floats
    gable_slope: Floats
    rooms: Rooms
    streets: tuple[tuple[Street, ...], tuple[Street, ...]]
    axes_m: tuple[Floats, Floats]
    axis_m: float
    along_m: float
    street: Street
    skyline_m: Floats
    fixtures: tuple[Fixture, ...]


def scene_around(seed: int, x_m: float, y_m: float, direction: int) -> Scene:
    """Return what surrounds the place at (x, y) in the city, on a street of ``direction``."""
    here = (index_near(x_m), index_near(y_m))
    walls: list[Wall] = []
    plans = []
    for east in range(here[0] - 2, here[0] + 2):
        for north in range(here[1] - 2, here[1] + 2):
            near = block(seed, east, north)
            walls += near.walls
            plans.append(near.plan_m)
    plan = np.concatenate(plans) - np.array([x_m, y_m, x_m, y_m])
    start, end = plan[:, :2], plan[:, 2:]
    along = end - start
    # The outward normal is (dy, -dx); a wall faces the place if the place lies on that side.
    facing = (-start[:, 0] * along[:, 1] + start[:, 1] * along[:, 0]) > -_ROAM_M * np.hypot(
        along[:, 0], along[:, 1]
    )
    near_enough = np.minimum(np.hypot(*start.T), np.hypot(*end.T)) < REACH_M
    chosen = np.flatnonzero(facing & near_enough)
    kept = tuple(walls[int(n)] for n in chosen)
    start, end = start[chosen].astype(np.float32), end[chosen].astype(np.float32)
    height = np.array([wall.height_m for wall in kept], np.float32)
    streets = tuple(
        tuple(street(seed, d, index) for index in range(here[d] - 2, here[d] + 3))
        for d in (NORTHWARD, EASTWARD)
    )
    centre = (x_m, y_m)
    axes = tuple(
        np.array([s.axis_m - centre[d] for s in streets[d]], np.float32)
        for d in (NORTHWARD, EASTWARD)
    )
    own = int(np.argmin(np.abs(axes[direction])))
    return Scene(
        seed=seed,
        direction=direction,
        walls=kept,
        start_m=start,
        end_m=end,
        height_m=height,
        gable_slope=np.array([wall.gable_slope for wall in kept], np.float32),
        rooms=_rooms(kept, start, end),
        streets=(streets[0], streets[1]),
        axes_m=(axes[0], axes[1]),
        axis_m=float(axes[direction][own]),
        along_m=centre[1 - direction],
        street=streets[direction][own],
        skyline_m=_skyline(start, end, height, direction, float(axes[direction][own])),
        fixtures=_fixtures(seed, streets, axes, centre),
    )


def _rooms(walls: tuple[Wall, ...], start: Floats, end: Floats) -> Rooms:
    houses = [wall.building for wall in walls]
    widths = np.hypot(*(end - start).T)
    bays = [width / h.bays(float(width)) for width, h in zip(widths, houses, strict=True)]
    return Rooms(
        np.array(bays, np.float32),
        np.array([h.storey_m for h in houses], np.float32),
        np.array([h.ground_m for h in houses], np.float32),
        np.array([h.ground_floor == "shop" for h in houses]),
        np.array([h.key & 0xFFFFFFFF for h in houses], np.uint32),
    )


def _skyline(start: Floats, end: Floats, height: Floats, direction: int, axis_m: float) -> Floats:
    skyline = np.zeros((2, int(2 * REACH_M)), np.float32)
    across, along = (0, 1) if direction == NORTHWARD else (1, 0)
    lined = (np.abs(start[:, across] - end[:, across]) < 0.01) & (
        np.abs(start[:, across] - axis_m) < 18.0
    )
    for wall in np.flatnonzero(lined):
        low, high = sorted((float(start[wall, along]), float(end[wall, along])))
        side = int(start[wall, across] > axis_m)
        span = slice(max(int(low + REACH_M), 0), max(int(high + REACH_M), 0))
        skyline[side, span] = np.maximum(skyline[side, span], height[wall])
    return skyline


def _fixtures(
    seed: int,
    streets: tuple[tuple[Street, ...], ...],
    axes: tuple[Floats, ...],
    centre: tuple[float, float],
) -> tuple[Fixture, ...]:
    """Trees and lamps along the kerbs, clear of the crossings."""
    fixtures = []
    for direction in (NORTHWARD, EASTWARD):
        crossings = axes[1 - direction]
        widths = np.array([s.half_width_m + 3.0 for s in streets[1 - direction]])
        origin = centre[1 - direction]
        for axis, own in zip(axes[direction], streets[direction], strict=True):
            if abs(axis) > 150.0:
                continue
            for kind, gap in (("tree", own.tree_gap_m), ("lamp", own.lamp_gap_m)):
                if not gap:
                    continue
                first, last = int((origin - 110) // gap), int((origin + 110) // gap)
                for number in range(first, last + 1):
                    along = number * gap - origin
                    if np.any(np.abs(crossings - along) < widths):
                        continue
                    for side in (-1, 1) if kind == "tree" else ((-1, 1)[number % 2],):
                        key = (seed, 41, direction, int(own.axis_m), number, side)
                        across = float(axis) + side * (own.half_road_m + 0.7)
                        x, y = (across, along) if direction == NORTHWARD else (along, across)
                        if kind == "tree" and unit(*key) < 0.2:
                            continue
                        fixtures.append(
                            Fixture(
                                kind, x, y, 0.75 + 0.5 * unit(*key, 1), int(unit(*key, 2) * 1e6)
                            )
                        )
    return tuple(fixtures)
