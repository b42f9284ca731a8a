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
    "faiss-gpu",
    "faiss-cpu",
    "pytorch-metric-learning",
    "ray",
    "optuna",
)


def describe(
    recipe: Recipe,
    *,
    data: str,
    fingerprint: str,
    num_images: int,
    num_unreadable: int,
    command: Sequence[str],
) -> dict[str, Any]:
    """Return what is needed to make a result again, as JSON values.

    Args:
        recipe: what is trained, or the base of what is.
        data: where the data set is.
        fingerprint: of the data set.
        num_images: how many images it has.
        num_unreadable: how many of them cannot be read.
        command: the command line.
    """
    return {
        "recipe": recipe.to_dict(),
        "data": {
            "uri": data,
            "fingerprint": fingerprint,
            "images": num_images,
            "unreadable": num_unreadable,
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "command": list(command),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def write_skipped(path: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Write path and reason of each image that cannot be read, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "reason"), *skipped])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # one of the two faiss, or a source tree
            continue
    return found
