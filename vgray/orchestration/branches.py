"""The branches of a search space: each way through its choices of methods and image sizes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from pydantic import ValidationError

from vgray.errors import UserError
from vgray.orchestration.probes import ways, ways_of_each
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe
from vgray.settings import describe_settings


@dataclass(frozen=True)
class Branch:
    """One way through the choices of one of the composed spaces."""

    part: int
    """Which of the composed spaces, from 0."""
    choices: Mapping[str, Any]
    """Dotted path -> the method or image size."""
    ranges: Mapping[str, str]
    """Dotted path -> what else may be drawn: ``1..8``, ``1e-05..0.1 log`` or ``{64, 128}``."""
    num_published: int
    own: Mapping[str, Any]
    """The choices, and the middle of each of the ranges."""
    settings: Mapping[str, Any]
    """The same, with all that the other spaces draw."""

    def __str__(self) -> str:
        """Return as ``backbone vgg16, aggregator gem``."""
        return _describe(self.choices) or "any"


@dataclass(frozen=True)
class LeftOut:
    """What is not searched because what is fixed rules it out."""

    what: str
    reason: str
    num_published: int
    """How many published settings are skipped for it."""


@dataclass(frozen=True)
class Branches:
    """What a space comes to where some settings are fixed."""

    kept: list[Branch]
    left_out: list[LeftOut]
    published: list[Mapping[str, Any]]
    """The published settings that are not skipped."""


class Feasible:
    """Whether a space holds a valid recipe with given settings, whatever else it draws.

    It follows from the space, what is fixed and the base recipe alone, so a resumed sweep decides
    the same. Numbers are tried in the middle and at both ends of their ranges.

    Args:
        space: the space, with what is fixed.
        base: the recipe that settings are put into.
    """

    def __init__(self, space: SearchSpace, base: Recipe) -> None:
        self._space = space
        self._base = base
        self._answers: dict[str, Mapping[str, Any] | str] = {}

    def __call__(self, known: Mapping[str, Any]) -> bool:
        """Return whether there is a valid recipe with the ``known`` settings."""
        return not isinstance(self._answer(known), str)

    def settings(self, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return ``known`` with a value for all else that is drawn.

        Raises:
            UserError: there is no valid recipe with them.
        """
        answer = self._answer(known)
        if isinstance(answer, str):
            raise UserError(f"--space {self._space.name}: nothing is left to try: {answer}")
        return answer

    def reason(self, known: Mapping[str, Any]) -> str | None:
        """Return why there is no valid recipe with the ``known`` settings; None if there is one."""
        answer = self._answer(known)
        return answer if isinstance(answer, str) else None

    def _answer(self, known: Mapping[str, Any]) -> Mapping[str, Any] | str:
        key = json.dumps(known, sort_keys=True)
        if key not in self._answers:
            self._answers[key] = self._find(known)
        return self._answers[key]

    def _find(self, known: Mapping[str, Any]) -> Mapping[str, Any] | str:
        first = ""
        for probes in ways(self._space, known):
            settings = [{**known, **probe.settings} for probe in probes]
            # The ends first: what is wrong there is what the space says.
            refusals = [why for each in reversed(settings) if (why := self._refusal(each))]
            if not refusals:
                return settings[0]
            first = first or refusals[0]
        return first

    def _refusal(self, settings: Mapping[str, Any]) -> str | None:
        """Return why the parts do not fit together; what is wrong by itself is raised."""
        try:
            self._space.recipe(self._base, settings)
        except UserError as error:
            cause = error.__context__
            is_misfit = isinstance(cause, ValidationError) and not cause.errors()[0]["loc"]
            if is_misfit or str(error).startswith(tuple(f"{path}:" for path in self._space.fixed)):
                return str(error)
            raise
        return None


def find_branches(space: SearchSpace, feasible: Feasible, given: Mapping[str, Any]) -> Branches:
    """Return the branches of each of the composed spaces, and what has to be left out.

    Args:
        space: the space.
        feasible: what is possible in it.
        given: what the user fixes; published settings that say otherwise are skipped.

    Raises:
        UserError: nothing is left, or a part of the space is wrong by itself.
    """
    feasible.settings({})
    published, skipped = [], []
    for setting in space.published:
        other = [path for path in setting if path in given and given[path] != setting[path]]
        if other:
            here: Mapping[str, Any] = {path: setting[path] for path in other}
            skipped.append((here, f"--set says {other[0]}={given[other[0]]}", setting))
        elif (reason := feasible.reason(setting)) is not None:
            skipped.append((setting, reason, setting))
        else:
            published.append(setting)
    kept, dead = [], {}
    for part, choices, probes in ways_of_each(space):
        if feasible(choices):
            ranges = {path: text for probe in probes for path, text in probe.ranges.items()}
            middle = {path: v for path, v in probes[0].settings.items() if path in ranges}
            count = sum(choices.items() <= setting.items() for setting in published)
            kept.append(
                Branch(
                    part, choices, ranges, count, {**choices, **middle}, feasible.settings(choices)
                )
            )
        else:
            first = _first_dead(choices, feasible)
            dead[json.dumps(first)] = first
    left_out = []
    for first in dead.values():
        of_it = [entry for entry in skipped if first.items() <= entry[2].items()]
        skipped = [entry for entry in skipped if entry not in of_it]
        left_out.append(LeftOut(_describe(first), feasible.reason(first) or "", len(of_it)))
    for what, reason in dict.fromkeys((describe_settings(w), r) for w, r, _ in skipped):
        count = sum((describe_settings(w), r) == (what, reason) for w, r, _ in skipped)
        left_out.append(LeftOut(what, reason, count))
    return Branches(kept, left_out, published)


def sample_settings(
    space: SearchSpace, base: Recipe, count: int, seed: int
) -> list[dict[str, Any]]:
    """Draw ``count`` settings at random, to find mistakes in a space before anything starts.

    Each makes a valid recipe of ``base``.

    Raises:
        UserError: the space fails, varies a path twice, varies what a sweep settles, or draws
            values that no recipe allows.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn: list[dict[str, Any]] = []
    for _ in range(count):
        trial = study.ask()
        settings = space.draw(trial, {})
        settled = sorted({"epochs", "seed"} & settings.keys())
        if settled:
            raise UserError(
                f"--space {space.name}: varies {settled[0]}, which is one for the whole sweep; "
                f"leave it out and give --{settled[0]}"
            )
        space.recipe(base, settings)
        drawn.append(settings)
    return drawn


def _first_dead(choices: Mapping[str, Any], feasible: Feasible) -> dict[str, Any]:
    """Return the first of the choices, one after another, with which nothing is possible."""
    taken: dict[str, Any] = {}
    for path, choice in choices.items():
        taken[path] = choice
        if not feasible(taken):
            break
    return taken


def _describe(choices: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.removesuffix('.name')} {choice}" for path, choice in choices.items())
