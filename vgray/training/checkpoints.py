"""The checkpoints of one training: which to go on from, which to keep, which is best.

A training folder holds ``epoch-0001/``, ``epoch-0002/`` and so on, each with the history of all
epochs up to it.
"""

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vgray.errors import UserError
from vgray.models.checkpoint import (
    METRICS,
    MODEL,
    RECIPE,
    TEMPORARY,
    TRAINING_STATE,
    DamagedCheckpointError,
    read_metrics,
)
from vgray.recipe import Recipe
from vgray.settings import flatten_settings

logger = logging.getLogger(__name__)

_EPOCH = re.compile(r"epoch-(\d{4,})")


class Saved(NamedTuple):
    """What a training folder has."""

    checkpoint: Path
    """From which training goes on."""
    recipe: Recipe
    data: str
    """The fingerprint of the data that it was trained on."""
    history: list[dict[str, Any]]
    """The metrics of every epoch, the first first."""


def epoch_folder(folder: Path, epoch: int) -> Path:
    """Return the folder of the checkpoint after ``epoch``."""
    return folder / f"epoch-{epoch:04d}"


def read_saved(folder: Path) -> Saved | None:
    """Return what a training left in ``folder``: its newest intact checkpoint.

    A damaged checkpoint is logged and the one before it is used. None if there is nothing.
    """
    for epoch in sorted(_saved_epochs(folder), reverse=True):
        checkpoint = epoch_folder(folder, epoch)
        try:
            metrics = read_metrics(checkpoint, (MODEL, RECIPE, TRAINING_STATE))
            recipe = Recipe.from_file(checkpoint / RECIPE)
            return Saved(checkpoint, recipe, metrics["data"], metrics["history"])
        except KeyError as error:
            logger.warning("%s: %s lacks %s; going back", checkpoint, METRICS, error)
        except UserError as error:
            logger.warning("%s; going back to the one before it", error)
    return None


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, with both values; None stands for no such setting."""
    left, right = flatten_settings(one.to_dict()), flatten_settings(other.to_dict())
    pairs = {path: (left.get(path), right.get(path)) for path in sorted(left | right)}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def best_checkpoint(folder: str | Path) -> Path:
    """Return the checkpoint with the highest recall@1, the earliest of equals.

    Raises:
        UserError: the folder has no intact checkpoint.
    """
    folder = Path(folder)
    saved = read_saved(folder)
    for epoch in _by_recall(saved.history) if saved else []:
        checkpoint = epoch_folder(folder, epoch)
        try:
            read_metrics(checkpoint)
        except DamagedCheckpointError:
            continue
        return checkpoint
    raise UserError(f"training folder {folder}: no checkpoint in it; train first")


def remove_old(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Delete every checkpoint but the newest two and the best, and what a crash left half done."""
    newest = history[-1]["epoch"]
    keep = {newest, newest - 1, _by_recall(history)[0]}
    for epoch in _saved_epochs(folder) - keep:
        shutil.rmtree(epoch_folder(folder, epoch), ignore_errors=True)
    for leftover in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _saved_epochs(folder: Path) -> set[int]:
    if not folder.is_dir():
        return set()
    names = (_EPOCH.fullmatch(path.name) for path in folder.iterdir() if path.is_dir())
    return {int(name[1]) for name in names if name}


def _by_recall(history: Sequence[dict[str, Any]]) -> list[int]:
    """Return the epochs, best first."""
    ranked = sorted(history, key=lambda metrics: (-metrics["recall@1"], metrics["epoch"]))
    return [metrics["epoch"] for metrics in ranked]
