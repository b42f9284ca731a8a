"""Which settings a sweep tries first, and how many trials that makes."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vgray.errors import UserError
from vgray.orchestration.grid import grid_settings, spread
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe

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

    published = [setting for setting in space.published if is_new(setting)]
    if options.published_only:
        if not published:
            raise UserError(
                f"--published-only: --space {space.name} has no published settings that fit; "
                "leave it out"
            )
        return First(published, len(published), len(published))
    if options.sampler == "grid":
        return _grid(options, space, base, warm_start)
    # At most half of the trials: a sweep that only repeats the literature searches nothing.
    published = published[: math.ceil(options.num_trials / 2)]
    return First(published, len(published), options.num_trials)


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
