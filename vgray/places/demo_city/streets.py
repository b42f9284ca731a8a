"""The street plan: an endless grid of streets that run north and east, each with its own width.

Coordinates are metres in the city (x east, y north). Street axes lie in the middle of the 10 m
cells that the VPR folder layout groups photographs by, so a place can be centred on its street.
"""

from dataclasses import dataclass
from functools import lru_cache

from vgray.places.demo_city.hashing import generator, unit

CELL_M = 10
PITCH_M = 140
NORTHWARD, EASTWARD = 0, 1


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
