"""ASHA over epochs, resumable from the study."""

from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from vgray.orchestration.report import EPOCH, FAILURE, METRIC, NUMBER
from vgray.orchestration.study import search_trials


class StudyASHA(ASHAScheduler):
    """ASHA whose rungs are those of the study, so that a resumed sweep goes on with them.

    Ray Tune does not keep a scheduler's state. Here it follows from the study: every recall that
    was recorded is fed in again, under the trial's number in the study. Tune shows an epoch to the
    searcher only when the trial goes on behind it, so what an interrupted trial has on record was
    decided, and what was not decided it reports again. Finalists are never stopped and not fed in.
    """

    def __init__(self, study: optuna.Study, *, epochs: int, grace: int, reduction: float) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=METRIC,
            mode="max",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=reduction,
        )
        for trial in search_trials(study):
            values = sorted(trial.intermediate_values.items())
            past = SimpleNamespace(config={NUMBER: trial.number})
            if values:
                self.on_trial_add(None, past)
            for epoch, value in values:
                self.on_trial_result(None, past, {EPOCH: epoch, METRIC: value})
            if values and trial.state.is_finished():
                epoch, value = values[-1]
                self.on_trial_complete(None, past, {EPOCH: epoch, METRIC: value})

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial its bracket."""
        super().on_trial_add(tune_controller, _by_number(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether the trial goes on; one that failed does not, and counts for nothing."""
        if FAILURE in result:
            return str(TrialScheduler.STOP)
        return str(super().on_trial_result(tune_controller, _by_number(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take the trial's last value into its rung."""
        if FAILURE not in result:
            super().on_trial_complete(tune_controller, _by_number(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that never ran."""
        super().on_trial_remove(tune_controller, _by_number(trial))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune's snapshots are not read back.


def _by_number(trial: Any) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial.config[NUMBER])
