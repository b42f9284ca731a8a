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
from vgray.orchestration.branches import Branch
from vgray.orchestration.plan import Plan
from vgray.recipe import Recipe
from vgray.training.speed import Speed, measure_speed

# Beyond either, branches are not measured: a dry run should not take longer than one looks at it.
MOST_NETWORKS = 16
BUDGET_S = 30.0
# Enough of them for a figure on a CPU, where a batch of large images takes a minute.
PIXELS_ON_CPU = 500_000

Measured: TypeAlias = Speed | str | None
"""A speed, why it could not be measured, or None where it was not tried."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speeds:
    """How fast the networks of a sweep are."""

    base: Speed
    branches: list[Measured]
    """Of each of the plan's branches."""
    num_networks: int
    """How many networks and image sizes the branches have."""

    @property
    def differ(self) -> bool:
        """Whether branches are worth telling apart."""
        return any(speed != self.base for speed in self.branches if speed is not None)

    def seconds_per_epoch(self, plan: Plan, num_trained: int, num_described: int) -> float:
        """Return what an epoch takes on average over the branches that were measured.

        Args:
            plan: the plan that was measured.
            num_trained, num_described: images of an epoch.
        """

        def seconds(speed: Speed) -> float:
            return num_trained / speed.training + num_described / speed.describing

        total = seconds(self.base)
        pairs = zip(plan.branches, self.branches, strict=True)
        for _, part in itertools.groupby(pairs, key=lambda pair: pair[0].part):
            known = [seconds(speed) for _, speed in part if isinstance(speed, Speed)]
            if known:
                total *= fmean(known) / seconds(self.base)
        return total


def measure_speeds(plan: Plan, *, threads: int) -> Speeds:
    """Measure the base recipe, and the network of each branch once, as long as it is quick.

    Args:
        plan: the plan.
        threads: for torch.

    Raises:
        UserError: the base recipe's network cannot be built.
    """
    base = _measure(plan.base, threads)
    recipes = [_representative(plan, branch) for branch in plan.branches]
    networks = {_network(recipe): recipe for recipe in recipes}
    if len(networks) > MOST_NETWORKS:
        return Speeds(base, [None] * len(recipes), len(networks))
    speeds: dict[object, Measured] = {_network(plan.base): base}
    until = monotonic() + BUDGET_S
    for key, recipe in networks.items():
        if key not in speeds and monotonic() < until:
            try:
                speeds[key] = _measure(recipe, threads)
            except Exception as error:
                logger.info("not measured", exc_info=True)
                is_mistake = isinstance(error, UserError)
                speeds[key] = str(error) if is_mistake else type(error).__name__
    return Speeds(base, [speeds.get(_network(recipe)) for recipe in recipes], len(networks))


def _representative(plan: Plan, branch: Branch) -> Recipe:
    """Return a recipe in the middle of the branch, the rest as in the base recipe if that does."""
    try:
        return plan.space.recipe(plan.base, branch.own)
    except UserError:
        return plan.space.recipe(plan.base, branch.settings)


def _network(recipe: Recipe) -> object:
    return recipe.backbone, recipe.attention, recipe.aggregator, recipe.image_size


def _measure(recipe: Recipe, threads: int) -> Speed:
    if default_device().type == "cpu":
        pixels = recipe.batch.images_per_place * math.prod(recipe.image_size)
        places = min(recipe.batch.places, max(2, PIXELS_ON_CPU // pixels))
        recipe = recipe.with_settings({"batch.places": places})
    return measure_speed(recipe, threads=threads)
