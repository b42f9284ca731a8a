"""Trees, street lamps and people, drawn on upright cards."""

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.canvas import Canvas
from vgray.places.demo_city.hashing import generator, noise_tile
from vgray.places.demo_city.illumination import LAMP_COLOUR

Floats = NDArray[np.float32]
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


def draw_tree(
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


def draw_lamp(canvas: Canvas, x_m: float, y_m: float, brightness: float, fallen: Floats) -> None:
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


def draw_person(canvas: Canvas, x_m: float, y_m: float, key: int, fallen: Floats) -> None:
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
