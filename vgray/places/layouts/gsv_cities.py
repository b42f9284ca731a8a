"""GSV-Cities: ``Images/<City>/<City>_<place7>_<year>_<month2>_<north3>_<lat>_<lon>_<panoid>.JPG``.

The file names repeat everything in ``Dataframes/<City>.csv``, so only the images are read, and a
subset of the cities, or images without the tables, works as well. Everything is for training;
places are numbered per city.
"""

from vgray.places.filenames import parse_gsv_name
from vgray.places.files import Files
from vgray.places.layouts.rows import Rows, numbers, texts


def fits(files: Files) -> int:
    """Return how many images have a GSV-Cities name."""
    return sum(parse_gsv_name(path.rsplit("/", 1)[-1]) is not None for path in files.relative)


def read(files: Files, source: str) -> Rows:
    """Read the layout; other names are left out and noted. Sources are ``<folder>/<City>``."""
    parsed = [parse_gsv_name(path.rsplit("/", 1)[-1]) for path in files.relative]
    kept = [row for row, name in enumerate(parsed) if name is not None]
    names = [name for name in parsed if name is not None]
    unknown = [None] * len(names)
    return Rows(
        files=files.take(kept),
        split=["train"] * len(names),
        role=["train"] * len(names),
        place_id=[f"{name.city}_{name.place}" for name in names],
        source=[f"{source}/{name.city}" for name in names],
        east_m=numbers(unknown),
        north_m=numbers(unknown),
        utm_zone=texts([""] * len(names)),
        lat=numbers([name.lat for name in names]),
        lon=numbers([name.lon for name in names]),
        heading_deg=numbers([name.heading_deg for name in names]),
        taken_at=[f"{name.year:04d}-{name.month:02d}" for name in names],
        notes={
            "name without a position": [
                path for path, name in zip(files.relative, parsed, strict=True) if name is None
            ]
        },
    )
