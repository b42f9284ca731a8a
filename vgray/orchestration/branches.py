"""The branches of a search space: each way through its choices of methods and image sizes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from vgray.errors import UserError
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.probes import Way, varied_paths, ways_of_each
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe, is_misfit
from vgray.settings import describe_settings


@dataclass(frozen=True)
class Branch:
    """One way through the choices of one of the composed spaces, or one of its choices."""

    part: int
    """Which of the composed spaces, from 0."""
    choices: Mapping[str, Any]
    """Dotted path -> the method or image size."""
    ranges: Mapping[str, str]
    """Dotted path -> what else may be drawn: ``1..8``, ``1e-05..0.1 log`` or ``{64, 128}``."""
    recipe: Recipe
    """One of its recipes: in the middle of the ranges, with the first that fits of all else."""

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
    are_all: bool
    """Whether every way is a branch; of a large space each choice is one."""


def base_recipe(space: SearchSpace, seed: int) -> Recipe:
    """Return the recipe that drawn settings are put into: what is fixed, and defaults.

    Where that only fits together with something that is drawn (an image size), it is one with it.

    Raises:
        UserError: what is fixed is wrong, or fits nothing.
    """
    # In two steps: a name that is fixed starts its family without what the space fixes in it.
    base = Recipe().with_settings({**space.base, "seed": seed})
    try:
        return space.recipe(base, {})
    except UserError as error:
        feasible = Feasible(space, base)
        if not is_misfit(error) or not feasible({}):
            raise
        return feasible.recipe({})


def find_branches(space: SearchSpace, feasible: Feasible, given: Mapping[str, Any]) -> Branches:
    """Return the branches of each of the composed spaces, and what has to be left out.

    Args:
        space: the space.
        feasible: what is possible in it.
        given: what the user fixes; published settings that say otherwise are skipped, and so are
            those that it makes the same as an earlier one.

    Raises:
        UserError: nothing is left, or a part of the space is wrong by itself.
    """
    feasible.recipe({})
    # What some of the published settings say, the others take from the space.
    said_by_some = {path for setting in space.published for path in setting}
    implied = {path: value for path, value in space.base.items() if path in said_by_some}
    varied = varied_paths(space)
    published, skipped, seen = [], [], set()
    for setting in space.published:
        said = {**implied, **setting}
        here: Mapping[str, Any] = {
            path: said[path] for path in given if path in said and given[path] != said[path]
        }
        if here:
            other = next(iter(here))
            skipped.append((here, f"--set says {other}={given[other]}", setting))
        elif (reason := feasible.reason(setting)) is not None:
            skipped.append((setting, reason, setting))
        elif (key := (feasible.recipe(setting), frozenset(varied & setting.keys()))) not in seen:
            seen.add(key)
            published.append(setting)
    kept: list[Branch] = []
    dead: dict[str, Mapping[str, Any]] = {}
    are_all = True
    for way in ways_of_each(space):
        are_all = are_all and way.is_one_of_all
        # Where an end depends on another number, the one in the middle is shown.
        ranges = {path: text for each in reversed(way.probes) for path, text in each.ranges.items()}
        for choices in [way.choices] if way.is_one_of_all else _single(way, kept, dead):
            if feasible(choices):
                recipe = feasible.recipe(way.choices if feasible(way.choices) else choices)
                shown = ranges if way.is_one_of_all else _ranges_of(choices, way, ranges)
                kept.append(Branch(way.part, choices, shown, recipe))
            else:
                core = _first_dead(choices, feasible)
                dead[json.dumps(core)] = core
    left_out = []
    for first in dead.values():
        of_it = [entry for entry in skipped if first.items() <= entry[2].items()]
        skipped = [entry for entry in skipped if entry not in of_it]
        left_out.append(LeftOut(_describe(first), feasible.reason(first) or "", len(of_it)))
    for what, reason in dict.fromkeys((describe_settings(w), r) for w, r, _ in skipped):
        count = sum((describe_settings(w), r) == (what, reason) for w, r, _ in skipped)
        left_out.append(LeftOut(what, reason, count))
    return Branches(kept, left_out, published, are_all)


def _single(
    way: Way, kept: list[Branch], dead: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield each choice of the way by itself that no earlier way has taken."""
    seen = [branch.choices for branch in kept] + list(dead.values())
    for path, choice in way.choices.items():
        if {path: choice} not in seen:
            yield {path: choice}


def _ranges_of(choices: Mapping[str, Any], way: Way, ranges: Mapping[str, str]) -> dict[str, str]:
    """Return the ranges of the family that is chosen from; the first has the rest."""
    families = {_family(path) for path in way.choices}
    mine = {_family(path) for path in choices}
    return {
        path: text
        for path, text in ranges.items()
        if _family(path) in mine
        or (way.probes[0].picked[0] in choices and _family(path) not in families)
    }


def _family(path: str) -> str:
    return path.partition(".")[0]


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
