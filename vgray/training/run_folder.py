"""The folder of one training: ``run.json``, ``skipped.csv`` and the checkpoints.

``run.json`` holds the recipe, where the data was and its fingerprint, versions and the command.
"""

import errno
import fcntl
import json
import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgray import provenance
from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.training.checkpoints import differences

logger = logging.getLogger(__name__)

RUN, LOCK = "run.json", "lock"
LOCK_TIMEOUT_S = 120.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Train alone in a folder: whoever had it, dying perhaps, has two minutes to let go of it.

    The system lets go of the lock of a process that ends, however it ends.

    Raises:
        OSError: the folder cannot be written, or another process goes on training in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    with (folder / LOCK).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BlockingIOError(
                        errno.EAGAIN, "another process trains in this folder", str(folder)
                    ) from None
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                    raise
                logger.warning("%s: its file system has no locks; train once at a time", folder)
                break
        yield


def require_new(folder: Path) -> None:
    """Refuse a folder with anything in it: two trainings would mix.

    Raises:
        UserError: it is not empty, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"--out {folder}: exists and is not empty; choose another folder, or go on with the "
            f"training in it: --resume --out {shlex.quote(str(folder))}"
        )


def require_writable(folder: Path) -> None:
    """Refuse a folder that could not be made or written, without leaving anything behind.

    Raises:
        UserError: the folder, or the nearest one above it that exists, is none or is read-only.
    """
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        reason = "no write permission" if above.is_dir() else "not a folder"
        raise UserError(
            f"--out {folder}: cannot be written ({above}: {reason}); choose another folder"
        )


def read_run(folder: Path) -> dict[str, Any]:
    """Return what ``run.json`` says.

    Raises:
        UserError: there is no training in the folder.
    """
    try:
        run: dict[str, Any] = json.loads((folder / RUN).read_text("utf-8"))
        Recipe.from_dict(run["recipe"])
        _ = run["data"]["uri"], run["data"]["fingerprint"]
    except OSError:
        raise UserError(
            f"--resume: no training in {folder} ({RUN} is missing); give the folder of one as --out"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--resume: {folder / RUN} is damaged; start a new training") from None
    return run


def require_same(run: Mapping[str, Any], recipe: Recipe, fingerprint: str) -> None:
    """Refuse to go on with another recipe, or with data that has changed.

    Raises:
        UserError: one of them differs.
    """
    changed = differences(recipe, Recipe.from_dict(run["recipe"]))
    if changed:
        path, (now, before) = next(iter(changed.items()))
        raise UserError(
            f"--resume: the recipe has changed: {path} was {before!r}, now {now!r}; leave it as it "
            "was, or start a new training"
        )
    if run["data"]["fingerprint"] != fingerprint:
        where = ", ".join(provenance.data_sets(run["data"]["uri"]))
        raise UserError(
            f"--resume: the data has changed since the training began in {where} "
            f"({run['data']['images']:,} images then); restore it, or start a new training"
        )


def create_run(
    folder: Path,
    recipe: Recipe,
    *,
    data: Sequence[str],
    val: str | None = None,
    threads: int | None = None,
    trial: str | None = None,
    fingerprint: str,
    num_images: int,
    skipped: Sequence[tuple[str, str]],
    command: Sequence[str],
) -> None:
    """Make the folder and write what the training is.

    Args:
        folder: new or empty.
        recipe: what is trained.
        data: where the data sets are.
        val: where the one to validate on is, if it is another.
        threads: that were asked for.
        trial: the trial of a run that is trained again, such as ``runs/NAME#3``.
        fingerprint: of the data.
        num_images: how many images they have.
        skipped: path and reason of each image that is not used.
        command: the command line.

    Raises:
        UserError: the folder is not empty or cannot be written.
    """
    require_new(folder)
    run = provenance.describe(
        recipe,
        data=data,
        fingerprint=fingerprint,
        num_images=num_images,
        num_unreadable=len(skipped),
        command=command,
    )
    run["data"]["val"] = val
    run |= {"threads": threads, "trial": trial}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        provenance.write_skipped(folder / "skipped.csv", skipped)
        (folder / RUN).write_text(json.dumps(run, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UserError(
            f"--out {folder}: cannot be written ({error.strerror}); choose another folder"
        ) from None
