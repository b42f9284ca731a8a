"""What is made sure of once before a sweep starts."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vgray.errors import UserError, nearest_name
from vgray.orchestration.epoch_images import images_per_epoch
from vgray.orchestration.rungs import default_grace
from vgray.places import require_data_for
from vgray.recipe import Recipe
from vgray.settings import flatten_settings

if TYPE_CHECKING:
    from vgray.orchestration.plan import SweepOptions


def refuse_numbers(options: "SweepOptions") -> None:
    """Refuse numbers that make no sweep, and a seed that is not one for all of it.

    Raises:
        UserError: names the first.
    """
    if not options.reduction > 1:
        raise UserError(
            f"--reduction {options.reduction:g}: each comparison keeps one trial in this many; "
            "give more than 1"
        )
    if "seed" in options.settings:
        raise UserError("--set seed: is one for search and training; give --seed instead")
    if options.finalists < 0 or options.repeats < 1:
        raise UserError(
            f"--finalists {options.finalists} --repeats {options.repeats}: each must be at least 1"
        )


def refuse_beside_published_only(
    num_trials: int | None, sampler: str | None, warm_start: str | None
) -> None:
    """Refuse what ``--published-only`` settles: it draws nothing.

    Raises:
        UserError: names the first.
    """
    given = {"--num-trials": num_trials, "--sampler": sampler, "--warm-start": warm_start}
    for option, value in given.items():
        if value is not None:
            raise UserError(
                f"{option} {value}: --published-only tries what is published, and draws nothing; "
                "leave one of them out"
            )


def refuse_fixed_and_varied(varied: set[str], settings: Mapping[str, Any], space: str) -> None:
    """Refuse to fix a setting that the space varies.

    Raises:
        UserError: names the first.
    """
    both = sorted(varied & settings.keys())
    if both:
        raise UserError(f"--set {both[0]}: is varied by --space {space}; leave one of them out")


def refuse_fixed_nowhere(
    recipes: Sequence[Recipe], settings: Mapping[str, Any], space: str
) -> None:
    """Refuse to fix a setting that none of the recipes has.

    Raises:
        UserError: names the first, and one that is like it.
    """
    known = {path for recipe in recipes for path in flatten_settings(recipe.to_dict())}
    for path in settings:
        if path not in known:
            hint = nearest_name(path, sorted(known)) or "; leave it out"
            raise UserError(f"--set {path}: nothing in --space {space} has it{hint}")


def ensure_networks(recipes: Sequence[Recipe]) -> list[str]:
    """Make sure, once for each of the backbones, that it exists and its weights fit.

    What fits a model of timm only timm knows, so of those each aggregator is tried, and so it is
    where training starts from a checkpoint.

    Returns:
        What the networks do not take from the checkpoint, a line for each that differs.

    Raises:
        UserError: a model of timm does not exist; weights cannot be had or are another network's.
    """
    # The least cropped one needs the most of a file.
    recipes = sorted(recipes, key=lambda recipe: recipe.backbone.crop_last, reverse=True)
    kinds: dict[tuple[str, str, str], Recipe] = {}
    for recipe in recipes:
        name, weights = recipe.backbone.name, recipe.backbone.weights
        of_each = name.startswith("timm/") or recipe.init_from is not None
        if of_each or weights != "none":
            kinds[name, weights, recipe.aggregator.name if of_each else ""] = recipe
    notes: list[str] = []
    for (name, weights, _), recipe in kinds.items():
        from vgray.models import ensure_network

        try:
            initial = ensure_network(recipe)
        except UserError as error:
            if len(kinds) == 1 or weights == "none" or recipe.init_from is not None:
                raise
            raise UserError(
                f"backbone {name}: {error}; or start every backbone from random weights: "
                "--set backbone.weights=none"
            ) from None
        note = initial.describe() if initial is not None else None
        if note is not None and note not in notes:
            notes.append(note)
    return notes


def require_data(
    manifest: pa.Table, recipes: Sequence[Recipe], varied: Collection[str], space: str
) -> None:
    """Refuse data with which any of the recipes could not be trained and scored.

    Args:
        manifest: the data.
        recipes: that may be tried.
        varied: the dotted paths that the space draws.
        space: its name.

    Raises:
        UserError: says what is missing, and whether it is the space that asks for it.
    """
    try:
        require_data_for(manifest, recipes)
    except UserError as error:
        path = str(error).partition(":")[0]
        if path not in varied:
            raise
        raise UserError(
            f"{error}; --space {space} varies {path}, so give a space that does not ask for as much"
        ) from None


def grace_epochs(
    grace: int | None, epochs: int, recipes: Sequence[Recipe], manifest: pa.Table
) -> int:
    """Return the epochs before a trial may be stopped: as given, else past any warm-up.

    Args:
        grace: as given.
        epochs: of a whole trial.
        recipes: that may be tried.
        manifest: of the data, which says how many steps an epoch has.

    Raises:
        UserError: a trial has fewer.
    """
    if grace is None:
        warmups = [math.ceil(recipe.schedule.warmup_epochs) for recipe in recipes]
        in_steps = [recipe for recipe in recipes if recipe.schedule.warmup_steps]
        images = images_per_epoch(manifest, in_steps)
        warmups += [
            math.ceil(recipe.schedule.warmup_steps / max(each.steps, 1))
            for recipe, each in zip(in_steps, images, strict=True)
        ]
        return default_grace(epochs, max(warmups))
    if not 1 <= grace <= epochs:
        raise UserError(f"--grace {grace}: a trial has {epochs} epochs; give 1 to {epochs}")
    return grace
