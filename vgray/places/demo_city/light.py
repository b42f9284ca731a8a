"""The light, the weather and the season of one photograph."""

from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
DAY, DUSK, NIGHT = "day", "dusk", "night"


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

    def sun_direction(self) -> NDArray[np.float32]:
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
