"""Ray Tune's searcher over the study: what runs next, and what Optuna is told of the end."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import Repeat, begin_repeat, unfinished_finalists
from vgray.orchestration.report import EPOCH, FAILURE, METRIC, NUMBER, reported_metrics
from vgray.orchestration.spaces import SearchSpace
from vgray.orchestration.trial import last_failure
from vgray.recipe import Recipe

logger = logging.getLogger(__name__)


class StudySearch(OptunaSearch):
    """Optuna's searcher, resumable from the study alone, telling the study the truth.

    Ray's own tells a stopped trial as COMPLETE, leaves a trial that reported NaN RUNNING for ever,
    and cannot be restored once its storage is newer than Tune's snapshot. This one holds nothing
    that the study does not hold:

    - a trial that reached its last epoch is COMPLETE, one that was stopped earlier PRUNED, one
      that failed FAIL;
    - a trial that was RUNNING when the sweep was interrupted is suggested again, before new ones,
      under its own number.

    Args:
        study: the sweep's study.
        space: what may vary.
        base: the recipe that settings are put into.
        num_to_run: how many trials are to be suggested.
        seed: of the sampler.
        trials: the folder of the trials' own folders.
        sampler: its name, see ``samplers``.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        base: Recipe,
        *,
        num_to_run: int,
        seed: int,
        trials: Path,
        sampler: str = "tpe",
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._ot_study = study
        self._vgray_space = space
        self._base = base
        self._left = num_to_run
        self._sweep_seed = seed
        self._folder = trials
        self._sampler_name = sampler
        self._queue = studies.begun_and_waiting(studies.search_trials(study))

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """Accept Tune's set-up: the metric and the space are settled already."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return number, folder, settings and recipe of the next trial; FINISHED if none is left.

        Settings that the space fails to draw are told as a failed trial.
        """
        while self._left > 0:
            self._left -= 1
            trial = self._begin()
            try:
                recipe = studies.configure(trial, self._vgray_space, self._base)
            except Exception as error:
                logger.exception("trial %d could not be drawn", trial.number)
                self._fail(trial, f"its settings: {type(error).__name__}: {error}")
                continue
            self._ot_trials[trial_id] = trial
            return {
                NUMBER: trial.number,
                "folder": f"{studies.folder_number(trial):04d}",
                "settings": trial.user_attrs[studies.SETTINGS],
                "recipe": recipe.to_dict(),
                studies.FINALIST_OF: trial.user_attrs.get(studies.FINALIST_OF),
            }
        return str(Searcher.FINISHED)

    def _begin(self) -> optuna.Trial:
        waiting = self._queue.pop(0) if self._queue else None
        return studies.begin_trial(self._ot_study, waiting, self._sampler_name, self._sweep_seed)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an epoch behind which the trial goes on."""
        trial = self._ot_trials.get(trial_id)
        if trial is not None and FAILURE not in result:
            record_epoch(self._ot_study, trial, reported_metrics(result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how the trial ended, once."""
        trial = self._ot_trials.pop(trial_id, None)
        if trial is None:
            return
        result = result or {}
        if error or FAILURE in result or METRIC not in result:
            folder = self._folder / f"{studies.folder_number(trial):04d}"
            lost = f"the trial's process was lost too often; {last_failure(folder)}"
            self._fail(trial, result.get(FAILURE) or lost)
            return
        metrics = reported_metrics(result)
        trial.set_user_attr(studies.ENDING, metrics)
        end_trial(self._ot_study, trial, metrics)

    def _fail(self, trial: optuna.Trial, failure: str) -> None:
        trial.set_user_attr(studies.FAILURE, failure)
        self._ot_study.tell(trial, state=TrialState.FAIL)

    # Tune pickles its searcher into snapshots that nothing here reads: the study is the record.
    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a sweep is resumed from its study."""
        raise RuntimeError("a vgray sweep is resumed from its study, not from Tune's snapshot")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class FinalistSearch(StudySearch):
    """The searcher of the finalists: those that were interrupted, that wait, and the missing.

    Args:
        study: the sweep's study.
        space: what may vary.
        base: the recipe that settings are put into.
        missing: what is to be trained that the study has not.
        trials: the folder of the trials' own folders.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        base: Recipe,
        *,
        missing: Sequence[Repeat],
        trials: Path,
    ) -> None:
        waiting = unfinished_finalists(study)
        num_to_run = len(waiting) + len(missing)
        super().__init__(study, space, base, num_to_run=num_to_run, seed=base.seed, trials=trials)
        self._queue = waiting
        self._missing = list(missing)

    def _begin(self) -> optuna.Trial:
        if self._queue:
            return studies.resume_trial(self._ot_study, self._queue.pop(0))
        return begin_repeat(self._ot_study, self._missing.pop(0))


def record_epoch(study: optuna.Study, trial: optuna.Trial, metrics: dict[str, Any]) -> None:
    """Record an epoch; one that is on record since before an interruption is skipped."""
    if metrics[EPOCH] not in _frozen(study, trial).intermediate_values and math.isfinite(
        metrics[METRIC]
    ):
        trial.set_user_attr(f"{EPOCH} {metrics[EPOCH]}", metrics)
        trial.report(metrics[METRIC], metrics[EPOCH])


def end_trial(study: optuna.Study, trial: optuna.Trial, last: dict[str, Any]) -> None:
    """Record a trial's last epoch and tell its end: COMPLETE, or PRUNED before its last epoch."""
    record_epoch(study, trial, last)
    if last[EPOCH] >= Recipe.from_dict(trial.user_attrs[studies.RECIPE]).epochs:
        best = max(_frozen(study, trial).intermediate_values.values())
        study.tell(trial, best, state=TrialState.COMPLETE)
    else:
        study.tell(trial, state=TrialState.PRUNED)


def tell_what_was_ending(study: optuna.Study) -> None:
    """Tell the end of trials that had ended when the sweep was killed, but were not told yet."""
    for frozen in study.get_trials(deepcopy=False):
        if frozen.state == TrialState.RUNNING and studies.ENDING in frozen.user_attrs:
            trial = studies.resume_trial(study, frozen)
            end_trial(study, trial, frozen.user_attrs[studies.ENDING])


def _frozen(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[trial.number]
