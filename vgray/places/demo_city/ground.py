"""What the ground looks like: roads with their markings, kerbs, pavements, grass, snow."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.camera import Camera
from vgray.places.demo_city.hashing import noise_tile, smooth_noise
from vgray.places.demo_city.illumination import Illumination, column, phase
from vgray.places.demo_city.scene import Scene
from vgray.places.demo_city.streets import EASTWARD, NORTHWARD

Floats = NDArray[np.float32]
_STONE = column((1.0, 0.98, 0.94))
_GRASS = column((0.07, 0.10, 0.04))


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
        mirrored = column(conditions.horizon) * 0.45 + light.lamps * 0.25
        radiance *= np.float32(0.65)
        radiance += grazing * mirrored
    return radiance


def _tone(
    scene: Scene, x: Floats, y: Floats, footprint: Floats
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
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


def _markings(
    scene: Scene, x: Floats, y: Floats, north: _Nearest, east: _Nearest
) -> NDArray[np.bool_]:
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
