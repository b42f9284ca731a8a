"""A city that does not exist: seeded street-level photographs with positions.

``generate`` writes a city of any size in the VPR folder layout; ``default_city`` returns the one
that everything runs on when no dataset is given. From plan to picture:

    streets, buildings -> facades    the city, a pure function of its seed
    survey                           which places, splits, positions, dates, names
    scene -> camera -> light, surfaces -> canvas, figures -> render    one photograph
    worker -> generate               many of them, on disk
"""

from vgray.places.demo_city.generate import default_city, generate
from vgray.places.demo_city.settings import GENERATOR_VERSION, CitySettings

__all__ = ["GENERATOR_VERSION", "CitySettings", "default_city", "generate"]
