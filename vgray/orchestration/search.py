"""Ray Tune's searcher over the study: what runs next, and what Optuna is told of the end."""

import math
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from vgray.orchestration import study as studies
from vgray.orchestration.report import EPOCH, FAILURE, METRIC, reported_metrics
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe


class StudySearch(OptunaSearch):
    """Optuna's searcher, resumable from the study alone, telling the study the truth.

    Ray's own tells a stopped trial as COMPLETE, leaves a trial that reported NaN RUNNING for ever,
    and cannot be restored once its storage is newer than Tune's snapshot. This one holds nothing
    that the study does not hold:

    - a trial that reached its last epoch is COMPLETE, one that was stopped earlier PRUNED, one
      that failed FAIL;
    - a trial that was RUNNING when the sweep was interrupted is suggested again, before new ones,
      under its own number.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        base: Recipe,
        *,
        seed: int,
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._ot_study = study
        self._vgray_space = space
        self._base = base
        self._sweep_seed = seed
        self._interrupted = [
            trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING
        ]

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """Accept Tune's set-up: the metric and the space are settled already."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the number, folder and recipe of the next trial."""
        if self._interrupted:
            trial = studies.resume_trial(self._ot_study, self._interrupted.pop(0))
        else:
            trial = self._ot_study.ask()
        self._ot_trials[trial_id] = trial
        recipe = studies.configure(
            self._ot_study, trial, self._vgray_space, self._base, self._sweep_seed
        )
        return {
            "number": trial.number,
            "folder": f"{studies.folder_number(trial):04d}",
            "settings": trial.user_attrs[studies.SETTINGS],
            "recipe": recipe.to_dict(),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an epoch's recall; one that was recorded before an interruption is skipped."""
        trial = self._ot_trials[trial_id]
        epoch, value = result.get(EPOCH), result.get(METRIC)
        if epoch is None or value is None or not math.isfinite(value) or FAILURE in result:
            return
        if epoch not in self._frozen(trial).intermediate_values:
            trial.set_user_attr(f"{EPOCH} {epoch}", reported_metrics(result))
            trial.report(value, epoch)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how the trial ended, once."""
        trial = self._ot_trials.pop(trial_id, None)
        if trial is None:
            return
        result = result or {}
        failure = result.get(FAILURE)
        if error or failure or METRIC not in result:
            trial.set_user_attr(
                studies.FAILURE, failure or "the trial's process was lost too often"
            )
            self._ot_study.tell(trial, state=TrialState.FAIL)
            return
        self._ot_trials[trial_id] = trial
        self.on_trial_result(trial_id, result)
        del self._ot_trials[trial_id]
        recipe = Recipe.from_dict(trial.user_attrs[studies.RECIPE])
        if result[EPOCH] >= recipe.epochs:
            best = max(self._frozen(trial).intermediate_values.values())
            self._ot_study.tell(trial, best, state=TrialState.COMPLETE)
        else:
            self._ot_study.tell(trial, state=TrialState.PRUNED)

    def _frozen(self, trial: optuna.Trial) -> optuna.trial.FrozenTrial:
        return self._ot_study.get_trials(deepcopy=False)[trial.number]

    # Tune pickles its searcher into snapshots that nothing here reads: the study is the record.
    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a sweep is resumed from its study."""
        raise RuntimeError("a vgray sweep is resumed from its study, not from Tune's snapshot")

    def __getstate__(self) -> dict[str, Any]:
        return {}
