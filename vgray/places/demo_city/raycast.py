"""Finds which wall, or the ground, each ray meets first.

Walls are upright, so which of them a ray can meet depends on its ``across`` alone. A table over
finely spaced values of ``across`` holds the nearest walls in order of depth; each ray looks up its
entry and computes exact depths only for walls of that short list.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.camera import Camera
from vgray.places.demo_city.scene import Scene

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
_LAYERS = 6
_NONE = -1
_EDGE = np.float32(1e-3)  # metres
_FAR = np.float32(1e9)
SKY, GROUND, WALL = 0, 1, 2


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


def _layer_table(plane: _Planes, across: Floats) -> NDArray[np.intp]:
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
