"""The folder of one training: ``run.json``, ``skipped.csv`` and the checkpoints.

``run.json`` holds the recipe, where the data was and its fingerprint, versions and the command.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgray import provenance
from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.training.checkpoints import differences

RUN = "run.json"


def require_new(folder: Path) -> None:
    """Refuse a folder with anything in it: two trainings would mix.

    Raises:
        UserError: it is not empty, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"--out {folder}: exists and is not empty; choose another folder, or go on with the "
            f"training in it: --resume --out {folder}"
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


def require_same(run: dict[str, Any], recipe: Recipe, fingerprint: str) -> None:
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
        raise UserError(
            f"--resume: the data has changed since the training began in {run['data']['uri']} "
            f"({run['data']['images']:,} images then); restore it, or start a new training"
        )


def create_run(
    folder: Path,
    recipe: Recipe,
    *,
    data: str,
    fingerprint: str,
    num_images: int,
    skipped: Sequence[tuple[str, str]],
    command: Sequence[str],
) -> None:
    """Make the folder and write what the training is.

    Args:
        folder: new or empty.
        recipe: what is trained.
        data: where the data set is.
        fingerprint: of the data set.
        num_images: how many images it has.
        skipped: path and reason of each image that cannot be read.
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        provenance.write_skipped(folder / "skipped.csv", skipped)
        (folder / RUN).write_text(json.dumps(run, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UserError(
            f"--out {folder}: cannot be written ({error.strerror}); choose another folder"
        ) from None
