"""The demo city that everything runs on by default: made once, kept in the user's cache folder."""

import fcntl
import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from vgray.errors import UserError
from vgray.places.demo_city.generate import Progress, generate
from vgray.places.demo_city.settings import CitySettings


def default_city(progress: Progress | None = None) -> Path:
    """Return the folder of the default demo city, which is made on first use.

    It lies in the folder named by the environment variable VGRAY_CACHE, else in the user's cache
    folder. Processes that ask at the same time wait for the one that makes it. Raises UserError
    if the folder cannot be written.
    """
    settings = CitySettings()
    root = Path(os.environ.get("VGRAY_CACHE") or user_cache_path("vgray")).absolute() / "demo-city"
    folder = root / settings.key()
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock_file = (root / f"{folder.name}.lock").open("w")
    except OSError as error:
        raise UserError(
            f"the demo city's folder {root} cannot be written ({error.strerror}), expected a "
            "writable one; name another with the environment variable VGRAY_CACHE"
        ) from error
    with lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # released when the file closes, or the process dies
        if not folder.is_dir():
            for left_behind in root.glob(f".{folder.name}.*.partial"):
                shutil.rmtree(left_behind, ignore_errors=True)
            generate(settings, folder, progress=progress)
    return folder
