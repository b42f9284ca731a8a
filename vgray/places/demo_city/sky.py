"""What colour the sky is."""

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.camera import Camera
from vgray.places.demo_city.hashing import smooth_noise
from vgray.places.demo_city.illumination import column
from vgray.places.demo_city.light import Conditions

Floats = NDArray[np.float32]


def sky(conditions: Conditions, camera: Camera, across: Floats, rise: Floats) -> Floats:
    """Return the radiance (3, N) of rays that meet nothing: haze, clouds, the sun's glare."""
    level = np.sqrt(1.0 + np.square(across))
    elevation = np.maximum(rise / level, 0.0)
    zenith, horizon = column(conditions.zenith), column(conditions.horizon)
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
        bright = horizon * 1.1 + 0.25 * column(conditions.sun)
        radiance += share * (bright * (1.15 - 0.5 * cloud) - radiance)
    if conditions.sun[0] > 0.1:
        sun = conditions.sun_direction()
        towards = (
            np.sin(bearing) * sun[0] * level + np.cos(bearing) * sun[1] * level + rise * sun[2]
        ) / np.sqrt(np.square(level) + np.square(rise))
        glare = np.maximum(towards, 0.0)
        for _ in range(6):
            glare *= glare
        radiance += glare * (1.5 * column(conditions.sun))
    return np.asarray(radiance, np.float32)
