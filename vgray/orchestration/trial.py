"""What runs inside a trainer actor: one trial after another, in a process that stays warm."""

import json
import logging
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray import tune

from vgray.errors import UserError
from vgray.orchestration.report import EPOCH, NUMBER, epoch_report, failure_report
from vgray.recipe import Recipe

logger = logging.getLogger(__name__)

FAILURE_FILE = "failure.txt"

# Pixels are mapped from files, but positions and positives of a large data set take memory, and a
# search over image sizes has one set of them for each.
KEPT_DATA = 4


@dataclass
class _Process:
    """What this process keeps from one trial to the next."""

    last_epoch_at: float | None = None
    """When it finished its last epoch, of whichever trial."""
    gpu_is_suspect: bool = False
    """Whether a fault has happened that a CUDA context may not recover from."""
    data: dict[tuple[str, tuple[int, int], float], Any] = field(default_factory=dict)
    """The prepared data set of each fingerprint, image size and distance; used last, last."""


_process = _Process()


def run_trial(
    config: dict[str, Any],
    *,
    manifest: pa.Table,
    fingerprint: str,
    trials_folder: str,
    threads: int,
    device: str | None,
) -> None:
    """Train one trial and report each of its epochs to Ray Tune.

    The trial's own folder is its memory: a trial that comes back, after its process was killed or
    the sweep resumed, reports the epochs that it has and goes on behind them.

    A mistake in the recipe or a bug would fail again in the same way, so it ends the trial with a
    report of it. A fault of the system (storage, files) may pass, so it is raised: Ray Tune starts
    the trial again. Both leave their traceback in the trial's folder.

    Args:
        config: ``number``, ``folder`` and ``recipe`` of the trial.
        manifest: the data set, see ``vgray.places``.
        fingerprint: of the data set.
        trials_folder: the folder of all trials.
        threads: how many threads the trial computes with.
        device: ``cpu``, or None for the GPU that Ray gives the trial.
    """
    if _process.gpu_is_suspect:
        os._exit(1)  # Ray Tune starts the trial again, in a new process
    folder = Path(trials_folder) / config["folder"]
    last_epoch = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE_FILE).unlink(missing_ok=True)
        (folder / "recipe.json").write_text(json.dumps(config["recipe"], indent=2), "utf-8")
        # Importing torch takes seconds: once in a process, and not in the driver at all.
        from vgray.training import train

        recipe = Recipe.from_dict(config["recipe"])
        data = _training_data(manifest, fingerprint, recipe)
        previous_end, started = _process.last_epoch_at, time.perf_counter()
        for metrics in train(recipe, data, folder, threads=threads, device=device):
            last_epoch = int(metrics[EPOCH])
            now = time.perf_counter()
            is_new = now - started >= metrics["seconds"]
            if previous_end is not None and is_new and "seconds_to_first_step" in metrics:
                # What a trial costs beside its training, in a process that is warm.
                idle = started - previous_end + metrics["seconds_to_first_step"]
                metrics = {**metrics, "seconds_since_last_trial": idle}
            _process.last_epoch_at = now
            tune.report(epoch_report(config[NUMBER], metrics))
    except Exception as error:
        logger.exception("trial %s failed", config[NUMBER])
        (folder / FAILURE_FILE).write_text(traceback.format_exc(), "utf-8")
        if isinstance(error, OSError):
            raise
        message = str(error) if isinstance(error, UserError) else _one_line(error)
        _process.gpu_is_suspect = _uses_gpu() and not isinstance(error, UserError)
        tune.report(failure_report(config[NUMBER], last_epoch, message))


def last_failure(folder: Path) -> str:
    """Return the last line of what a trial left of its failure."""
    try:
        return (folder / FAILURE_FILE).read_text("utf-8").strip().splitlines()[-1]
    except (OSError, IndexError):
        return "it left no message: killed, or its machine was lost"


def _one_line(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _uses_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _training_data(manifest: pa.Table, fingerprint: str, recipe: Recipe) -> Any:
    """Return the decoded images with their positives, of those prepared last if it is there."""
    from vgray.places import open_store
    from vgray.training import TrainingData

    key = (fingerprint, recipe.image_size, recipe.evaluation.distance_m)
    data = _process.data.pop(key, None)
    if data is None:
        while len(_process.data) >= KEPT_DATA:
            _process.data.pop(next(iter(_process.data)))
        store = open_store(manifest, recipe.image_size)
        data = TrainingData.prepare(manifest, store, recipe.evaluation.distance_m)
    _process.data[key] = data
    return data
