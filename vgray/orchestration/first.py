"""Which settings a sweep tries first, and how many trials that makes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vgray.errors import UserError
from vgray.orchestration.branches import LeftOut
from vgray.orchestration.grid import grid_settings, num_settings, spread
from vgray.orchestration.published import completed, drawn_beside
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe, is_misfit
from vgray.settings import describe_settings

if TYPE_CHECKING:
    from vgray.orchestration.plan import SweepOptions
    from vgray.orchestration.warm_start import WarmStart


class First(NamedTuple):
    """What is tried before anything is drawn."""

    settings: list[Mapping[str, Any]]
    """In order, the published ones before others."""
    num_published: int
    num_trials: int
    """Of the whole sweep."""
    left_out: Sequence[LeftOut] = ()
    """Published settings that do not fit the base recipe, where nothing is drawn."""


def settings_tried_first(
    options: "SweepOptions", space: SearchSpace, base: Recipe, warm_start: "WarmStart | None"
) -> First:
    """Return the published settings, or the grid, less what an earlier run has tried.

    Args:
        options: with 0 trials a grid is tried whole.
        space: with what is fixed and ruled out.
        base: the recipe that settings are put into.
        warm_start: what is taken from an earlier run.

    Raises:
        UserError: there is nothing to try, or the space is no grid.
    """

    def is_new(setting: Mapping[str, Any]) -> bool:
        return warm_start is None or not warm_start.has_tried(space.recipe(base, setting))

    if options.published_only:
        return _published_only(space, base)
    if options.sampler == "grid":
        return _grid(options, space, base, warm_start)
    published = [setting for setting in _whole_first(space) if is_new(setting)]
    # At most half of the trials: a sweep that only repeats the literature searches nothing.
    published = published[: math.ceil(options.num_trials / 2)]
    return First(published, len(published), options.num_trials)


def _whole_first(space: SearchSpace) -> list[Mapping[str, Any]]:
    """Return the published settings: those that leave nothing to draw before those that do.

    Of composed spaces one may have the settings of all, of which those of the others are parts.
    """
    whole = [setting for setting in space.published if not drawn_beside(space, setting)]
    parts = [
        setting
        for setting in space.published
        if setting not in whole and not any(setting.items() <= each.items() for each in whole)
    ]
    return whole + parts


def has_few_settings(options: "SweepOptions", space: SearchSpace, base: Recipe) -> bool:
    """Return whether the space has no more settings than there are trials to draw.

    Every other sampler than ``grid`` would then try some of them twice, to the same numbers.
    """
    is_drawn = options.sampler != "grid" and not options.published_only
    return is_drawn and num_settings(space, base, options.num_trials) is not None


def _published_only(space: SearchSpace, base: Recipe) -> First:
    """Return the published settings with nothing left to draw; of one recipe the first."""
    settings: dict[Recipe, Mapping[str, Any]] = {}
    left_out = []
    for setting in space.published:
        try:
            whole = completed(space, base, setting)
        except UserError as error:
            if not is_misfit(error):
                raise
            left_out.append(LeftOut(describe_settings(setting), str(error), 1))
        else:
            settings.setdefault(space.recipe(base, whole), whole)
    if not settings:
        raise UserError(
            f"--published-only: --space {space.name} has no published settings that fit; leave it "
            "out"
        )
    return First(list(settings.values()), len(settings), len(settings), left_out)


def _grid(
    options: "SweepOptions", space: SearchSpace, base: Recipe, warm_start: "WarmStart | None"
) -> First:
    points = {space.recipe(base, setting): setting for setting in grid_settings(space, base)}
    if warm_start is not None:
        points = {
            recipe: point for recipe, point in points.items() if not warm_start.has_tried(recipe)
        }
    if not points:
        raise UserError(
            f"--sampler grid: --space {space.name} has no setting left to try; the earlier run has "
            "tried them all"
        )
    # A published setting goes before the others where it is a point of the grid.
    recipes = dict.fromkeys(space.recipe(base, setting) for setting in space.published)
    published = [points.pop(recipe) for recipe in recipes if recipe in points]
    size = len(published) + len(points)
    num_trials = options.num_trials or size
    if num_trials > size:
        raise UserError(
            f"--num-trials {num_trials}: the grid has {size} settings to try; give at most {size}, "
            "or leave it out"
        )
    num_published = min(len(published), num_trials)
    others = spread(list(points.values()), max(num_trials - len(published), 0), options.seed)
    return First(published[:num_published] + others, num_published, num_trials)
