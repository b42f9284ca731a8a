"""What each building is like: size, material, colours, windows, ground floor and roof."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vgray.places.demo_city.hashing import generator

Colour = tuple[float, float, float]

# Facade colours of towns in temperate Europe, sRGB.
WALL_COLOURS: tuple[Colour, ...] = (
    (222, 205, 170),
    (205, 160, 92),
    (182, 98, 72),
    (142, 72, 58),
    (108, 64, 54),
    (152, 148, 140),
    (228, 226, 218),
    (158, 182, 200),
    (166, 184, 148),
    (214, 168, 158),
    (226, 196, 112),
    (122, 94, 72),
    (94, 100, 108),
    (196, 180, 148),
)
TRIM_COLOURS: tuple[Colour, ...] = (
    (238, 236, 230),
    (205, 196, 178),
    (120, 112, 104),
    (70, 66, 64),
    (236, 222, 190),
)
ACCENT_COLOURS: tuple[Colour, ...] = (
    (38, 84, 60),
    (30, 60, 110),
    (150, 34, 40),
    (60, 44, 36),
    (210, 170, 40),
    (30, 120, 130),
    (200, 90, 40),
    (110, 50, 110),
    (34, 36, 42),
)
ROOF_COLOURS: tuple[Colour, ...] = ((120, 62, 48), (78, 80, 86), (96, 70, 58), (70, 92, 84))
MATERIALS = ("plaster", "brick", "stone", "siding", "panels", "curtain")
ROOFS = ("flat", "cornice", "mansard", "gable")
GROUND_FLOORS = ("shop", "home", "garage", "arcade")


@dataclass(frozen=True)
class Building:
    """One building; lengths in metres, colours in sRGB 0-255.

    ``key`` seeds the details that are drawn on its facade. ``relet_years`` is how often a shop
    changes hands (its sign and front are repainted then), ``relet_phase`` when.
    """

    key: int
    storeys: int
    storey_m: float
    ground_m: float
    roof: str
    roof_m: float
    setback_m: float
    material: str
    wall: Colour
    trim: Colour
    accent: Colour
    roof_colour: Colour
    bay_m: float
    window_w: float
    window_h: float
    window_style: int
    shutters: bool
    balconies: bool
    bands: bool
    ground_floor: str
    relet_years: int
    relet_phase: int

    @property
    def eaves_m(self) -> float:
        """Height of the top of the uppermost storey."""
        return self.ground_m + (self.storeys - 1) * self.storey_m

    @property
    def height_m(self) -> float:
        """Height of the highest point of the facade."""
        return self.eaves_m + self.roof_m

    def bays(self, width_m: float) -> int:
        """Return how many windows stand side by side on a front."""
        return max(int((width_m - 0.6) / self.bay_m), 1)

    def era(self, year: int) -> int:
        """Return a number that changes whenever the shop does; 0 where there is none."""
        if self.ground_floor != "shop":
            return 0
        return (year + self.relet_phase) // self.relet_years


def building(seed: int, block_east: int, block_north: int, slot: int, *, corner: bool) -> Building:
    """Return the building in ``slot`` of a block; neighbours in a block resemble one another."""
    usual_storeys, usual_material = _usual(seed, block_east, block_north)
    rng = generator(seed, 22, block_east, block_north, slot)
    storeys = int(np.clip(np.rint(rng.normal(usual_storeys, 1.3)), 1, 8)) + int(corner)
    material = usual_material if rng.random() < 0.4 else str(rng.choice(MATERIALS))
    roof = "flat" if material in ("panels", "curtain") else str(rng.choice(ROOFS))
    if roof == "gable" and (corner or storeys > 4):
        roof = "mansard"
    roof_m = {"flat": 0.4, "cornice": 0.9, "mansard": 2.8, "gable": 3.6}[roof]
    window_w = float(rng.uniform(0.8, 1.7))
    style = int(rng.integers(4))
    ground = str(rng.choice(GROUND_FLOORS, p=[0.5, 0.3, 0.08, 0.12]))
    return Building(
        key=int(rng.integers(1 << 40)),
        storeys=storeys,
        storey_m=float(rng.uniform(2.8, 3.7)),
        ground_m=float(rng.uniform(3.4, 4.6)),
        roof=roof,
        roof_m=roof_m * float(rng.uniform(0.85, 1.15)),
        setback_m=float(rng.choice([0.0, 1.5, 3.5], p=[0.8, 0.12, 0.08])) * (not corner),
        material=material,
        wall=_near(rng, WALL_COLOURS),
        trim=_near(rng, TRIM_COLOURS),
        accent=_near(rng, ACCENT_COLOURS),
        roof_colour=_near(rng, ROOF_COLOURS),
        bay_m=window_w + float(rng.uniform(0.7, 1.9)),
        window_w=window_w,
        window_h=float(rng.uniform(1.2, 2.2)),
        window_style=style,
        shutters=bool(rng.random() < 0.22),
        balconies=bool(rng.random() < 0.2) and storeys > 2,
        bands=bool(rng.random() < 0.45),
        ground_floor=ground,
        relet_years=int(rng.integers(5, 14)),
        relet_phase=int(rng.integers(40)),
    )


@lru_cache(maxsize=256)
def _usual(seed: int, block_east: int, block_north: int) -> tuple[float, str]:
    """Return the mean number of storeys and the commonest material of a block."""
    rng = generator(seed, 21, block_east, block_north)
    storeys = float(rng.choice([2.2, 3.2, 4.2, 5.5]))
    return storeys, str(rng.choice(MATERIALS[:5], p=[0.4, 0.25, 0.15, 0.12, 0.08]))


def _near(rng: np.random.Generator, palette: tuple[Colour, ...]) -> Colour:
    """Return a colour of the palette, lighter or darker and slightly off in hue."""
    base = np.array(palette[int(rng.integers(len(palette)))])
    varied = np.clip(base * rng.uniform(0.85, 1.12) * rng.uniform(0.95, 1.05, 3), 8, 245)
    return (float(varied[0]), float(varied[1]), float(varied[2]))
