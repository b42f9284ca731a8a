"""The photograph in the making, and the upright cards that people and trees are drawn on."""

from dataclasses import dataclass
from math import ceil, cos, floor, radians, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.camera import Camera

Floats = NDArray[np.float32]
Window = tuple[slice, slice]


class Card(NamedTuple):
    """An upright card that faces the camera, as far as it is in the picture: (h, w) each.

    ``u_m`` and ``z_m`` are metres to the right of its middle and above the ground; ``free`` is
    where nothing stands before it.
    """

    window: Window
    depth_m: float
    u_m: Floats
    z_m: Floats
    free: NDArray[np.bool_]


@dataclass
class Canvas:
    """The picture so far: (H, W, 3) radiance, (H, W) depth, and the rays behind both.

    ``haze`` is the radiance that everything fades to within some ``visibility_m``.
    """

    camera: Camera
    across: Floats
    rise: Floats
    radiance: Floats
    depth_m: Floats
    haze: Floats
    visibility_m: float

    def frame(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Return how far a point lies to the right of the camera and in front of it."""
        heading = radians(self.camera.heading_deg)
        east, north = x_m - self.camera.x_m, y_m - self.camera.y_m
        sine, cosine = sin(heading), cos(heading)
        return east * cosine - north * sine, east * sine + north * cosine

    def window(self, feet: list[tuple[float, float]], low: float, high: float) -> Window | None:
        """Return the part of the picture that a prism over ``feet`` (right, forward) can cover.

        None if it covers none, or reaches behind the camera.
        """
        rows, columns = self.depth_m.shape
        focal = self.camera.focal_px(columns)
        roll, pitch = radians(self.camera.roll_deg), radians(self.camera.pitch_deg)
        sin_roll, cos_roll, sin_pitch, cos_pitch = sin(roll), cos(roll), sin(pitch), cos(pitch)
        left = top = float("inf")
        end = bottom = float("-inf")
        # Camera.project on a few numbers: arrays would cost more than they save.
        for right, forward in feet:
            if forward < 0.3:
                return None
            for z in (low, high):
                up = z - self.camera.height_m
                depth = forward * cos_pitch + up * sin_pitch
                if depth < 0.1:
                    return None
                level_right = right / depth
                level_up = (up * cos_pitch - forward * sin_pitch) / depth
                column = columns / 2 + focal * (level_right * cos_roll - level_up * sin_roll)
                row = rows / 2 - focal * (level_up * cos_roll + level_right * sin_roll)
                left, end = min(left, column), max(end, column)
                top, bottom = min(top, row), max(bottom, row)
        first_row, last_row = max(floor(top), 0), min(ceil(bottom) + 1, rows)
        first_column, last_column = max(floor(left), 0), min(ceil(end) + 1, columns)
        if first_row >= last_row or first_column >= last_column:
            return None
        return (slice(first_row, last_row), slice(first_column, last_column))

    def card(
        self, x_m: float, y_m: float, half_width: float, low: float, high: float
    ) -> Card | None:
        """Return an upright card at a point of the plan, None if nothing of it can be seen."""
        right, depth = self.frame(x_m, y_m)
        window = self.window([(right - half_width, depth), (right + half_width, depth)], low, high)
        if window is None:
            return None
        free = self.depth_m[window] > depth
        if not free.any():
            return None
        u = self.across[window] * np.float32(depth) - np.float32(right)
        z = self.rise[window] * np.float32(depth) + np.float32(self.camera.height_m)
        return Card(window, depth, u, z, free)

    def paint(
        self, window: Window, where: NDArray[np.bool_], radiance: Floats, depth_m: float
    ) -> None:
        """Set the radiance ((h, w, 3) or (3,)) of a part of the picture, seen through the haze."""
        clear = np.float32(np.exp(-depth_m / self.visibility_m))
        chosen = radiance[where] if radiance.ndim == 3 else radiance
        self.radiance[window][where] = chosen * clear + (1 - clear) * self.haze
