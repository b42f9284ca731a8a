"""Paints the facade of a building as a small picture: a pure function of building and years.

A picture is (rows, columns, 4) uint8: row 0 at the pavement, column 0 at the left end as seen from
the street. The first three channels are the surface's sRGB colour, the fourth says how much of it
is glass, which mirrors the sky by day and may be lit from inside by night.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vgray.places.demo_city.buildings import ACCENT_COLOURS, Building, Colour
from vgray.places.demo_city.hashing import generator, noise_tile

Picture = NDArray[np.uint8]
_SKETCH = 3.0  # texels per metre


class _Canvas:
    """A picture addressed in metres from its lower left corner."""

    def __init__(self, width_m: float, height_m: float, texels_per_m: float) -> None:
        self.scale = texels_per_m
        rows, columns = round(height_m * texels_per_m), round(width_m * texels_per_m)
        self.picture: Picture = np.zeros((max(rows, 1), max(columns, 1), 4), np.uint8)

    def box(
        self, left: float, right: float, low: float, high: float, colour: Colour, glass: int = 0
    ) -> None:
        """Fill a rectangle (metres) with one colour (sRGB 0-255)."""
        scale = self.scale
        # Four bytes at once: a fifth of the time of assigning a colour channel by channel.
        packed = int(colour[0]) | int(colour[1]) << 8 | int(colour[2]) << 16 | glass << 24
        self.picture.view("<u4")[
            max(int(low * scale + 0.5), 0) : max(int(high * scale + 0.5), 0),
            max(int(left * scale + 0.5), 0) : max(int(right * scale + 0.5), 0),
        ] = packed


def facade(building: Building, width_m: float, era: int, side: int, texels_per_m: float) -> Picture:
    """Return the street front of ``building``, ``width_m`` metres wide, as it was in ``era``.

    ``side`` tells the two fronts of a corner house apart: they share all but the details.
    """
    canvas = _Canvas(width_m, building.height_m, texels_per_m)
    canvas.picture = _lasting_front(building, width_m, side, texels_per_m).copy()
    _ground_floor(canvas, building, width_m, generator(building.key, side, 1), era)
    return canvas.picture


@lru_cache(maxsize=256)
def _lasting_front(building: Building, width_m: float, side: int, texels_per_m: float) -> Picture:
    """Return the part of a facade that stays the same when a shop changes hands."""
    rng = generator(building.key, side)
    canvas = _Canvas(width_m, building.height_m, texels_per_m)
    _wall(canvas, building, rng)
    _upper_storeys(canvas, building, width_m, rng)
    _roof(canvas, building, width_m)
    return canvas.picture


def side_wall(building: Building, height_m: float, depth_m: float, texels_per_m: float) -> Picture:
    """Return the bare side of ``building`` that shows above or beside a smaller neighbour."""
    canvas = _Canvas(depth_m, height_m, texels_per_m)
    _wall(canvas, building, generator(building.key, 9))
    grey = np.array([128, 120, 112], np.float32)
    rgb = canvas.picture[..., :3]
    rgb[:] = (0.62 * rgb + 0.25 * grey).astype(np.uint8)
    if building.key % 3 == 0:
        for storey in range(1, building.storeys):
            low = building.ground_m + (storey - 1) * building.storey_m + 1.0
            canvas.box(depth_m * 0.4, depth_m * 0.4 + 0.9, low, low + 1.2, (50, 56, 64), 255)
    return canvas.picture


def fence(building: Building, height_m: float, width_m: float, texels_per_m: float) -> Picture:
    """Return the fence or wall around a vacant lot."""
    canvas = _Canvas(width_m, height_m, texels_per_m)
    _wall(canvas, building, generator(building.key, 8))
    for u in np.arange(0, width_m, 0.5 if building.key % 2 else 2.5):
        canvas.box(u, u + 0.14, 0, height_m, _dark(building.accent, 0.8))
    canvas.box(0, width_m, height_m - 0.2, height_m, _dark(building.trim, 0.8))
    return canvas.picture


def _wall(canvas: _Canvas, building: Building, rng: np.random.Generator) -> None:
    """Cover the whole front with the wall's material, weathered by rain from above."""
    rows, columns = canvas.picture.shape[:2]
    v = np.arange(rows, dtype=np.float32)[:, None] / np.float32(canvas.scale)
    u = np.arange(columns, dtype=np.float32)[None, :] / np.float32(canvas.scale)
    tile = noise_tile()
    oy, ox = (int(n) for n in rng.integers(0, 256, 2))
    stain = tile[
        (v[:, 0] * 28 + oy).astype(np.intp)[:, None] & 255,
        (u[0] * 40 + ox).astype(np.intp)[None, :] & 255,
    ]
    shade = stain * np.float32(0.22) + (0.89 - 0.14 * np.exp(v * np.float32(-0.8)))
    if building.material == "brick":
        course = np.sin(np.floor(v / 0.3) * 12.9 + np.floor(u / 0.5) * 78.2)
        shade *= 0.99 + 0.09 * course
    elif building.material == "stone":
        joint = (np.mod(v, 0.6) < 0.09) | (
            np.mod(u + 0.5 * np.mod(np.floor(v / 0.6), 2), 1.0) < 0.09
        )
        shade[joint] *= 0.8
    elif building.material == "siding":
        shade[(np.mod(v, 0.4) < 0.12)[:, 0]] *= 0.82
    elif building.material == "panels":
        shade[(np.mod(v - building.ground_m, building.storey_m) < 0.12)[:, 0]] *= 0.65
        shade[:, (np.mod(u, building.bay_m) < 0.1)[0]] *= 0.65
    for channel in range(3):
        canvas.picture[..., channel] = np.minimum(shade * np.float32(building.wall[channel]), 250)


def _upper_storeys(
    canvas: _Canvas, building: Building, width_m: float, rng: np.random.Generator
) -> None:
    bays = building.bays(width_m)
    bay_m = width_m / bays
    for storey in range(building.storeys - 1):
        low = building.ground_m + storey * building.storey_m
        if building.bands:
            canvas.box(0, width_m, low - 0.12, low + 0.14, building.trim)
            canvas.box(0, width_m, low - 0.22, low - 0.12, _dark(building.wall, 0.6))
        if building.material == "curtain":
            _glass_band(canvas, building, width_m, low, rng)
            continue
        for bay in range(bays):
            _window(canvas, building, (bay + 0.5) * bay_m, low + 0.75, rng)
        if building.balconies and storey % 2 == 0:
            canvas.box(0.1 * width_m, 0.9 * width_m, low + 0.1, low + 0.28, building.trim)
            for u in np.arange(0.1 * width_m, 0.9 * width_m, 0.34):
                canvas.box(u, u + 0.12, low + 0.28, low + 1.1, _dark(building.accent, 0.6))
            canvas.box(0.1 * width_m, 0.9 * width_m, low + 1.05, low + 1.2, (44, 44, 46))


def _window(
    canvas: _Canvas, building: Building, middle: float, low: float, rng: np.random.Generator
) -> None:
    half = building.window_w / 2
    sketch = canvas.scale < _SKETCH  # far away: frame and pane are all there is to see
    high = min(low + building.window_h, low + building.storey_m - 0.95)
    trim, style = building.trim, building.window_style
    if building.shutters:
        canvas.box(middle - half * 1.85, middle + half * 1.85, low, high, building.accent)
    if style == 1:
        canvas.box(middle - half - 0.22, middle + half + 0.22, low - 0.2, high + 0.28, trim)
    elif style == 2:
        canvas.box(middle - half - 0.3, middle + half + 0.3, high + 0.12, high + 0.34, trim)
    canvas.box(middle - half - 0.1, middle + half + 0.1, low - 0.1, high + 0.08, _dark(trim, 0.85))
    tone = 24 + 44 * float(rng.random())
    canvas.box(middle - half, middle + half, low, high, (tone, tone * 1.08, tone * 1.2), 255)
    curtains = rng.random() < 0.4
    if sketch:
        return
    if curtains:
        pale = (170.0, 165.0, 150.0)
        canvas.box(middle - half, middle - half * 0.5, low, high, pale, 90)
        canvas.box(middle + half * 0.5, middle + half, low, high, pale, 90)
    if style in (0, 1):
        canvas.box(middle - 0.06, middle + 0.06, low, high, trim)
    if style in (1, 3):
        bar = low + 0.62 * (high - low)
        canvas.box(middle - half, middle + half, bar - 0.05, bar + 0.06, trim)
    canvas.box(middle - half - 0.18, middle + half + 0.18, low - 0.22, low - 0.08, trim)
    canvas.box(middle - half, middle + half, high - 0.12, high, (14, 15, 18), 160)


def _glass_band(
    canvas: _Canvas, building: Building, width_m: float, low: float, rng: np.random.Generator
) -> None:
    canvas.box(0, width_m, low + 0.9, low + building.storey_m, (46, 58, 70), 255)
    for u in np.arange(0, width_m, building.bay_m / 1.5):
        if rng.random() < 0.3:
            canvas.box(
                u,
                u + building.bay_m / 1.5,
                low + 1.4,
                low + building.storey_m,
                (120, 122, 118),
                120,
            )
        canvas.box(u, u + 0.14, low + 0.9, low + building.storey_m, _dark(building.trim, 0.7))


def _roof(canvas: _Canvas, building: Building, width_m: float) -> None:
    low, high = building.eaves_m, building.height_m
    if building.roof == "mansard":
        canvas.box(0, width_m, low, high, building.roof_colour)
        for row in np.arange(low, high, 0.5):
            canvas.box(0, width_m, row, row + 0.13, _dark(building.roof_colour, 0.75))
        for middle in np.arange(building.bay_m, width_m - 1.0, building.bay_m * 1.6):
            canvas.box(middle - 0.75, middle + 0.75, low + 0.3, low + 2.1, building.trim)
            canvas.box(middle - 0.5, middle + 0.5, low + 0.5, low + 1.8, (44, 50, 58), 255)
    elif building.roof == "gable":
        canvas.box(width_m / 2 - 0.5, width_m / 2 + 0.5, low + 0.5, low + 1.7, building.trim)
        canvas.box(width_m / 2 - 0.35, width_m / 2 + 0.35, low + 0.6, low + 1.6, (44, 50, 58), 255)
    else:
        canvas.box(0, width_m, low, high, building.trim)
        canvas.box(0, width_m, high - 0.15, high, _dark(building.trim, 0.7))
    if building.roof in ("cornice", "mansard"):
        canvas.box(0, width_m, low - 0.1, low + 0.25, building.trim)
        canvas.box(0, width_m, low - 0.35, low - 0.1, _dark(building.wall, 0.5))


def _ground_floor(
    canvas: _Canvas, building: Building, width_m: float, rng: np.random.Generator, era: int
) -> None:
    high = building.ground_m - 0.5
    if building.ground_floor == "shop":
        _shop(canvas, building, width_m, high, generator(building.key, 31, era))
        return
    if building.ground_floor == "arcade":
        step = float(rng.uniform(2.4, 3.4))
        for left in np.arange(0.4, width_m - step + 0.5, step):
            canvas.box(left, left + step - 0.7, 0.0, high, (34, 32, 32))
            canvas.box(left + 0.5, left + step - 1.2, 0.8, high - 0.6, (40, 46, 52), 200)
        return
    canvas.box(0, width_m, 0, 0.6, _dark(building.wall, 0.6))
    door = float(rng.uniform(0.2, 0.8)) * width_m
    bays = building.bays(width_m)
    for bay in range(bays):
        middle = (bay + 0.5) * width_m / bays
        if abs(middle - door) > building.window_w / 2 + 1.0:
            _window(canvas, building, middle, 1.2, rng)
    if building.ground_floor == "garage":
        left = min(max(door - 1.6, 0.3), max(width_m - 3.5, 0.3))
        canvas.box(left, left + 3.2, 0, 2.6, building.accent)
        for v in np.arange(0.5, 2.6, 0.5):
            canvas.box(left, left + 3.2, v, v + 0.1, _dark(building.accent, 0.7))
        return
    canvas.box(door - 0.85, door + 0.85, 0, 2.9, building.trim)
    canvas.box(door - 0.6, door + 0.6, 0.1, 2.3, building.accent)
    canvas.box(door - 0.6, door + 0.6, 2.35, 2.75, (50, 56, 62), 200)


def _shop(
    canvas: _Canvas, building: Building, width_m: float, high: float, rng: np.random.Generator
) -> None:
    """A shop: dark frame, display windows, a door, a sign with letters, perhaps an awning."""
    frame = ACCENT_COLOURS[int(rng.integers(len(ACCENT_COLOURS)))]
    sign = ACCENT_COLOURS[int(rng.integers(len(ACCENT_COLOURS)))]
    ink: Colour = (240, 236, 220) if sum(sign) < 330 else (30, 28, 30)
    canvas.box(0.2, width_m - 0.2, 0, high, frame)
    panes = max(int(width_m / 2.6), 2)
    door = int(rng.integers(panes))
    pane_m = (width_m - 0.6) / panes
    for pane in range(panes):
        left = 0.3 + pane * pane_m
        low = 0.1 if pane == door else 0.65
        canvas.box(left + 0.12, left + pane_m - 0.12, low, high - 1.0, (52, 56, 58), 220)
        if pane != door:
            for _ in range(4):  # goods on display
                u = left + 0.2 + float(rng.random()) * max(pane_m - 0.9, 0.1)
                goods = ACCENT_COLOURS[int(rng.integers(len(ACCENT_COLOURS)))]
                canvas.box(u, u + 0.4, low, low + 0.3 + float(rng.random()) * 0.8, goods, 60)
    canvas.box(0.2, width_m - 0.2, high - 0.85, high, sign)
    cursor = float(rng.uniform(0.6, max(width_m * 0.4, 0.7)))
    for _ in range(int(rng.integers(4, 10))):
        glyph = float(rng.uniform(0.25, 0.6))
        if cursor + glyph > width_m - 0.6:
            break
        canvas.box(cursor, cursor + glyph, high - 0.68, high - 0.18, ink)
        canvas.box(cursor + 0.12, cursor + glyph - 0.1, high - 0.55, high - 0.42, sign)
        cursor += glyph + 0.16
    if rng.random() < 0.45:
        stripe = (235.0, 230.0, 220.0)
        for number, u in enumerate(np.arange(0.2, width_m - 0.3, 0.45)):
            canvas.box(u, u + 0.45, high - 1.75, high - 0.9, stripe if number % 2 else sign)


def _dark(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)
