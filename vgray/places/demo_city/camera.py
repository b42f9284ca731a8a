"""A pinhole camera: pixels to rays, and points to pixels.

Coordinates are metres: x east, y north, z up. A ray is kept as two numbers in the frame that is
turned to the camera's heading but stays upright: after going ``depth`` metres forward it has gone
``depth * across`` metres to the right and ``depth * rise`` metres up. Facades, cars and people
are upright too, so every intersection is a division.
"""

from dataclasses import dataclass
from math import cos, radians, sin, tan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """Where a photograph is taken from and how the camera is held.

    ``heading_deg`` is clockwise from north; positive ``pitch_deg`` looks up; positive ``roll_deg``
    turns the camera clockwise; ``fov_deg`` is the horizontal field of view.
    """

    x_m: float
    y_m: float
    height_m: float
    heading_deg: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    fov_deg: float = 80.0

    def focal_px(self, width: int) -> float:
        """Return the focal length in pixels of an image that is ``width`` pixels wide."""
        return 0.5 * width / tan(radians(self.fov_deg) / 2)

    def rays(self, width: int, height: int) -> tuple[Floats, Floats]:
        """Return ``across`` and ``rise`` of the rays through the pixel centres: (H, W) each."""
        focal = self.focal_px(width)
        right = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / focal)[None, :]
        up = ((height / 2 - 0.5 - np.arange(height, dtype=np.float32)) / focal)[:, None]
        roll, pitch = radians(self.roll_deg), radians(self.pitch_deg)
        level_right = right * cos(roll) + up * sin(roll)
        level_up = up * cos(roll) - right * sin(roll)
        forward = cos(pitch) - level_up * sin(pitch)
        across = level_right / forward
        rise = (sin(pitch) + level_up * cos(pitch)) / forward
        return across.astype(np.float32), rise.astype(np.float32)

    def to_frame(
        self, x_m: NDArray[np.floating], y_m: NDArray[np.floating]
    ) -> tuple[Floats, Floats]:
        """Return how far points lie to the right of the camera and in front of it, in metres."""
        heading = radians(self.heading_deg)
        east, north = x_m - self.x_m, y_m - self.y_m
        right = east * cos(heading) - north * sin(heading)
        forward = east * sin(heading) + north * cos(heading)
        return right.astype(np.float32), forward.astype(np.float32)

    def points(self, across: Floats, depth_m: Floats) -> tuple[Floats, Floats]:
        """Return x and y (N,) of the points that rays reach after ``depth_m`` metres forward."""
        heading = radians(self.heading_deg)
        sine, cosine = np.float32(sin(heading)), np.float32(cos(heading))
        x = depth_m * (across * cosine + sine) + np.float32(self.x_m)
        y = depth_m * (cosine - across * sine) + np.float32(self.y_m)
        return x, y

    def project(
        self,
        right_m: NDArray[np.floating],
        forward_m: NDArray[np.floating],
        z_m: NDArray[np.floating],
        width: int,
        height: int,
    ) -> tuple[Floats, Floats]:
        """Return column and row (pixels, fractional) of points given in the camera's frame.

        Only meaningful for points in front of the camera; the inverse of :meth:`rays`.
        """
        focal = self.focal_px(width)
        roll, pitch = radians(self.roll_deg), radians(self.pitch_deg)
        up_m = z_m - self.height_m
        depth = np.maximum(forward_m * cos(pitch) + up_m * sin(pitch), 1e-3)
        level_right = right_m / depth
        level_up = (up_m * cos(pitch) - forward_m * sin(pitch)) / depth
        right = level_right * cos(roll) - level_up * sin(roll)
        up = level_up * cos(roll) + level_right * sin(roll)
        column = width / 2 + focal * right
        row = height / 2 - focal * up
        return column.astype(np.float32), row.astype(np.float32)
