"""What runs inside a trainer actor: one trial after another, in a process that stays warm."""

import contextlib
import fcntl
import functools
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray import tune

from vgray.errors import UserError
from vgray.orchestration.report import EPOCH, epoch_report, failure_report
from vgray.recipe import Recipe

logger = logging.getLogger(__name__)

FAILURE_FILE = "failure.txt"
# How long to wait for an earlier process of the same trial to go.
LOCK_TIMEOUT_S = 120


@dataclass
class _LastEpoch:
    """When this process finished its last epoch, of whichever trial."""

    at: float | None = None


_last_epoch = _LastEpoch()


def run_trial(
    config: dict[str, Any], *, manifest: pa.Table, trials_folder: str, threads: int
) -> None:
    """Train one trial and report each of its epochs to Ray Tune.

    The trial's own folder is its memory: a trial that comes back, after its process was killed or
    the sweep resumed, reports the epochs that it has and goes on behind them.

    A mistake in the recipe or a bug would fail again in the same way, so it ends the trial with a
    report of it. What may pass (the storage, the memory, the machine) is raised: Ray Tune starts
    the trial again.

    Args:
        config: ``number``, ``folder`` and ``recipe`` of the trial.
        manifest: the data set, see ``vgray.places``.
        trials_folder: the folder of all trials.
        threads: how many threads the trial computes with.
    """
    folder = Path(trials_folder) / config["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        _train_and_report(config, folder, manifest, threads)


def _train_and_report(
    config: dict[str, Any], folder: Path, manifest: pa.Table, threads: int
) -> None:
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    last_epoch = 0
    try:
        # Importing torch takes seconds: once in a process, and not in the driver at all.
        from vgray.training import train

        recipe = Recipe.from_dict(config["recipe"])
        data = _training_data(_Shared(manifest), recipe.image_size, recipe.evaluation.distance_m)
        previous_end, started = _last_epoch.at, time.perf_counter()
        for metrics in train(recipe, data, folder, threads=threads):
            last_epoch = int(metrics[EPOCH])
            if previous_end is not None and "seconds_to_first_step" in metrics:
                # What a trial costs beside its training, in a process that is warm.
                idle = started - previous_end + metrics["seconds_to_first_step"]
                metrics = {**metrics, "seconds_since_last_trial": idle}
            _last_epoch.at = time.perf_counter()
            tune.report(epoch_report(config["number"], metrics))
    except OSError:
        raise
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else _one_line(error)
        logger.exception("trial %s failed", config["number"])
        (folder / FAILURE_FILE).write_text(traceback.format_exc(), "utf-8")
        tune.report(failure_report(config["number"], last_epoch, message))


def _one_line(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep two processes from training one trial.

    A process outlives the driver that was killed by some moments, and the resumed sweep may have
    started the trial again by then. The lock goes with its process, however that ends.
    """
    with (folder / "lock").open("w") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield


class _Shared:
    """A manifest as a key of a cache: equal to another one of the same content."""

    def __init__(self, manifest: pa.Table) -> None:
        from vgray.places import fingerprint

        self.manifest = manifest
        self._fingerprint = fingerprint(manifest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared) and self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash(self._fingerprint)


@functools.lru_cache(maxsize=2)
def _training_data(shared: _Shared, image_size: tuple[int, int], distance_m: float) -> Any:
    """Open the decoded images and look up the positives, once in a process and data set."""
    from vgray.places import open_store
    from vgray.training import TrainingData

    store = open_store(shared.manifest, image_size)
    return TrainingData.prepare(shared.manifest, store, distance_m)
