"""What the study says of a trial: how it stands, its epochs, its best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from vgray.orchestration.report import EPOCH, METRIC

STATUS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "interrupted",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a run and its best epoch's metrics."""

    trial: FrozenTrial
    metrics: dict[str, Any]


def status(trial: FrozenTrial) -> str:
    """Return in words how a trial of a sweep that is not running stands."""
    if trial.state == TrialState.RUNNING and not trial_epochs(trial):
        return "waiting"  # asked for, and never begun
    return STATUS[trial.state]


def trial_epochs(trial: FrozenTrial) -> list[dict[str, Any]]:
    """Return the metrics of the trial's epochs, in order."""
    prefix = f"{EPOCH} "
    epochs = [value for key, value in trial.user_attrs.items() if key.startswith(prefix)]
    return sorted(epochs, key=lambda metrics: metrics[EPOCH])


def best_epoch(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the metrics of the trial's first epoch with its highest recall@1."""
    return max(trial_epochs(trial), key=lambda metrics: metrics[METRIC], default=None)


def best_trial(trials: Sequence[FrozenTrial]) -> BestTrial | None:
    """Return the trial with the highest recall@1 of any epoch, the first of equals."""
    candidates = [
        BestTrial(trial, metrics)
        for trial in trials
        if trial.state != TrialState.FAIL and (metrics := best_epoch(trial))
    ]
    return max(candidates, key=lambda best: best.metrics[METRIC], default=None)
