"""A pinhole camera: pixels to rays, points to pixels, and which wall or ground each ray meets.

Coordinates are metres: x east, y north, z up. A ray is kept as two numbers in the frame that is
turned to the camera's heading but stays upright: after going ``depth`` metres forward it has gone
``depth * across`` metres to the right and ``depth * rise`` metres up. Facades, cars and people
are upright too, so every intersection is a division.

Which of the walls a ray can meet depends on its ``across`` alone. A table over finely spaced
values of ``across`` holds the nearest walls in order of depth; each ray looks up its entry and
computes exact depths only for walls of that short list.
"""

from dataclasses import dataclass
from math import cos, radians, sin, tan

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.hashing import Floats, Ints
from vgray.places.demo_city.scene import Scene

_LAYERS = 6
_NONE = -1
_EDGE = np.float32(1e-3)  # metres
_FAR = np.float32(1e9)
SKY, GROUND, WALL = 0, 1, 2


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


@dataclass(frozen=True)
class Hits:
    """What each of N rays meets. ``depth_m`` is infinite for the sky.

    ``kind``: SKY, GROUND or WALL; ``wall``: index into the scene's walls; ``u_m``: metres from the
    wall's start; ``z_m``: height of the point. The last three mean nothing where no wall is met.
    """

    depth_m: Floats
    kind: NDArray[np.uint8]
    wall: Ints
    u_m: Floats
    z_m: Floats


def cast(scene: Scene, camera: Camera, across: Floats, rise: Floats) -> Hits:
    """Return what the rays (N,) of a camera meet in a scene."""
    plane = _Planes(scene, camera)
    low, high = float(across.min()) - 0.01, float(across.max()) + 0.01
    cells = 2 * int(np.sqrt(across.size)) + 128
    table = _layer_table(plane, np.linspace(low, high, cells, dtype=np.float32))
    cell = ((across - low) * np.float32((cells - 1) / (high - low)) + np.float32(0.5)).astype(
        np.intp
    )

    depth = np.full(across.shape, np.inf, np.float32)
    kind = np.zeros(across.shape, np.uint8)
    wall = np.zeros(across.shape, np.intp)
    u = np.zeros(across.shape, np.float32)
    height = np.zeros(across.shape, np.float32)
    # A ray that falls meets the ground unless a wall comes first.
    falling = np.flatnonzero(rise < -1e-4)
    depth[falling] = camera.height_m / -rise[falling]
    kind[falling] = GROUND
    pending: Ints = np.arange(across.size)
    some_gables = bool(plane.gabled.any())
    for layer in table:
        met = layer.take(cell)
        found = met != _NONE
        if not found.all():
            pending, met, cell = pending[found], met[found], cell[found]
        q = across.take(pending)
        d = plane.depth(met, q)
        z = d * rise.take(pending)
        z += np.float32(camera.height_m)
        top = scene.height_m.take(met)
        if some_gables:  # only a gable's top depends on where along the wall it is met
            gable = np.flatnonzero(plane.gabled.take(met))
            own = met[gable]
            top[gable] -= scene.gable_slope[own] * np.abs(
                plane.along(own, q[gable], d[gable]) - 0.5 * plane.length[own]
            )
        below = z <= top
        hit = np.flatnonzero(below & (z >= 0))
        at, here, d = pending.take(hit), met.take(hit), d.take(hit)
        depth[at], wall[at], height[at], kind[at] = d, here, z.take(hit), WALL
        u[at] = np.clip(plane.along(here, q.take(hit), d), 0, plane.length.take(here) - _EDGE)
        above = ~below  # over the top of this wall: try the next one
        pending, cell = pending[above], cell[above]
        if not pending.size:
            break
    return Hits(depth, kind, wall, u, height)


class _Planes:
    """The scene's walls in the camera's frame: (W,) float32 each, lengths in metres."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        self.right, self.forward = camera.to_frame(scene.start_m[:, 0], scene.start_m[:, 1])
        end_right, end_forward = camera.to_frame(scene.end_m[:, 0], scene.end_m[:, 1])
        along_right, along_forward = end_right - self.right, end_forward - self.forward
        self.length = np.hypot(along_right, along_forward)
        self.tangent_right = along_right / self.length
        self.tangent_forward = along_forward / self.length
        # In (right, forward) the outward normal is (tangent_forward, -tangent_right).
        self.normal_right = self.tangent_forward
        self.normal_forward = -self.tangent_right
        self.offset = self.normal_right * self.right + self.normal_forward * self.forward
        self.gabled = scene.gable_slope > 0
        self.ahead = (self.offset < -0.05) & (np.maximum(self.forward, end_forward) > 0.2)

        self._end_right, self._end_forward = end_right, end_forward

        # depth = 1 / (a * across + b), and along = depth * (c * across + d) - e
        # A wall whose plane holds the camera has an offset of 0; it is not ahead, and never asked.
        with np.errstate(divide="ignore", invalid="ignore"):
            self._a = self.normal_right / self.offset
            self._b = self.normal_forward / self.offset
        self._begin = self.right * self.tangent_right + self.forward * self.tangent_forward

    def depth(self, wall: Ints, across: Floats) -> Floats:
        """Return the depth at which rays meet the planes of their walls: (N,) metres."""
        return np.asarray(1 / (self._a.take(wall) * across + self._b.take(wall)), np.float32)

    def along(self, wall: Ints, across: Floats, depth: Floats) -> Floats:
        """Return how far from their start walls are met by rays at some depth: (N,) metres."""
        towards = self.tangent_right.take(wall) * across + self.tangent_forward.take(wall)
        return np.asarray(depth * towards - self._begin.take(wall), np.float32)

    def within(self, low: float, high: float) -> Ints:
        """Return the walls that may be met by rays with ``across`` from ``low`` to ``high``."""
        # A wall that begins behind the camera is kept: its share of the view is not a ratio.
        behind = np.minimum(self.forward, self._end_forward) < 0.2
        start = self.right / np.maximum(self.forward, 0.2)
        end = self._end_right / np.maximum(self._end_forward, 0.2)
        inside = (np.maximum(start, end) > low) & (np.minimum(start, end) < high)
        return np.flatnonzero(self.ahead & (behind | inside))


def _layer_table(plane: _Planes, across: Floats) -> Ints:
    """Return the nearest walls over each of C values of ``across``: (layers, C), -1 for none."""
    walls = plane.within(float(across[0]), float(across[-1]))
    right, forward = plane.right[walls], plane.forward[walls]
    q = across[:, None]
    slope = q * plane.normal_right[walls] + plane.normal_forward[walls]
    np.minimum(
        slope, np.float32(-1e-6), out=slope
    )  # walls seen from behind: far outside their ends
    depth = plane.offset[walls] / slope
    along = (depth * q - right) * plane.tangent_right[walls]
    along += (depth - forward) * plane.tangent_forward[walls]
    depth[(along < 0) | (along > plane.length[walls])] = _FAR
    layers = min(_LAYERS, len(walls))
    if not layers:
        return np.full((1, len(across)), _NONE, np.intp)
    nearest = np.argsort(depth, axis=1)[:, :layers]
    table = walls[nearest]
    table[np.take_along_axis(depth, nearest, axis=1) >= _FAR] = _NONE
    return np.ascontiguousarray(table.T)
