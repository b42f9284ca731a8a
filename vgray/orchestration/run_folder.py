"""The folder of a run: what a sweep leaves on disk, in formats that anything can read.

``recipe.json``     the base recipe, the sweep's options, the data's fingerprint, versions, command
``epochs.parquet``  a row for each trial and epoch
``trials.parquet``  a row for each trial; ``phase`` tells the search's from the finalists
``finalists.json``  the finalists by the mean of their repeats, and how far the first is ahead
``study.journal``   the Optuna study, which the two tables are made from
``best/``           the best trial's best checkpoint
``trials/``         each trial's checkpoints, by its number
``skipped.csv``     the images that could not be read, with the reasons
``ray/``            Ray Tune's own state, which nothing reads

Where a run was started from an earlier one, its numbers begin behind those of the earlier trials.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from vgray import provenance
from vgray.errors import UserError, nearest_name
from vgray.orchestration import study as studies
from vgray.orchestration.records import BestTrial, best_epoch, trial_epochs
from vgray.orchestration.report import EPOCH, METRIC
from vgray.orchestration.standings import (
    Standing,
    best_of_sweep,
    compare_with_first,
    rank_finalists,
    verdict,
)
from vgray.orchestration.tables import trial_row, write_json, write_table


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run, and how they are written."""

    path: Path

    @classmethod
    def named(cls, storage: Path, name: str) -> "RunFolder":
        """Return the folder of run ``name`` in ``storage``, whether it exists or not.

        Raises:
            UserError: ``name`` is not a plain folder name.
        """
        if not re.fullmatch(r"[\w][\w.+-]*", name):
            raise UserError(
                f"--name {name!r}: not a folder name; use letters, digits, '.', '_', '+' and '-'"
            )
        return cls(storage / name)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """The Optuna study's journal."""
        return self.path / "study.journal"

    @property
    def trials(self) -> Path:
        """The folder of the trials' own folders."""
        return self.path / "trials"

    @property
    def best(self) -> Path:
        """The best trial's checkpoint."""
        return self.path / "best"

    def exists(self) -> bool:
        """Say whether the folder holds a run."""
        return (self.path / "recipe.json").exists()

    def require_new(self) -> None:
        """Refuse a folder that exists: two sweeps in one folder would mix.

        Raises:
            UserError: it exists.
        """
        if self.path.exists():
            go_on = f", or go on with it: --resume {self.name}" if self.exists() else ""
            raise UserError(f"--name {self.name}: {self.path} exists; choose another name{go_on}")

    def create(self, description: dict[str, Any], skipped: Sequence[tuple[str, str]]) -> None:
        """Make the folder and write what the run is.

        Raises:
            UserError: the folder exists already, or cannot be written.
        """
        self.require_new()
        temporary = self.path.with_name(f".{self.name}.{os.getpid()}")
        try:
            (temporary / "trials").mkdir(parents=True)
            provenance.write_skipped(temporary / "skipped.csv", skipped)
            write_json(temporary / "recipe.json", description)
            temporary.rename(self.path)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise UserError(
                f"--storage {self.path.parent}: cannot be written ({error.strerror}); "
                "choose another folder"
            ) from None

    def describe_again(self, description: dict[str, Any]) -> None:
        """Write anew what the run is: a sweep may be resumed with more trials."""
        write_json(self.path / "recipe.json", description)

    def description(self) -> dict[str, Any]:
        """Read what the run is.

        Raises:
            UserError: there is no run here.
        """
        try:
            description: dict[str, Any] = json.loads((self.path / "recipe.json").read_bytes())
        except (OSError, ValueError):
            there = sorted(path.parent.name for path in self.path.parent.glob("*/recipe.json"))
            known = f"; runs there: {', '.join(there)}" if there else "; there are no runs there"
            raise UserError(
                f"{self.path}: is no run of vgray{nearest_name(self.name, there)}{known}"
            ) from None
        return description

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep any other sweep out of the folder.

        Raises:
            UserError: one is at work in it.
        """
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: a sweep is running in it; wait for it or stop it first"
                ) from None
            yield

    def write_tables(self, study: optuna.Study, *, running: bool) -> BestTrial | None:
        """Write the tables, the finalists and ``best/`` from the study; returns the best so far.

        Args:
            study: the run's study.
            running: whether the sweep goes on; a trial of the study that is not finished is then
                running, and its checkpoints are not touched.
        """
        trials = studies.latest_trials(study)
        epochs = [
            {"trial": trial.number, **metrics}
            for trial in trials
            for metrics in trial_epochs(trial)
        ]
        rows = [trial_row(trial, running=running) for trial in trials]
        if epochs:
            write_table(self.path / "epochs.parquet", epochs)
        if rows:
            write_table(self.path / "trials.parquet", rows)
        self.write_finalists(study)
        best = best_of_sweep(trials)
        if best and not (running and best.trial.state == TrialState.RUNNING):
            best = self._copy_best(best)
        return best

    def write_finalists(self, study: optuna.Study) -> list[Standing]:
        """Write ``finalists.json``; returns the finalists, the best first, or none."""
        ranked = rank_finalists(studies.latest_trials(study))
        standings = compare_with_first(ranked, self.ranks)
        if standings:
            values = {
                "repeats": standings[0].num_repeats,
                "verdict": verdict(standings),
                "finalists": [
                    {"rank": rank, **each.to_dict()} for rank, each in enumerate(standings, 1)
                ],
            }
            write_json(self.path / "finalists.json", values)
        return standings

    def ranks(self, trial: FrozenTrial) -> NDArray[np.integer] | None:
        """Return (Q,) the ranks of the validation queries at a trial's best epoch, if kept."""
        best = best_epoch(trial)
        try:
            kept = best and np.load(self.checkpoint(BestTrial(trial, best)) / "ranks.npy")
        except (OSError, ValueError, EOFError):
            return None
        return kept if isinstance(kept, np.ndarray) and kept.ndim == 1 else None

    def checkpoint(self, best: BestTrial) -> Path:
        """Return the folder of a trial's best checkpoint."""
        folder = f"{studies.folder_number(best.trial):04d}"
        return self.trials / folder / _checkpoint_name(best.metrics)

    def drop_leftovers(self, trial: FrozenTrial) -> None:
        """Free the disk of what only an unfinished trial needs.

        Of a trial that has ended the best epoch stays, without the state to train on. A failed
        trial keeps everything: it may be tried again.
        """
        best = best_epoch(trial)
        if best is None or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        keep = self.checkpoint(BestTrial(trial, best))
        for folder in keep.parent.glob("epoch-*"):
            if folder != keep:
                shutil.rmtree(folder, ignore_errors=True)
        (keep / "training_state.pt").unlink(missing_ok=True)

    def _copy_best(self, best: BestTrial) -> BestTrial:
        source = self.checkpoint(best)
        if not source.is_dir():
            best = self._best_on_disk(best)
            source = self.checkpoint(best)
        mark = json.dumps(
            {
                "trial": best.trial.number,
                "epoch": best.metrics[EPOCH],
                "finalist_of": best.trial.user_attrs.get(studies.FINALIST_OF),
            }
        )
        marker = self.best / "trial.json"
        if not source.is_dir() or (marker.exists() and marker.read_text() == mark):
            return best
        for leftover in self.path.glob("best-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix="best-", dir=self.path))
        try:
            shutil.copytree(
                source,
                temporary,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("training_state.pt"),
            )
            (temporary / "trial.json").write_text(mark)
            temporary.chmod(0o755)
            shutil.rmtree(self.best, ignore_errors=True)
            temporary.rename(self.best)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return best

    def _best_on_disk(self, best: BestTrial) -> BestTrial:
        """Return the trial with the epoch that its folder says is best.

        A trainer may have checkpointed a better epoch, and dropped the one that was best, in the
        moment before the sweep was stopped.
        """
        for metrics_file in sorted(self.checkpoint(best).parent.glob("epoch-*/metrics.json")):
            history = json.loads(metrics_file.read_bytes())["history"]
            better = max(history, key=lambda metrics: metrics[METRIC])
            if metrics_file.parent.name == _checkpoint_name(better):
                best = BestTrial(best.trial, better)
        return best


def require_writable(storage: Path) -> None:
    """Check that runs can be written in ``storage``, without making it.

    Raises:
        UserError: they cannot.
    """
    there = next(path for path in (storage, *storage.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--storage {storage}: cannot be written; choose another folder")


def _checkpoint_name(metrics: dict[str, Any]) -> str:
    return f"epoch-{metrics[EPOCH]:04d}"
