"""What a sweep costs on a machine like this one: how fast its networks are, measured now."""

import itertools
import logging
import math
from dataclasses import dataclass
from statistics import fmean
from time import monotonic
from typing import TypeAlias

from vgray.errors import UserError
from vgray.models.devices import default_device
from vgray.orchestration.epoch_images import EpochImages
from vgray.orchestration.plan import Plan
from vgray.recipe import Recipe
from vgray.training.speed import Speed, measure_speed

# Beyond it, branches are not measured: a dry run should not take longer than one looks at it.
BUDGET_S = 30.0
# Enough of them for a figure on a CPU, where a batch of large images takes a minute.
PIXELS_ON_CPU = 500_000

Measured: TypeAlias = Speed | str | None
"""A speed, why it could not be measured, or None where it was not tried."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speeds:
    """How fast the networks of a sweep are."""

    first: Speed
    """Of the first branch that was measured, which the others are compared with."""
    branches: list[Measured]
    """Of each of the plan's branches."""

    @property
    def measured(self) -> list[Speed]:
        """Those of the branches that were measured."""
        return [speed for speed in self.branches if isinstance(speed, Speed)]

    @property
    def differ(self) -> bool:
        """Whether branches are worth telling apart."""
        return any(speed != self.first for speed in self.branches if speed is not None)

    def seconds_per_epoch(self, plan: Plan) -> float:
        """Return what an epoch takes at least, on average over the branches.

        Training, validation and mining count; branches that were not measured count as nothing.

        Args:
            plan: the plan that was measured.
        """

        def seconds(speed: Measured, images: EpochImages) -> float:
            if not isinstance(speed, Speed):
                return 0.0
            described = plan.num_validation_images + images.mined
            return images.trained / speed.training + described / speed.describing

        total = first = seconds(self.first, plan.images)
        branches = zip(plan.branches, self.branches, plan.branch_images, strict=True)
        for _, part in itertools.groupby(branches, key=lambda each: each[0].part):
            share = fmean(seconds(speed, images) for _, speed, images in part) / first
            total *= share or 1.0
        return total


def measure_speeds(plan: Plan, *, threads: int) -> Speeds:
    """Measure the network of each branch once, as long as it is quick; one of each backbone first.

    Args:
        plan: the plan.
        threads: for torch.

    Raises:
        UserError: none can be measured.
    """
    recipes = [branch.recipe for branch in plan.branches]
    of_each: dict[str, Recipe] = {}
    for recipe in recipes:
        of_each.setdefault(recipe.backbone.name, recipe)
    speeds: dict[object, Measured] = {}
    until = monotonic() + BUDGET_S
    for recipe in [*of_each.values(), *recipes]:
        if _network(recipe) not in speeds and (not speeds or monotonic() < until):
            try:
                speeds[_network(recipe)] = _measure(recipe, threads)
            except Exception as error:
                logger.info("not measured", exc_info=True)
                is_mistake = isinstance(error, UserError)
                speeds[_network(recipe)] = str(error) if is_mistake else type(error).__name__
    first = next((speed for speed in speeds.values() if isinstance(speed, Speed)), None)
    if first is None:
        raise UserError(f"no branch can be measured: {next(iter(speeds.values()))}")
    return Speeds(first, [speeds.get(_network(recipe)) for recipe in recipes])


def _network(recipe: Recipe) -> object:
    return recipe.backbone, recipe.attention, recipe.aggregator, recipe.image_size


def _measure(recipe: Recipe, threads: int) -> Speed:
    if default_device().type == "cpu":
        pixels = recipe.batch.images_per_place * math.prod(recipe.image_size)
        places = min(recipe.batch.places, max(2, PIXELS_ON_CPU // pixels))
        recipe = recipe.with_settings({"batch.places": places})
    return measure_speed(recipe, threads=threads)
