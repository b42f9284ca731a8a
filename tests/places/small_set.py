"""A small data set of images in folders, to take from and to add to."""

from pathlib import Path

from PIL import Image

from vgray.places.filenames import format_name


def write_small_set(root: Path) -> Path:
    """Write three places of 4 images and one of 2; one of three val queries has no positive."""
    for place, count in enumerate((4, 4, 4, 2)):
        add_images(root, "train/database", 100 * place, count=count)
    add_images(root, "val/database", 1000, count=2)
    for east in (1005, 1024, 1500):
        add_images(root, "val/queries", east, size=(64, 48))
    return root


def add_images(
    root: Path,
    folder: str,
    east: float,
    *,
    count: int = 1,
    zone: int = 10,
    note: str = "",
    size: tuple[int, int] = (32, 24),
) -> None:
    """Write images ``east`` metres from the first place, half a metre from each other."""
    for number in range(count):
        name = format_name(
            east_m=553000 + east,
            north_m=4175000 + 0.5 * number,
            utm_zone=zone,
            zone_letter="S",
            lat=37.7,
            lon=-122.4,
            heading_deg=0,
            note=note,
        )
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number * 9, 80, 90)).save(path)


def remove_images(root: Path, *folders: str) -> None:
    for folder in folders:
        for path in (root / folder).iterdir():
            path.unlink()
