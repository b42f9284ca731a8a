"""The photograph in the making, upright cards to draw on it, and the vehicles in it.

A vehicle is one or two boxes, intersected with the rays that may meet them.
"""

from dataclasses import dataclass
from math import ceil, cos, floor, radians, sin
from typing import NamedTuple

import numpy as np

from vgray.places.demo_city.camera import Camera
from vgray.places.demo_city.hashing import Bools, Floats

Window = tuple[slice, slice]
_PAINTS = np.array(
    [(0.55, 0.55, 0.56), (0.03, 0.03, 0.035), (0.7, 0.7, 0.68), (0.25, 0.26, 0.28),
     (0.35, 0.03, 0.03), (0.04, 0.08, 0.25), (0.12, 0.13, 0.14), (0.4, 0.36, 0.26),
     (0.05, 0.16, 0.1), (0.6, 0.45, 0.05)],
    np.float32,
)  # fmt: skip
_TYRE = np.array([0.012, 0.013, 0.014], np.float32)
_PANE = np.array([0.05, 0.06, 0.07], np.float32)
_HEAD_LAMP = np.array([1.0, 0.95, 0.8], np.float32)
_TAIL_LAMP = np.array([0.6, 0.02, 0.02], np.float32)
# length, width, height in metres
_CAR, _VAN, _LORRY = (4.3, 1.75, 1.45), (5.1, 1.95, 2.2), (8.5, 2.4, 3.0)
_BONNET_M = 0.86


class Card(NamedTuple):
    """An upright card that faces the camera, as far as it is in the picture: (h, w) each.

    ``u_m`` and ``z_m`` are metres to the right of its middle and above the ground; ``free`` is
    where nothing stands before it.
    """

    window: Window
    depth_m: float
    u_m: Floats
    z_m: Floats
    free: Bools


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

    def paint(self, window: Window, where: Bools, radiance: Floats, depth_m: float) -> None:
        """Set the radiance ((h, w, 3) or (3,)) of a part of the picture, seen through the haze."""
        clear = np.float32(np.exp(-depth_m / self.visibility_m))
        chosen = radiance[where] if radiance.ndim == 3 else radiance
        self.radiance[window][where] = chosen * clear + (1 - clear) * self.haze


@dataclass(frozen=True)
class Vehicle:
    """One vehicle, its middle in metres from the place's centre.

    ``northward`` is true on streets that run north; ``forwards`` if it heads north or east.
    """

    x_m: float
    y_m: float
    northward: bool
    forwards: bool
    size_m: tuple[float, float, float]
    paint: Floats


class _Rays(NamedTuple):
    """Rays in a vehicle's own frame: along it, across it, up; ``origin`` is the camera."""

    origin: tuple[float, float, float]
    along: Floats
    across: Floats
    up: Floats


class _Met(NamedTuple):
    """Where rays meet a box: depth (infinite for a miss), which face, and the point."""

    depth_m: Floats
    top: Bools
    side: Bools
    along: Floats
    across: Floats
    up: Floats


def vehicle(
    rng: np.random.Generator, x_m: float, y_m: float, *, northward: bool, forwards: bool
) -> Vehicle:
    """Draw a vehicle at random: mostly a car, now and then a van or a lorry."""
    kind = rng.random()
    size = _CAR if kind < 0.78 else _VAN if kind < 0.95 else _LORRY
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))] * np.float32(rng.uniform(0.7, 1.2))
    return Vehicle(x_m, y_m, northward, forwards, size, paint)


def draw_vehicle(canvas: Canvas, car: Vehicle, fallen: Floats, *, dark: bool) -> None:
    """Draw a vehicle on which the light ``fallen`` (3,) falls; its lamps glow when it is dark."""
    length, width, height = car.size_m
    window = _window(canvas, car)
    if window is None:
        return
    rays = _rays_to(canvas, car, window)
    _, middle_m = canvas.frame(car.x_m, car.y_m)
    low = height if car.size_m != _CAR else _BONNET_M
    boxes = [(length / 2, width / 2, 0.0, low)]
    if low < height:
        boxes.append((length * 0.29, width * 0.43, low, height))
    depth = canvas.depth_m[window]
    if not (depth > middle_m - length).any():
        return
    _contact_shadow(canvas, car, window, rays)
    for box in boxes:
        met = _meet(rays, box)
        hit = met.depth_m < depth
        if not hit.any():
            continue
        share = np.select([met.top, met.side], [1.25, 0.85], 0.7).astype(np.float32)
        canvas.paint(window, hit, _colour(car, met) * (share[..., None] * fallen), middle_m)
        at_end = hit & ~met.side & (np.abs(np.abs(met.across) - width * 0.38) < 0.17)
        at_end &= np.abs(met.up - 0.65) < 0.11
        front = (met.along > 0) == car.forwards
        strength = np.float32(1.6 if dark else 0.25)
        canvas.paint(window, at_end & front, strength * _HEAD_LAMP, middle_m)
        canvas.paint(window, at_end & ~front, strength * _TAIL_LAMP, middle_m)
        depth[hit] = met.depth_m[hit]


def _window(canvas: Canvas, car: Vehicle) -> Window | None:
    half_x, half_y = car.size_m[1] / 2, car.size_m[0] / 2
    if not car.northward:
        half_x, half_y = half_y, half_x
    feet = [
        canvas.frame(car.x_m + sign_x * half_x, car.y_m + sign_y * half_y)
        for sign_x in (-1, 1)
        for sign_y in (-1, 1)
    ]
    return canvas.window(feet, 0.0, car.size_m[2])


def _rays_to(canvas: Canvas, car: Vehicle, window: Window) -> _Rays:
    camera = canvas.camera
    east, north = camera.x_m - car.x_m, camera.y_m - car.y_m
    # Along an eastward street, the right-hand side is south.
    along, across = (north, east) if car.northward else (east, -north)
    turn = radians(camera.heading_deg - (0.0 if car.northward else 90.0))
    q = canvas.across[window]
    return _Rays(
        (along, across, camera.height_m),
        np.float32(cos(turn)) - q * np.float32(sin(turn)),
        np.float32(sin(turn)) + q * np.float32(cos(turn)),
        canvas.rise[window],
    )


def _meet(rays: _Rays, box: tuple[float, float, float, float]) -> _Met:
    """Intersect rays with a box: half length, half width, lowest and highest point."""
    half_length, half_width, low, high = box
    origin = rays.origin
    with np.errstate(divide="ignore", invalid="ignore"):
        along = ((-half_length - origin[0]) / rays.along, (half_length - origin[0]) / rays.along)
        across = ((-half_width - origin[1]) / rays.across, (half_width - origin[1]) / rays.across)
        up = ((low - origin[2]) / rays.up, (high - origin[2]) / rays.up)
    near_across, near_up = np.minimum(*across), np.minimum(*up)
    near = np.maximum(np.maximum(np.minimum(*along), near_across), near_up)
    far = np.minimum(np.minimum(np.maximum(*along), np.maximum(*across)), np.maximum(*up))
    met = (near < far) & (near > 0.2)
    top = near == near_up
    at = np.where(met, near, np.float32(0))
    return _Met(
        np.where(met, near, np.float32(np.inf)),
        top,
        ~top & (near == near_across),
        origin[0] + at * rays.along,
        origin[1] + at * rays.across,
        origin[2] + at * rays.up,
    )


def _contact_shadow(canvas: Canvas, car: Vehicle, window: Window, rays: _Rays) -> None:
    """Darken the road under a vehicle, without which it would seem to float."""
    depth = np.minimum(canvas.depth_m[window], np.float32(1e6))
    under = np.abs(rays.origin[2] + depth * rays.up) < 0.02
    under &= np.abs(rays.origin[0] + depth * rays.along) < car.size_m[0] / 2 + 0.15
    under &= np.abs(rays.origin[1] + depth * rays.across) < car.size_m[1] / 2 + 0.2
    canvas.radiance[window][under] *= np.float32(0.35)


def _colour(car: Vehicle, met: _Met) -> Floats:
    """Return the surface's colour: paint, panes, wheels and the dark gap below the sills."""
    along, up = met.along, met.up
    wheel = np.square(np.abs(along) - 0.31 * car.size_m[0]) + np.square(up - 0.31) < 0.105
    black = (met.side & wheel) | ((up < 0.24) & ~met.top)
    if car.size_m == _CAR:
        pane = (up > 0.93) & (up < 1.36) & ~(met.side & (np.abs(along + 0.1) < 0.06))
    elif car.size_m == _VAN:
        pane = (up > 1.25) & (up < 1.9) & ((along > 0.6) | ~met.side)
    else:
        pane = (up > 1.3) & (up < 2.3) & (np.mod(along, 1.4) > 0.2)
    colour = np.where(black[..., None], _TYRE, car.paint)
    return np.where((pane & ~met.top)[..., None], _PANE, colour)
