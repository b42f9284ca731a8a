"""One flat array of all the facades in view, each with its smaller copies, to look up colours."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.blocks import FENCE, SIDE_WALL
from vgray.places.demo_city.buildings import Building
from vgray.places.demo_city.facades import facade, fence, side_wall
from vgray.places.demo_city.scene import Scene

_LEVELS = 5
_Copies = tuple[NDArray[np.uint32], tuple[tuple[int, int], ...]]


class Atlas:
    """Colours of the walls ``used`` (indices into the scene's walls) as they were in ``year``.

    Distant walls are read from copies of half, a quarter, ... the size, so that windows far down
    the street blend instead of flickering.
    """

    def __init__(
        self, scene: Scene, used: NDArray[np.intp], year: int, texels_per_m: float
    ) -> None:
        self._texels_per_m = np.zeros(len(scene.walls), np.float32)
        self._slot = np.zeros(len(scene.walls), np.intp)
        self._slot[used] = np.arange(len(used))
        self._base = np.zeros((len(used), _LEVELS), np.intp)
        self._rows = np.zeros((len(used), _LEVELS), np.intp)
        self._columns = np.zeros((len(used), _LEVELS), np.intp)
        parts: list[NDArray[np.uint32]] = []
        filled = 0
        for slot, number in enumerate(used):
            coarsening = _coarsening(scene, int(number))
            detail = texels_per_m / coarsening
            # A shop so far away is too small for anyone to see that it changed hands.
            seen_in = year if coarsening == 1 else 0
            texels, sizes = _copies(scene, int(number), seen_in, detail)
            self._texels_per_m[number] = detail
            parts.append(texels)
            for level, (rows, columns) in enumerate(sizes):
                self._base[slot, level] = filled
                self._rows[slot, level], self._columns[slot, level] = rows, columns
                filled += rows * columns
        self._texels = np.concatenate(parts) if parts else np.zeros(1, np.uint32)

    def look_up(
        self,
        wall: NDArray[np.intp],
        u_m: NDArray[np.float32],
        z_m: NDArray[np.float32],
        footprint_m: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return reflectance (3, N) and share of glass (N,), from 0 to 1, at points of walls.

        ``footprint_m`` (N,) is how much of the wall one ray covers there.
        """
        texels_per_m = self._texels_per_m.take(wall)
        detail = footprint_m * texels_per_m
        level = np.zeros(len(wall), np.intp)
        for step in range(1, _LEVELS):
            level += detail > np.float32(1.4 * 2 ** (step - 1))
        entry = self._slot.take(wall)
        entry *= _LEVELS
        entry += level
        columns = self._columns.take(entry)
        column = (u_m * texels_per_m).astype(np.intp) >> level
        row = (z_m * texels_per_m).astype(np.intp) >> level
        np.minimum(column, columns - 1, out=column)
        np.minimum(row, self._rows.take(entry) - 1, out=row)
        row *= columns
        row += column
        row += self._base.take(entry)
        packed = self._texels.take(row)
        albedo = np.empty((3, len(packed)), np.float32)
        for channel in range(3):
            albedo[channel] = (packed >> np.uint32(8 * channel)) & np.uint32(255)
        albedo *= albedo  # the square is close to sRGB's curve, and cheap
        albedo *= np.float32(1 / 255**2)
        return albedo, (packed >> np.uint32(24)) * np.float32(1 / 255)


def _coarsening(scene: Scene, number: int) -> int:
    """Return how much coarser a wall may be painted because it is far from the place: 1, 2 or 4."""
    start, end = scene.start_m[number], scene.end_m[number]
    distance_m = min(float(np.hypot(*start)), float(np.hypot(*end)))
    return 1 if distance_m < 32 else 2 if distance_m < 75 else 4


def _copies(scene: Scene, number: int, year: int, texels_per_m: float) -> _Copies:
    wall = scene.walls[number]
    length = round(float(np.hypot(wall.end[0] - wall.start[0], wall.end[1] - wall.start[1])), 2)
    era = wall.building.era(year) if wall.side >= 0 else 0
    return _painted(wall.building, wall.side, length, round(wall.height_m, 2), era, texels_per_m)


@lru_cache(maxsize=320)
def _painted(
    building: Building, side: int, length_m: float, height_m: float, era: int, texels_per_m: float
) -> _Copies:
    """Return a wall's picture and its smaller copies, four bytes packed into each uint32."""
    if side == SIDE_WALL:
        picture = side_wall(building, height_m, length_m, texels_per_m)
    elif side == FENCE:
        picture = fence(building, height_m, length_m, texels_per_m)
    else:
        picture = facade(building, length_m, era, side, texels_per_m)
    copies = [picture]
    for _ in range(_LEVELS - 1):
        rows, columns = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        if rows and columns:
            whole = picture[:rows, :columns].astype(np.uint16)
            halves = whole[0::2] + whole[1::2]
            picture = ((halves[:, 0::2] + halves[:, 1::2] + 2) >> 2).astype(np.uint8)
        copies.append(picture)
    texels = np.concatenate([copy.reshape(-1, 4) for copy in copies]).view(np.uint32)[:, 0]
    return texels, tuple((copy.shape[0], copy.shape[1]) for copy in copies)
