"""Warm start: what an earlier run found out informs the sampler of a new one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.earlier import read_trials
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe

if TYPE_CHECKING:
    from vgray.orchestration.plan import Plan

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class WarmStart:
    """What a sweep takes from an earlier run."""

    name: str
    """The earlier run's."""
    fingerprint: str
    """Of its data."""
    epochs: int
    """Of its trials."""
    trials: list[FrozenTrial]
    """Its trials as trials of the new study, as far as the spaces overlap."""
    tried: frozenset[Recipe]
    """The recipes that it has tried, with seed 0."""

    def has_tried(self, recipe: Recipe) -> bool:
        """Return whether the earlier run has a trial of the recipe, with whatever seed."""
        return _without_seed(recipe) in self.tried

    def describe(self, sampler: str, epochs: int) -> str:
        """Return in one line what a sweep of ``epochs`` with ``sampler`` has of it."""
        count = len(self.trials)
        trials = f"{count} trial{'s'[: count != 1]} of {self.name}"
        what = (
            f"{trials} inform{'s'[: count == 1]} the sampler"
            if sampler in ("tpe", "gp")
            else f"what {trials} tried is not repeated"
        )
        return f"{what} ({self.epochs} epochs there, {epochs} here)"


class _Replay(optuna.trial.FixedTrial):
    """Answers with an earlier trial's values; notes those that the new space could draw too."""

    def __init__(self, earlier: FrozenTrial) -> None:
        super().__init__({})
        self._earlier = earlier
        self.shared: dict[str, BaseDistribution] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._answer(name, FloatDistribution(low, high, log=log, step=step), low))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._answer(name, IntDistribution(low, high, log=log, step=step), low))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name, CategoricalDistribution(choices), choices[0])

    def _answer(self, name: str, new: BaseDistribution, otherwise: Any) -> Any:
        value = self._earlier.params.get(name)
        old = self._earlier.distributions.get(name)
        if type(old) is not type(new):
            return otherwise
        if isinstance(new, CategoricalDistribution):
            # The same choices or not, what follows the value's own branch may overlap.
            is_shared = new == old
            return_value = value in new.choices
        else:
            is_shared = return_value = new._contains(new.to_internal_repr(value))
        if is_shared:
            self.shared[name] = new
        return value if return_value else otherwise


def read_warm_start(run: RunFolder, space: SearchSpace) -> WarmStart:
    """Return what a new sweep of ``space`` takes from a run: its trials that have ended.

    What it took itself from a run before it is passed on. Nothing is written to it.

    Args:
        run: the earlier run.
        space: of the new sweep, with what is fixed and ruled out.

    Raises:
        UserError: there is no such run, none of its trials has ended, or the spaces have nothing
            in common.
    """
    described = run.description()
    ended = _ended(read_trials(run.journal))
    if not ended:
        raise UserError(
            f"--warm-start {run.name}: none of its trials has ended, so there is nothing to learn "
            "from; leave it out or choose another run"
        )
    trials = [new for trial in ended if (new := _as_new(trial, run.name, space)) is not None]
    if not trials:
        raise UserError(
            f"--warm-start {run.name}: its --space {described['options']['space']} has nothing in "
            f"common with {space.name}; leave it out or choose another run"
        )
    return WarmStart(
        name=run.name,
        fingerprint=described["data"]["fingerprint"],
        epochs=described["recipe"]["epochs"],
        trials=trials,
        tried=_tried(ended),
    )


def recorded_warm_start(run: RunFolder) -> WarmStart | None:
    """Return what a run has taken from an earlier one, which may be gone; None without trials.

    Args:
        run: one that is resumed.
    """
    trials = read_trials(run.journal)
    warm = [trial for trial in trials if studies.WARM_START in trial.user_attrs]
    if not warm:
        return None
    described = run.description()
    return WarmStart(
        name=Path(described["options"]["warm_start"]).name,
        fingerprint=described["data"]["fingerprint"],
        epochs=max(trial.user_attrs[studies.RECIPE]["epochs"] for trial in warm),
        trials=warm,
        tried=_tried(warm),
    )


def add_earlier_trials(study: optuna.Study, plan: "Plan") -> int:
    """Add the earlier run's trials, for the sampler alone, to a new study; returns how many.

    Safe to repeat: trials that are in the study already are not added again.
    """
    if plan.warm_start is None:
        return 0
    there = {trial.user_attrs.get(studies.WARM_START) for trial in study.get_trials(deepcopy=False)}
    trials = plan.warm_start.trials
    study.add_trials(trial for trial in trials if trial.user_attrs[studies.WARM_START] not in there)
    return len(trials)


def _ended(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that finished or were stopped early, without finalists."""
    return [
        trial
        for trial in trials
        if trial.state in ENDED
        and trial.intermediate_values
        and studies.FINALIST_OF not in trial.user_attrs
    ]


def _as_new(trial: FrozenTrial, run: str, space: SearchSpace) -> FrozenTrial | None:
    """Return an earlier trial with the parameters that ``space`` has too; None if there is none."""
    replay = _Replay(trial)
    space.draw(replay, {})
    if not replay.shared:
        return None
    attributes = trial.user_attrs
    return create_trial(
        state=trial.state,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        params={name: trial.params[name] for name in replay.shared},
        distributions=replay.shared,
        intermediate_values=trial.intermediate_values,
        user_attrs={
            studies.WARM_START: attributes.get(studies.WARM_START, f"{run}#{trial.number}"),
            studies.RECIPE: attributes[studies.RECIPE],
        },
    )


def _tried(trials: Sequence[FrozenTrial]) -> frozenset[Recipe]:
    recipes = {json.dumps(trial.user_attrs[studies.RECIPE]) for trial in trials}
    return frozenset(_without_seed(Recipe.from_dict(json.loads(recipe))) for recipe in recipes)


def _without_seed(recipe: Recipe) -> Recipe:
    return recipe.with_settings({"seed": 0})
