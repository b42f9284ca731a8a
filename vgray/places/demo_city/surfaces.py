"""What the rays see: walls with their facades and lit windows, the ground, the sky.

Facades are painted once and looked up in an atlas: one flat array of all the walls in view, each
with its smaller copies.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.buildings import Building
from vgray.places.demo_city.camera import Camera, Hits
from vgray.places.demo_city.facades import facade, fence, side_wall
from vgray.places.demo_city.hashing import Bools, Floats, Ints, noise_tile, smooth_noise
from vgray.places.demo_city.light import Conditions, Illumination, as_column, phase
from vgray.places.demo_city.scene import Scene
from vgray.places.demo_city.streets import EASTWARD, FENCE, NORTHWARD, SIDE_WALL

_LEVELS = 5
_Copies = tuple[NDArray[np.uint32], tuple[tuple[int, int], ...]]
_WINDOW_LIGHT = as_column((1.15, 0.85, 0.50))
_STONE = as_column((1.0, 0.98, 0.94))
_GRASS = as_column((0.07, 0.10, 0.04))


class Atlas:
    """Colours of the walls ``used`` (indices into the scene's walls) as they were in ``year``.

    Distant walls are read from copies of half, a quarter, ... the size, so that windows far down
    the street blend instead of flickering.
    """

    def __init__(self, scene: Scene, used: Ints, year: int, texels_per_m: float) -> None:
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
        wall: Ints,
        u_m: Floats,
        z_m: Floats,
        footprint_m: Floats,
    ) -> tuple[Floats, Floats]:
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


def wall_radiance(
    light: Illumination,
    atlas: Atlas,
    camera: Camera,
    hits: Hits,
    at: Ints,
    points: tuple[Floats, Floats],
    ray_m: float,
) -> Floats:
    """Return the radiance (3, N) of the rays ``at`` (N,) that meet walls at ``points`` (x, y).

    ``ray_m`` is how wide a ray is after one metre.
    """
    scene, conditions = light.scene, light.conditions
    wall, u, z, depth = hits.wall[at], hits.u_m[at], hits.z_m[at], hits.depth_m[at]
    along = scene.end_m - scene.start_m
    normal = np.stack([along[:, 1], -along[:, 0]]) / np.hypot(*along.T)
    sun = light.sun_direction
    facing_sun = (normal[0] * sun[0] + normal[1] * sun[1]).take(wall)
    # How squarely each wall is seen sets how much of it one ray covers.
    offset = normal[0] * (scene.start_m[:, 0] - np.float32(camera.x_m))
    offset += normal[1] * (scene.start_m[:, 1] - np.float32(camera.y_m))
    squarely = np.clip(np.abs(offset).take(wall) / depth, 0.05, 1.0)
    albedo, glass = atlas.look_up(wall, u, z, depth * np.float32(ray_m) / np.sqrt(squarely))
    openness = np.minimum(np.float32(0.45) + z * np.float32(0.045), 1)
    radiance = light.at(points[0], points[1], z, facing_sun, openness)
    radiance *= albedo
    mirrored = glass * (np.float32(0.07) + np.float32(0.006) * z)
    radiance += mirrored * as_column(conditions.horizon)
    if conditions.lit_share > 0.03:
        glow = _lit_windows(light, wall, u, z) * glass
        strength = np.float32(0.35 if conditions.lamps < 0.3 else 0.6)
        radiance += glow * (strength * _WINDOW_LIGHT)
    return radiance


def _lit_windows(light: Illumination, wall: Ints, u: Floats, z: Floats) -> Floats:
    """Return how bright the room behind each point of a wall is: 0 for a dark one."""
    scene, conditions = light.scene, light.conditions
    rooms = scene.rooms
    above = z - rooms.ground_m.take(wall)
    in_shop = (above < 0) & rooms.shop.take(wall)
    floor = np.floor(above / rooms.storey_m.take(wall)).astype(np.int32).astype(np.uint32)
    window = (u / rooms.bay_m.take(wall)).astype(np.uint32)
    window[in_shop] = 0  # a shop is lit as a whole
    # A hash of house, photograph, floor and window: nobody keeps a list of who is at home.
    bits = (rooms.key ^ np.uint32(conditions.photo_key & 0xFFFFFFFF)).take(wall)
    bits ^= window * np.uint32(73856093) ^ floor * np.uint32(19349663)
    bits *= np.uint32(2654435761)
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(2246822519)
    chance = (bits >> np.uint32(8)).astype(np.float32) * np.float32(1 / (1 << 24))
    share = np.where(in_shop, np.float32(0.75), np.float32(conditions.lit_share))
    return np.where(chance < share, np.float32(0.5) + chance / share, np.float32(0))


class _Nearest(NamedTuple):
    """Metres from the nearest street of one direction: from its axis, its kerb and its houses.

    The last two are negative between the kerbs and between the rows of houses.
    """

    axis_m: Floats
    kerb_m: Floats
    houses_m: Floats


def ground_radiance(
    light: Illumination, camera: Camera, depth: Floats, points: tuple[Floats, Floats], ray_m: float
) -> Floats:
    """Return the radiance (3, N) of rays that meet the ground at ``points`` (x, y).

    They do so after ``depth`` metres; ``ray_m`` is how wide a ray is after one metre.
    """
    conditions = light.conditions
    x, y = points
    footprint = np.square(depth) * np.float32(ray_m / camera.height_m)
    tile = noise_tile()
    coarse = smooth_noise(x * 2.7, y * 2.7)
    fine = tile[(y * 23.0).astype(np.intp) & 255, (x * 23.0).astype(np.intp) & 255]
    # Fine grain fades out where one ray covers many grains.
    grain = (fine - 0.5) / (2 + footprint * 24) + coarse * 0.4 + 0.8
    tone, on_road, on_street = _tone(light.scene, x, y, footprint)
    albedo = (tone * grain) * _STONE
    behind = np.flatnonzero(~on_street)
    albedo[:, behind] = grain[behind] * _GRASS
    if conditions.snow:
        cover = np.where(on_road, np.float32(0.55), 1) * np.clip(coarse * 3.0 - 0.7, 0, 1)
        albedo += (np.float32(0.75) - albedo) * cover
    up = np.full(x.shape, light.sun_direction[2], np.float32)
    radiance = light.at(x, y, np.zeros_like(x), up, np.full(x.shape, 0.8, np.float32))
    radiance *= albedo
    if conditions.wet:
        # A wet road mirrors what is near the horizon, the more so the flatter it is looked at.
        grazing = np.exp(-4.0 * camera.height_m / np.maximum(depth, 0.5)) * (0.25 + 0.5 * coarse)
        mirrored = as_column(conditions.horizon) * 0.45 + light.lamps * 0.25
        radiance *= np.float32(0.65)
        radiance += grazing * mirrored
    return radiance


def _tone(scene: Scene, x: Floats, y: Floats, footprint: Floats) -> tuple[Floats, Bools, Bools]:
    """Return how light the ground is (0 to 1), where it is road, and where it is street at all."""
    north, east = _nearest(scene, NORTHWARD, x), _nearest(scene, EASTWARD, y)
    on_road = np.minimum(north.kerb_m, east.kerb_m) < 0
    on_street = np.minimum(north.houses_m, east.houses_m) < 0
    crossing = np.maximum(north.kerb_m, east.kerb_m) < 0
    tone = np.where(on_road, np.float32(0.085 * scene.street.paving), np.float32(0.21))
    slabs = (phase(x, 1.5) < 0.1) | (phase(y, 1.5) < 0.1)
    tone[slabs & ~on_road & (footprint < 0.25)] *= np.float32(0.75)
    painted = np.flatnonzero(_markings(scene, x, y, north, east) & on_road & ~crossing)
    tone[painted] = 0.25 + 0.3 / (1 + 2 * footprint[painted])
    from_kerb = np.minimum(np.abs(north.kerb_m), np.abs(east.kerb_m))
    tone[(from_kerb < 0.16 + 0.2 * footprint) & ~crossing & on_street] = 0.30
    return tone, on_road, on_street


def _nearest(scene: Scene, direction: int, coordinate: Floats) -> _Nearest:
    axes = scene.axes_m[direction]
    nearest = np.searchsorted(0.5 * (axes[1:] + axes[:-1]), coordinate)
    road = np.array([s.half_road_m for s in scene.streets[direction]], np.float32)
    width = np.array([s.half_width_m for s in scene.streets[direction]], np.float32)
    axis_m = np.abs(coordinate - axes.take(nearest))
    return _Nearest(axis_m, axis_m - road.take(nearest), axis_m - width.take(nearest))


def _markings(scene: Scene, x: Floats, y: Floats, north: _Nearest, east: _Nearest) -> Bools:
    """Tell which points of a road are painted: dashes, parking lanes, zebra crossings."""
    if scene.direction == NORTHWARD:
        own, other, along, across = north, east, y, x
    else:
        own, other, along, across = east, north, x, y
    painted = np.abs(own.kerb_m + 2.1) < 0.07
    dash_m = scene.street.dash_m
    if dash_m:
        dashes = phase(along + scene.along_m % dash_m, dash_m) < dash_m / 2
        painted |= (own.axis_m < 0.09) & dashes
    painted &= other.kerb_m > 6.0
    painted |= (np.abs(other.kerb_m - 3.2) < 1.6) & (phase(across, 1.0) < 0.5)
    on_own = own.kerb_m < 0
    zebra = (np.abs(own.kerb_m - 3.2) < 1.6) & (phase(along, 1.0) < 0.5)
    return np.asarray(np.where(on_own, painted, zebra))


def sky(conditions: Conditions, camera: Camera, across: Floats, rise: Floats) -> Floats:
    """Return the radiance (3, N) of rays that meet nothing: haze, clouds, the sun's glare."""
    level = np.sqrt(1.0 + np.square(across))
    elevation = np.maximum(rise / level, 0.0)
    zenith, horizon = as_column(conditions.zenith), as_column(conditions.horizon)
    radiance = horizon + (1.0 - np.exp(elevation * -2.2)) * (zenith - horizon)
    heading = np.float32(np.deg2rad(camera.heading_deg))
    bearing = np.asarray(np.arctan(across) + heading, np.float32)
    scale = np.asarray(26.0 / (elevation + 0.12), np.float32)
    shift = np.float32(conditions.photo_key & 0xFFF)
    cloud = smooth_noise(np.sin(bearing) * scale + shift / 8, np.cos(bearing) * scale + shift)
    if conditions.cloud_cover >= 1.0:
        radiance *= 0.82 + 0.36 * cloud
    else:
        edge = 0.78 - 0.5 * conditions.cloud_cover
        share = np.clip((cloud - edge) * 3.5, 0.0, 0.95)
        bright = horizon * 1.1 + 0.25 * as_column(conditions.sun)
        radiance += share * (bright * (1.15 - 0.5 * cloud) - radiance)
    if conditions.sun[0] > 0.1:
        sun = conditions.sun_direction()
        towards = (
            np.sin(bearing) * sun[0] * level + np.cos(bearing) * sun[1] * level + rise * sun[2]
        ) / np.sqrt(np.square(level) + np.square(rise))
        glare = np.maximum(towards, 0.0)
        for _ in range(6):
            glare *= glare
        radiance += glare * (1.5 * as_column(conditions.sun))
    return np.asarray(radiance, np.float32)
