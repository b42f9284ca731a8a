"""Where a result comes from: recipe, data, versions and command, kept beside it."""

import csv
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from vgray.recipe import Recipe

_PACKAGES = (
    "vgray",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "pillow",
    "pillow-heif",
    "pyarrow",
    "faiss-gpu",
    "faiss-cpu",
    "pytorch-metric-learning",
    "ray",
    "optuna",
)


def describe(
    recipe: Recipe,
    *,
    data: str | Sequence[str],
    fingerprint: str,
    num_images: int,
    num_unreadable: int,
    command: Sequence[str],
) -> dict[str, Any]:
    """Return what is needed to make a result again, as JSON values.

    Args:
        recipe: what is trained, or the base of what is.
        data: where the data sets are; of one, the file has its name and no list.
        fingerprint: of the data.
        num_images: how many images they have.
        num_unreadable: how many of them cannot be read.
        command: the command line.
    """
    sets = data_sets(data)
    return {
        "recipe": recipe.to_dict(),
        "data": {
            "uri": sets[0] if len(sets) == 1 else sets,
            "fingerprint": fingerprint,
            "images": num_images,
            "unreadable": num_unreadable,
        },
        "versions": versions(),
        "command": list(command),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def data_sets(uri: str | Sequence[str]) -> list[str]:
    """Return the data sets of a ``uri``, which is the name of one or a list of them."""
    return [uri] if isinstance(uri, str) else list(uri)


def write_skipped(path: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Write path and reason of each image that cannot be read, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "reason"), *skipped])


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # one of the two faiss, or a source tree
            continue
    return found
