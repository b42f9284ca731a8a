"""What colour walls are in the light that falls on them, and which windows are lit."""

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.atlas import Atlas
from vgray.places.demo_city.camera import Camera
from vgray.places.demo_city.illumination import Illumination, column
from vgray.places.demo_city.raycast import Hits

Floats = NDArray[np.float32]
_WINDOW_LIGHT = column((1.15, 0.85, 0.50))


def wall_radiance(
    light: Illumination,
    atlas: Atlas,
    camera: Camera,
    hits: Hits,
    at: NDArray[np.intp],
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
    radiance += mirrored * column(conditions.horizon)
    if conditions.lit_share > 0.03:
        glow = _lit_windows(light, wall, u, z) * glass
        strength = np.float32(0.35 if conditions.lamps < 0.3 else 0.6)
        radiance += glow * (strength * _WINDOW_LIGHT)
    return radiance


def _lit_windows(light: Illumination, wall: NDArray[np.intp], u: Floats, z: Floats) -> Floats:
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
