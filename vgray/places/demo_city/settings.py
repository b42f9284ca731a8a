"""What a demo city is made of: its size, its seed, and the version of the generator."""

import hashlib
import json
from dataclasses import asdict, dataclass

from vgray.errors import UserError

# Raise whenever the same settings would give other photographs: cached cities are keyed by it.
GENERATOR_VERSION = 1

_MOST_PLACES = 1_000_000  # more would leave the UTM zone


@dataclass(frozen=True)
class CitySettings:
    """Settings of a demo city; the same settings give the same files, byte for byte.

    ``places`` counts the places that have queries, over all splits; ``width`` and ``height`` are
    the photographs' size in pixels. Raises UserError for a value out of range.
    """

    places: int = 300
    width: int = 128
    height: int = 96
    images_per_place: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _check("places", self.places, 5, _MOST_PLACES)
        _check("width", self.width, 16, 4096)
        _check("height", self.height, 16, 4096)
        _check("images_per_place", self.images_per_place, 2, 1000)
        _check("seed", self.seed, 0, 2**63 - 1)

    def key(self) -> str:
        """Return a short name that changes with the settings and with the generator's version."""
        content = json.dumps({"generator": GENERATOR_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _check(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UserError(
            f"demo city: {name} is {value!r}, expected a whole number from {least} to {most}; "
            f"give another {name.replace('_', ' ')}"
        )
