"""The light that falls on a point of a scene: from the sky, the sun past the roofs, the lamps.

Colours of many rays are (3, N): numpy adds and multiplies long rows some twenty times as fast as
rows of three.
"""

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.light import Colour, Conditions
from vgray.places.demo_city.scene import REACH_M, Scene
from vgray.places.demo_city.streets import NORTHWARD

Floats = NDArray[np.float32]
LAMP_COLOUR = np.array([1.0, 0.72, 0.40], np.float32)


class Illumination:
    """The light in one scene under given conditions: sky light, sun with shadows, street lamps."""

    def __init__(self, scene: Scene, conditions: Conditions) -> None:
        self.scene, self.conditions = scene, conditions
        self.sun_direction = conditions.sun_direction()
        self.sun = column(conditions.sun)
        self.ambient = column(conditions.ambient)
        self.lamps = column(LAMP_COLOUR) * np.float32(conditions.lamps)

    def at(self, x: Floats, y: Floats, z: Floats, facing_sun: Floats, openness: Floats) -> Floats:
        """Return the light (3, N) that falls on points; all arguments are (N,).

        ``facing_sun`` is the cosine between surface normal and sun (negative: turned away),
        ``openness`` the share of the sky that the point sees.
        """
        light = openness * self.ambient
        if self.conditions.sun[0] > 0.1:
            lit = np.maximum(facing_sun, 0)
            lit[self._in_shadow(x, y, z)] = 0
            light += lit * self.sun
        if self.conditions.lamps:
            light += self._lamp_light(x, y, z) * self.lamps
        return light

    def _in_shadow(self, x: Floats, y: Floats, z: Floats) -> NDArray[np.bool_]:
        """Tell which points the houses of the place's own street keep the sun from."""
        scene, sun = self.scene, self.sun_direction
        across, along = (x, y) if scene.direction == NORTHWARD else (y, x)
        sun_across, sun_along = sun[:2] if scene.direction == NORTHWARD else sun[1::-1]
        if abs(sun_across) < 1e-3:
            return np.zeros(x.shape, np.bool_)
        side = int(sun_across > 0)
        facade = scene.axis_m + (1 if side else -1) * scene.street.half_width_m
        way = (facade - across) / sun_across  # metres along the sunbeam to the row of houses
        cell = (along + way * sun_along + REACH_M).astype(np.intp)
        np.clip(cell, 0, scene.skyline_m.shape[1] - 1, out=cell)
        roof_m = scene.skyline_m[side].take(cell)
        return np.asarray((way > 0.05) & (z + way * sun[2] < roof_m))

    def _lamp_light(self, x: Floats, y: Floats, z: Floats) -> Floats:
        scene = self.scene
        gap = scene.street.lamp_gap_m
        along = phase((y if scene.direction == NORTHWARD else x) + scene.along_m % gap, gap)
        nearest = np.minimum(along, gap - along)
        pool = 0.12 + 0.5 / (1.0 + np.square(nearest / 6.0))
        return np.asarray(pool * np.exp(np.maximum(z - 4.0, 0.0) * -0.28))


def column(colour: Colour | Floats) -> Floats:
    """Return a colour as a (3, 1) column, ready to be multiplied with rows of N."""
    return np.array(colour, np.float32)[:, None]


def phase(x: Floats, period: float) -> Floats:
    """Return ``x`` modulo ``period``; several times as fast as numpy's for float32."""
    return np.asarray(x - np.floor(x * np.float32(1 / period)) * np.float32(period))
