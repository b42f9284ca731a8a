"""What stands in the street: trees and lamps that stay, cars and people that come and go.

All but the cars are drawn here, on upright cards.
"""

from math import radians, tan

import numpy as np

from vgray.places.demo_city.canvas import Canvas, Vehicle, draw_vehicle, vehicle
from vgray.places.demo_city.hashing import Floats, generator, noise_tile
from vgray.places.demo_city.light import LAMP_COLOUR, Illumination
from vgray.places.demo_city.scene import Fixture, Scene
from vgray.places.demo_city.streets import NORTHWARD

_CLEAR_M = 5.0  # nothing that moves stands nearer to the camera than this
_NEAREST_M, _FARTHEST_M = 1.5, 75.0
_Person = tuple[float, float, int]
_Thing = Fixture | Vehicle | _Person
_CLOTHES = np.array(
    [(0.05, 0.05, 0.06), (0.2, 0.2, 0.22), (0.3, 0.05, 0.05), (0.05, 0.1, 0.3),
     (0.5, 0.48, 0.42), (0.12, 0.2, 0.1), (0.45, 0.3, 0.08), (0.25, 0.14, 0.08)],
    np.float32,
)  # fmt: skip
_SKIN = np.array([0.35, 0.24, 0.18], np.float32)
_BARK = np.array([0.06, 0.05, 0.04], np.float32)
_LEAVES = np.array([0.06, 0.13, 0.03], np.float32)
_AUTUMN_LEAVES = np.array([0.30, 0.15, 0.03], np.float32)
_LAMP_HEIGHT_M = 6.5


def draw_street(canvas: Canvas, scene: Scene, light: Illumination) -> None:
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
            _draw_person(canvas, *thing, light_on_it)
        elif thing.kind == "tree":
            _draw_tree(
                canvas, thing.x_m, thing.y_m, thing.size, thing.key, conditions.month, light_on_it
            )
        else:
            _draw_lamp(canvas, thing.x_m, thing.y_m, conditions.lamps, light_on_it)


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


def _draw_tree(
    canvas: Canvas, x_m: float, y_m: float, size: float, key: int, month: int, fallen: Floats
) -> None:
    """Draw a tree that is green in summer, brown in October and bare in winter.

    ``fallen`` (3,) is the light that falls on it.
    """
    top, radius = 7.5 * size, 2.3 * size
    card = canvas.card(x_m, y_m, radius * 1.15, 0.0, top + radius)
    if card is None:
        return
    u, z = card.u_m, card.z_m
    leaf = noise_tile()[
        (z * 22.0 + key).astype(np.intp) & 255, (u * 22.0 + (key >> 8)).astype(np.intp) & 255
    ]
    middle = top - radius * 0.35
    reach = np.square(u / radius) + np.square((z - middle) / (radius * 1.25))
    trunk = (np.abs(u) < 0.16 * size) & (z > 0) & (z < middle)
    if month in (12, 1, 2, 3):
        # Boughs fan out from the trunk's upper half and wander a little.
        angle = np.arctan2(u, z - 0.45 * middle) * 3.2 + (leaf - 0.5) * 1.5
        bough = np.abs(angle - np.rint(angle)) < 0.10
        canvas_at = (trunk | (bough & (reach < 1.0) & (z > 0.5 * middle))) & card.free
        canvas.paint(card.window, canvas_at, _BARK * fallen, card.depth_m)
    else:
        crown = (reach + (leaf - 0.5) * 1.6 < 0.85) & card.free
        trunk &= card.free & ~crown
        tint = (_AUTUMN_LEAVES if month in (10, 11) else _LEAVES) * fallen
        shade = 0.35 + 0.9 * leaf + 0.25 * np.clip((z - middle) / radius, -1, 1)
        canvas.paint(card.window, crown, shade[..., None] * tint, card.depth_m)
        canvas.paint(card.window, trunk, _BARK * fallen, card.depth_m)
        canvas_at = crown | trunk
    canvas.depth_m[card.window][canvas_at] = card.depth_m


def _draw_lamp(canvas: Canvas, x_m: float, y_m: float, brightness: float, fallen: Floats) -> None:
    """Draw a street lamp; when ``brightness`` is above 0, with the glow around it."""
    glows = brightness > 0
    card = canvas.card(
        x_m, y_m, 2.2 if glows else 0.5, 0.0, _LAMP_HEIGHT_M + (2.0 if glows else 0.3)
    )
    if card is None:
        return
    u, height = card.u_m, card.z_m - np.float32(_LAMP_HEIGHT_M)
    head = (np.abs(u) < 0.32) & (np.abs(height) < 0.16)
    drawn = (head | ((np.abs(u) < 0.08) & (card.z_m > 0) & (height < 0))) & card.free
    canvas.paint(card.window, drawn, np.float32(0.10) * fallen, card.depth_m)
    canvas.depth_m[card.window][drawn] = card.depth_m
    if glows:
        distance = np.square(u) + np.square(height)
        glow = 0.10 * brightness / (0.05 + distance) * np.clip(1 - distance / 4.4, 0, 1)
        glow += 2.5 * brightness * head
        canvas.radiance[card.window] += (glow * card.free)[..., None] * LAMP_COLOUR


def _draw_person(canvas: Canvas, x_m: float, y_m: float, key: int, fallen: Floats) -> None:
    """Draw somebody who walks by; ``key`` seeds height and clothes."""
    rng = generator(key)
    tall, stride = float(rng.uniform(1.5, 1.9)), float(rng.uniform(0.0, 0.3))
    coat, trousers = (_CLOTHES[int(n)] for n in rng.integers(0, len(_CLOTHES), 2))
    card = canvas.card(x_m, y_m, 0.4, 0.0, tall)
    if card is None:
        return
    u, h = np.abs(card.u_m), card.z_m / np.float32(tall)
    head = np.square(u / 0.11) + np.square((h - 0.93) / 0.075) < 1
    torso = (h > 0.45) & (h < 0.86) & (u < 0.25 - 0.8 * np.square(h - 0.6))
    legs = (h > 0) & (h <= 0.45) & (np.abs(u - 0.09 - stride * (0.45 - h)) < 0.08)
    for part, colour in ((legs, trousers), (torso, coat), (head, _SKIN)):
        part &= card.free
        canvas.paint(card.window, part, colour * fallen, card.depth_m)
        canvas.depth_m[card.window][part] = card.depth_m
