"""The light, the weather and the season of one photograph, and the light that falls on a point.

Colours of many rays are (3, N): numpy adds and multiplies long rows some twenty times as fast as
rows of three.
"""

from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np

from vgray.places.demo_city.buildings import Colour
from vgray.places.demo_city.hashing import Bools, Floats
from vgray.places.demo_city.scene import REACH_M, Scene
from vgray.places.demo_city.streets import NORTHWARD

DAY, DUSK, NIGHT = "day", "dusk", "night"
LAMP_COLOUR = np.array([1.0, 0.72, 0.40], np.float32)


@dataclass(frozen=True)
class Conditions:
    """Light and weather. Colours are linear RGB radiances where white paper in daylight is about 1.

    ``lit_share`` of the windows are lit; ``lamps`` is the brightness of the street lamps;
    ``visibility_m`` the distance at which haze has taken 63 % of the contrast. ``exposure_ev``
    (stops), ``white_balance`` and ``noise`` belong to the camera. ``photo_key`` seeds what moves.
    """

    photo_key: int
    month: int
    sun_azimuth_deg: float
    sun_elevation_deg: float
    sun: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    cloud_cover: float
    visibility_m: float
    rain: bool
    wet: bool
    snow: bool
    lit_share: float
    lamps: float
    brightness: float
    exposure_ev: float
    white_balance: Colour
    noise: float

    def sun_direction(self) -> Floats:
        """Return the unit vector towards the sun: east, north, up."""
        azimuth, elevation = radians(self.sun_azimuth_deg), radians(self.sun_elevation_deg)
        return np.array(
            [sin(azimuth) * cos(elevation), cos(azimuth) * cos(elevation), sin(elevation)],
            np.float32,
        )


def conditions(rng: np.random.Generator, time_of_day: str, month: int) -> Conditions:
    """Draw light, weather and camera settings for a photograph taken in ``month`` (1 to 12)."""
    overcast = bool(rng.random() < 0.38)
    rain = overcast and bool(rng.random() < 0.35)
    fog = bool(rng.random() < 0.05)
    snow = month in (12, 1, 2) and bool(rng.random() < 0.3)
    noon_deg = 44.0 + 22.0 * cos(2 * pi * (month - 6.5) / 12)  # the sun's height, at 46° north
    hour_angle = float(rng.uniform(-65, 65))
    sun, ambient, zenith, horizon, elevation, lit, lamps, target = _sky(
        rng, time_of_day, overcast, noon_deg * cos(radians(hour_angle))
    )
    if time_of_day == DUSK:
        hour_angle = float(rng.choice([-95.0, 95.0])) + float(rng.uniform(-15, 15))
    visibility = float(rng.uniform(60, 140)) if fog else float(rng.uniform(350, 1500))
    warmth = float(rng.normal(0.0, 0.08))
    return Conditions(
        photo_key=int(rng.integers(1 << 40)),
        month=month,
        sun_azimuth_deg=180.0 + hour_angle,
        sun_elevation_deg=elevation,
        sun=sun,
        ambient=ambient,
        zenith=zenith,
        horizon=horizon,
        cloud_cover=1.0 if overcast else float(rng.uniform(0.1, 0.65)),
        visibility_m=visibility * (0.5 if rain else 1.0),
        rain=rain,
        wet=rain or bool(rng.random() < 0.12),
        snow=snow and not rain,
        lit_share=lit,
        lamps=lamps,
        brightness=target,
        exposure_ev=float(rng.normal(0.0, 0.25)),
        white_balance=(1.0 + warmth, 1.0 + float(rng.normal(0, 0.025)), 1.0 - warmth),
        noise=float(rng.uniform(0.004, 0.016)) * (2.2 if time_of_day == NIGHT else 1.0),
    )


def _sky(
    rng: np.random.Generator, time_of_day: str, overcast: bool, noon_elevation: float
) -> tuple[Colour, Colour, Colour, Colour, float, float, float, float]:
    """Return sun, ambient, zenith, horizon, elevation, lit share, lamps and target brightness."""
    if time_of_day == NIGHT:
        glow = float(rng.uniform(0.6, 1.6))
        return (
            (0.0, 0.0, 0.0),
            (0.030 * glow, 0.030 * glow, 0.042 * glow),
            (0.008 * glow, 0.010 * glow, 0.022 * glow),
            (0.050 * glow, 0.040 * glow, 0.040 * glow),
            10.0,
            float(rng.uniform(0.12, 0.5)),
            float(rng.uniform(0.5, 1.1)),
            float(rng.uniform(0.13, 0.24)),
        )
    if time_of_day == DUSK:
        strength = 0.0 if overcast else float(rng.uniform(0.0, 0.9))
        red = float(rng.uniform(0.3, 1.0))
        return (
            (1.5 * strength, 0.80 * strength, 0.38 * strength),
            (0.26, 0.25, 0.33),
            (0.14, 0.19, 0.42),
            (0.50 + 0.45 * red, 0.48, 0.50 - 0.12 * red),
            float(rng.uniform(3.0, 9.0)),
            float(rng.uniform(0.1, 0.45)),
            float(rng.uniform(0.1, 0.5)),
            float(rng.uniform(0.24, 0.36)),
        )
    if overcast:
        grey = float(rng.uniform(0.75, 1.0))
        return (
            (0.05, 0.05, 0.05),
            (0.70 * grey, 0.73 * grey, 0.77 * grey),
            (0.72 * grey, 0.76 * grey, 0.82 * grey),
            (0.92 * grey, 0.94 * grey, 0.96 * grey),
            30.0,
            0.02,
            0.0,
            float(rng.uniform(0.36, 0.48)),
        )
    blue = float(rng.uniform(0.0, 1.0))
    return (
        (1.65, 1.50, 1.25),
        (0.36, 0.42, 0.52),
        (0.20 - 0.08 * blue, 0.38 - 0.08 * blue, 0.80),
        (0.78, 0.86, 0.95),
        max(noon_elevation, 12.0),
        0.02,
        0.0,
        float(rng.uniform(0.36, 0.50)),
    )


class Illumination:
    """The light in one scene under given conditions: sky light, sun with shadows, street lamps."""

    def __init__(self, scene: Scene, conditions: Conditions) -> None:
        self.scene, self.conditions = scene, conditions
        self.sun_direction = conditions.sun_direction()
        self.sun = as_column(conditions.sun)
        self.ambient = as_column(conditions.ambient)
        self.lamps = as_column(LAMP_COLOUR) * np.float32(conditions.lamps)

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

    def _in_shadow(self, x: Floats, y: Floats, z: Floats) -> Bools:
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


def as_column(colour: Colour | Floats) -> Floats:
    """Return a colour as a (3, 1) column, ready to be multiplied with rows of N."""
    return np.array(colour, np.float32)[:, None]


def phase(x: Floats, period: float) -> Floats:
    """Return ``x`` modulo ``period``; several times as fast as numpy's for float32."""
    return np.asarray(x - np.floor(x * np.float32(1 / period)) * np.float32(period))
