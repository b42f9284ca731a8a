"""What stands in the street: trees and lamps that stay, cars and people that come and go."""

from math import radians, tan

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.canvas import Canvas
from vgray.places.demo_city.figures import draw_lamp, draw_person, draw_tree
from vgray.places.demo_city.hashing import generator
from vgray.places.demo_city.illumination import Illumination
from vgray.places.demo_city.scene import Fixture, Scene
from vgray.places.demo_city.streets import NORTHWARD
from vgray.places.demo_city.vehicles import Vehicle, draw_vehicle, vehicle

Floats = NDArray[np.float32]
_CLEAR_M = 5.0  # nothing that moves stands nearer to the camera than this
_NEAREST_M, _FARTHEST_M = 1.5, 75.0
_Person = tuple[float, float, int]
_Thing = Fixture | Vehicle | _Person


def draw(canvas: Canvas, scene: Scene, light: Illumination) -> None:
    """Draw everything that stands in the street, from far to near."""
    rng = generator(scene.seed, 51, light.conditions.photo_key)
    things: list[_Thing] = [*scene.fixtures]
    things += _vehicles(scene, canvas, rng)
    things += _people(scene, canvas, rng)
    place = np.array([_position(thing) for thing in things], np.float32).reshape(-1, 2)
    right, forward = canvas.camera.to_frame(place[:, 0], place[:, 1])
    margin = forward * np.float32(tan(radians(canvas.camera.fov_deg / 2))) * 1.1 + 5.0
    seen = (forward > _NEAREST_M) & (forward < _FARTHEST_M) & (np.abs(right) < margin)
    order = np.flatnonzero(seen)
    order = order[np.argsort(-forward[order], kind="stable")]
    some = np.ones(len(order), np.float32)
    fallen = light.at(place[order, 0], place[order, 1], 1.5 * some, 0.55 * some, 0.75 * some)
    conditions = light.conditions
    for index, light_on_it in zip(order, fallen.T, strict=True):
        thing = things[int(index)]
        if isinstance(thing, Vehicle):
            draw_vehicle(canvas, thing, light_on_it, dark=conditions.lamps > 0)
        elif not isinstance(thing, Fixture):
            draw_person(canvas, *thing, light_on_it)
        elif thing.kind == "tree":
            draw_tree(
                canvas, thing.x_m, thing.y_m, thing.size, thing.key, conditions.month, light_on_it
            )
        else:
            draw_lamp(canvas, thing.x_m, thing.y_m, conditions.lamps, light_on_it)


def _position(thing: _Thing) -> tuple[float, float]:
    return (thing.x_m, thing.y_m) if isinstance(thing, Fixture | Vehicle) else thing[:2]


def _vehicles(scene: Scene, canvas: Canvas, rng: np.random.Generator) -> list[Vehicle]:
    """Cars parked at the kerb, clear of the crossings, and a few that drive."""
    street = scene.street
    northward = scene.direction == NORTHWARD
    crossings = scene.axes_m[1 - scene.direction]
    widths = np.array([s.half_width_m + 2.0 for s in scene.streets[1 - scene.direction]])
    spots: list[tuple[float, float, bool, float]] = []  # across, along, forwards, clear distance
    for side in (-1, 1):
        share = street.parked_share * float(rng.uniform(0.3, 1.2))
        bays = np.arange(-62.0, 62.0, 6.2) + rng.uniform(-0.5, 0.5, 20)
        taken = rng.random(20) < share
        taken &= (np.abs(bays[:, None] - crossings) > widths).all(axis=1)
        across = side * (street.half_road_m - 1.0)
        # People drive on the right: northward in the eastern lane, eastward in the southern one.
        forwards = (side > 0) == northward
        spots += [(across, float(along), forwards, _CLEAR_M) for along in bays[taken]]
    for _ in range(int(rng.integers(0, 4))):
        forwards = bool(rng.random() < 0.5)
        lane = min(1.7, street.half_road_m * 0.4) * (1 if forwards == northward else -1)
        spots.append((lane, float(rng.uniform(-70, 70)), forwards, 12.0))
    vehicles = []
    for across, along, forwards, clear_m in spots:
        x, y = (scene.axis_m + across, along) if northward else (along, scene.axis_m + across)
        here = vehicle(rng, x, y, northward=northward, forwards=forwards)
        if _distance(canvas, x, y) > clear_m + here.size_m[0] / 2 - 2.0:
            vehicles.append(here)
    return vehicles


def _people(scene: Scene, canvas: Canvas, rng: np.random.Generator) -> list[_Person]:
    """People on the pavements."""
    people = []
    low, high = scene.street.half_road_m + 0.4, scene.street.half_width_m - 0.5
    for _ in range(int(rng.integers(1, 9))):
        across = scene.axis_m + (1 if rng.random() < 0.5 else -1) * float(rng.uniform(low, high))
        along = float(rng.uniform(-35, 35))
        x, y = (across, along) if scene.direction == NORTHWARD else (along, across)
        if _distance(canvas, x, y) > _CLEAR_M:
            people.append((x, y, int(rng.integers(1 << 30))))
    return people


def _distance(canvas: Canvas, x_m: float, y_m: float) -> float:
    return float(np.hypot(x_m - canvas.camera.x_m, y_m - canvas.camera.y_m))
