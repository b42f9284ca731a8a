"""Renders one photograph: rays, what they meet, the light it sends, what the sensor makes of it."""

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.camera import GROUND, SKY, WALL, Camera, cast
from vgray.places.demo_city.canvas import Canvas
from vgray.places.demo_city.figures import draw_street
from vgray.places.demo_city.hashing import Floats, generator
from vgray.places.demo_city.light import Conditions, Illumination, as_column
from vgray.places.demo_city.scene import Scene
from vgray.places.demo_city.surfaces import Atlas, ground_radiance, sky, wall_radiance


def photograph(
    scene: Scene, camera: Camera, conditions: Conditions, year: int, width: int, height: int
) -> NDArray[np.uint8]:
    """Return the photograph (height, width, 3), sRGB, that ``camera`` takes in ``scene``.

    The camera's position is metres from the place's centre; ``year`` decides which shops there are.
    """
    # Four rays for each pixel, or edges would be jagged and thin things would come and go.
    fine = _radiance(scene, camera, conditions, year, 2 * width, 2 * height)
    rows = fine[:, 0::2] + fine[:, 1::2]
    return _develop(np.float32(0.25) * (rows[..., 0::2] + rows[..., 1::2]), conditions)


def _radiance(
    scene: Scene, camera: Camera, conditions: Conditions, year: int, width: int, height: int
) -> Floats:
    """Return the light that reaches the sensor: (3, height, width), linear RGB."""
    across, rise = camera.rays(width, height)
    q, s = across.ravel(), rise.ravel()
    hits = cast(scene, camera, q, s)
    ray_m = 1.0 / camera.focal_px(width)
    light = Illumination(scene, conditions)
    haze = as_column(conditions.horizon)
    radiance = np.empty((3, q.size), np.float32)
    for kind in (WALL, GROUND, SKY):
        at = np.flatnonzero(hits.kind == kind)
        if kind == SKY:
            radiance[:, at] = sky(conditions, camera, q.take(at), s.take(at))
            continue
        depth, across_at = hits.depth_m.take(at), q.take(at)
        points = camera.points(across_at, depth)
        if kind == WALL:
            # Fewer texels than rays close by, which the copies serve well farther away.
            texels_per_m = round(min(max(width / 34.0, 6.0), 28.0), 2)
            in_view = np.flatnonzero(np.bincount(hits.wall.take(at)))
            atlas = Atlas(scene, in_view, year, texels_per_m)
            seen = wall_radiance(light, atlas, camera, hits, at, points, ray_m)
        else:
            seen = ground_radiance(light, camera, depth, points, ray_m)
        way_m = depth * np.sqrt(1 + np.square(across_at))
        seen -= haze
        seen *= np.exp(way_m * np.float32(-1 / conditions.visibility_m))
        seen += haze
        radiance[:, at] = seen

    canvas = Canvas(
        camera,
        across,
        rise,
        radiance.reshape(3, height, width).transpose(1, 2, 0),
        hits.depth_m.reshape(height, width),
        haze[:, 0],
        conditions.visibility_m,
    )
    draw_street(canvas, scene, light)
    return radiance.reshape(3, height, width)


def _develop(radiance: Floats, conditions: Conditions) -> NDArray[np.uint8]:
    """Turn light (3, H, W) into sRGB bytes (H, W, 3): rain, exposure, white balance, noise."""
    height, width = radiance.shape[1:]
    rng = generator(conditions.photo_key, 61)
    brightness = max(float(radiance.mean()), 1e-4)
    if conditions.rain:
        radiance += _rain(rng, height, width) * np.float32(brightness)
    # An automatic exposure, off by some fraction of a stop as cameras are, and dimmer corners.
    gain = conditions.brightness * 2.0**conditions.exposure_ev / brightness
    right = np.square(np.linspace(-1, 1, width, dtype=np.float32))
    up = np.square(np.linspace(-1, 1, height, dtype=np.float32))
    radiance *= 1 - np.float32(0.10) * (right + up[:, None])
    radiance *= (np.float32(-0.95 * gain) * as_column(conditions.white_balance))[..., None]
    toned = 1 - np.exp(radiance)
    shot = rng.standard_normal(toned.shape, np.float32)
    shot *= np.sqrt(toned + np.float32(0.02))
    toned += shot * np.float32(2.0 * conditions.noise)
    # The square root is close to sRGB's curve, as for the facades.
    encoded = np.sqrt(np.clip(toned, 0, 1, out=toned))
    encoded *= 255
    encoded += np.float32(0.5)
    return np.ascontiguousarray(encoded.astype(np.uint8).transpose(1, 2, 0))


def _rain(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return thin slanted streaks (H, W)."""
    streaks = np.zeros((height, width), np.float32)
    length = max(height // 10, 3)
    count = height * width // 260
    rows, columns = rng.integers(0, height, count), rng.integers(0, width, count)
    strength = rng.uniform(0.05, 0.3, count).astype(np.float32)
    for step in range(length):
        streaks[(rows + step) % height, (columns + step // 4) % width] += strength
    return streaks
