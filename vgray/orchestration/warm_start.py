"""Warm start: what an earlier run found out informs the sampler of a new one."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.earlier import read_study
from vgray.orchestration.replay import Replay
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe
from vgray.settings import flatten_settings

if TYPE_CHECKING:
    from vgray.orchestration.plan import Plan

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
# The user attribute of a study that says what it takes from an earlier run.
_TAKEN = "warm_start"
# Differences from the earlier run that are named.
_SHOWN = 4


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
    fixed: Mapping[str, Any]
    """What it did not vary: dotted path -> value."""
    num_lost: int = 0
    """Trials that are gone with it: the sweep was killed before it had added them."""

    def has_tried(self, recipe: Recipe) -> bool:
        """Return whether the earlier run has a trial of the recipe, with whatever seed."""
        return _without_seed(recipe) in self.tried

    def describe(self, sampler: str, base: Recipe, varied: Container[str]) -> str:
        """Return in one line what a sweep has of it, and what was fixed otherwise there.

        Args:
            sampler: of the sweep.
            base: its base recipe.
            varied: the dotted paths that it may draw.
        """
        count = len(self.trials)
        trials = f"{count} trial{'s'[: count != 1]} of {self.name}"
        what = (
            f"{trials} inform{'s'[: count == 1]} the sampler"
            if sampler in ("tpe", "gp")
            else f"what {trials} tried is not repeated"
        )
        lost = f"; {self.num_lost} more are gone with that run" if self.num_lost else ""
        return (
            f"{what} ({self.epochs} epochs there, {base.epochs} here){lost}"
            f"{self._differences(base, varied)}"
        )

    def _differences(self, base: Recipe, varied: Container[str]) -> str:
        here = flatten_settings(base.to_dict())
        found = []
        for path, there in sorted(self.fixed.items(), key=lambda item: _rank(item[0])):
            name = f"{path.partition('.')[0]}.name"
            # Two methods differ in settings too, which say nothing more.
            is_of_same = path == name or (
                name not in varied and self.fixed.get(name) == here.get(name)
            )
            if path in here and path not in varied and is_of_same and here[path] != there:
                text = "x".join(map(str, there)) if path == "image_size" else str(there)
                found.append(f"{path} {text}")
        if not found:
            return ""
        found[0] = " was ".join(found[0].split(" ", 1))
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f"; there {', '.join(found[:_SHOWN])}{more}"


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
    study = read_study(run.journal)
    ended = _ended(study.trials)
    if not ended:
        raise UserError(
            f"--warm-start {run.name}: none of its trials has ended, so there is nothing to learn "
            "from; leave it out or choose another run"
        )
    replays = [Replay(trial) for trial in ended]
    for each in replays:
        space.draw(each, {})
    trials = [new for each in replays if (new := each.as_new(run.name)) is not None]
    if not trials:
        others = sorted({path for each in replays for path in each.other_choices})
        what = (
            f"draws {', '.join(others)} from other choices than {space.name}, and they share no "
            "more"
            if others
            else f"has nothing in common with {space.name}"
        )
        raise UserError(
            f"--warm-start {run.name}: its --space {described['options']['space']} {what}; leave "
            "it out or choose another run"
        )
    recipes = [trial.user_attrs[studies.RECIPE] for trial in ended]
    return WarmStart(
        name=run.name,
        fingerprint=described["data"]["fingerprint"],
        epochs=described["recipe"]["epochs"],
        trials=trials,
        tried=_tried([*recipes, *study.attributes.get(_TAKEN, {}).get("tried", [])]),
        fixed=_fixed(described["recipe"], study.trials),
    )


def recorded_warm_start(run: RunFolder, space: SearchSpace) -> WarmStart | None:
    """Return what a run has taken from an earlier one, which may be gone; None if nothing yet.

    Trials are read again where the run was killed before it had added them.

    Args:
        run: one that is resumed.
        space: its space, with what is fixed and ruled out.
    """
    study = read_study(run.journal)
    there = [trial for trial in study.trials if studies.WARM_START in trial.user_attrs]
    taken = study.attributes.get(_TAKEN)
    if taken is None:
        return None
    warm = WarmStart(
        name=taken["name"],
        fingerprint=taken["fingerprint"],
        epochs=taken["epochs"],
        trials=there,
        tried=_tried(taken["tried"]),
        fixed=taken["fixed"],
    )
    missing = set(taken["trials"]) - {trial.user_attrs[studies.WARM_START] for trial in there}
    if not missing:
        return warm
    earlier = RunFolder(Path(run.description()["options"]["warm_start"]))
    again = read_warm_start(earlier, space).trials if earlier.exists() else []
    found = [trial for trial in again if trial.user_attrs[studies.WARM_START] in missing]
    return replace(warm, trials=[*there, *found], num_lost=len(missing) - len(found))


def add_earlier_trials(study: optuna.Study, plan: "Plan") -> int:
    """Add the earlier run's trials, for the sampler alone, to a new study; returns how many.

    Safe to repeat: trials that are in the study already are not added again. What is taken is
    written down first, so that a sweep that is killed meanwhile is resumed with the same plan.
    """
    warm = plan.warm_start
    if warm is None:
        return 0
    if _TAKEN not in study.user_attrs:
        taken = {
            "name": warm.name,
            "fingerprint": warm.fingerprint,
            "epochs": warm.epochs,
            "trials": [trial.user_attrs[studies.WARM_START] for trial in warm.trials],
            "tried": [recipe.to_dict() for recipe in warm.tried],
            "fixed": dict(warm.fixed),
        }
        study.set_user_attr(_TAKEN, taken)
    there = {trial.user_attrs.get(studies.WARM_START) for trial in study.get_trials(deepcopy=False)}
    trials = warm.trials
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


def _fixed(recipe: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return what a run did not vary, of its base recipe."""
    drawn = {"seed", "epochs"}
    for trial in trials:
        drawn |= trial.user_attrs.get(studies.SETTINGS, {}).keys()
    families = {path.removesuffix("name") for path in drawn if path.endswith(".name")}
    return {
        path: value
        for path, value in flatten_settings(recipe).items()
        if path not in drawn and not path.startswith(tuple(families))
    }


def _rank(path: str) -> tuple[bool, bool]:
    """Return a key that sorts methods first, then the image size, then all else."""
    return not path.endswith(".name"), path != "image_size"


def _tried(recipes: Iterable[Mapping[str, Any]]) -> frozenset[Recipe]:
    distinct = {json.dumps(recipe) for recipe in recipes}
    return frozenset(_without_seed(Recipe.from_dict(json.loads(recipe))) for recipe in distinct)


def _without_seed(recipe: Recipe) -> Recipe:
    return recipe.with_settings({"seed": 0})
