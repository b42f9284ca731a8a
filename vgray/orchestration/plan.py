"""A sweep's plan: what is wanted, checked through and through before anything starts."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vgray import provenance
from vgray.errors import UserError
from vgray.orchestration import spaces
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.rungs import default_grace
from vgray.places import (
    ImageStore,
    fingerprint,
    for_training,
    load_manifest,
    open_store,
    require_trainable,
    skipped_images,
    with_validation,
)
from vgray.recipe import Recipe, absolute_weights

StoreProgress = Callable[[int, int], None]

# Settings drawn from a space to find its mistakes before anything starts.
SAMPLED_SETTINGS = 50


@dataclass(frozen=True)
class SweepOptions:
    """What decides a sweep's result; kept in the run folder and taken from there on resuming."""

    space: str
    data: str
    val: str | None = None
    """Another data set to validate on, where ``data`` has only images to train on."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted recipe paths and values that the user fixes."""
    num_trials: int = 20
    seed: int = 0
    scheduler: str = "asha"
    """``asha`` or ``none``."""
    grace: int | None = None
    """Epochs before a trial may be stopped; None: a third of the epochs, past any warm-up."""
    reduction: float = 3.0
    """Each rung keeps one trial in this many."""


@dataclass(frozen=True)
class Plan:
    """A sweep that was checked through and through, with nothing started."""

    options: SweepOptions
    space: spaces.SearchSpace
    base: Recipe
    manifest: pa.Table
    store: ImageStore
    data_fingerprint: str
    num_published: int
    grace: int
    steps_per_epoch: int
    num_validation_images: int
    settings: list[Mapping[str, Any]]
    """The published settings that are tried first, then settings drawn at random."""


def make_plan(
    options: SweepOptions,
    *,
    known_fingerprint: str | None = None,
    progress: StoreProgress | None = None,
) -> Plan:
    """Check everything that can be checked before a sweep starts.

    Args:
        options: what is wanted.
        known_fingerprint: of the data when the run began, if it is resumed.
        progress: called with images done and images in all while they are decoded.

    Raises:
        UserError: the space, a recipe, or the data set does not do.
    """
    if not options.reduction > 1:
        raise UserError(
            f"--reduction {options.reduction:g}: each comparison keeps one trial in this many; "
            "give more than 1"
        )
    if "seed" in options.settings:
        raise UserError("--set seed: is one for search and training; give --seed instead")
    options = _with_absolute_weights(options)
    space = replace(spaces.load_space(options.space), fixed=options.settings)
    base = Recipe().with_settings({**space.base, **options.settings, "seed": options.seed})
    # At most half of the trials: a sweep that only repeats the literature searches nothing.
    num_published = min(len(space.published), math.ceil(options.num_trials / 2))
    settings = [
        *space.published,
        *spaces.sample_settings(space, base, SAMPLED_SETTINGS, options.seed),
    ]
    recipes = [space.recipe(base, each) for each in settings]
    _refuse_fixed_and_varied(settings, options)

    manifest = _load_data(options)
    batches = [recipe.batch for recipe in recipes]
    require = functools.partial(
        require_trainable,
        manifest,
        places_per_batch=max(batch.places for batch in batches),
        images_per_place=max(batch.images_per_place for batch in batches),
        min_images=max(batch.min_images_per_place for batch in batches),
        min_distance_m=max(batch.min_distance_m for batch in batches),
        distance_m=base.evaluation.distance_m,
    )
    # Before anything is decoded, which may take hours, and after, without what is unreadable.
    num_places = require()
    steps = math.ceil(num_places / base.batch.places)
    grace = _grace(options, base, recipes, steps)
    if known_fingerprint not in (None, fingerprint(manifest)):
        raise UserError(
            f"--resume: the data in {options.data} has changed since the run began; restore it, or "
            "start a new run"
        )
    if base.backbone.weights != "none":
        from vgray.models import ensure_weights

        ensure_weights(base)
    store = open_store(manifest, base.image_size, progress=progress)
    require(store.readable)
    return Plan(
        options=replace(options, grace=grace),
        space=space,
        base=base,
        manifest=manifest,
        store=store,
        data_fingerprint=fingerprint(manifest),
        num_published=num_published,
        grace=grace,
        steps_per_epoch=steps,
        num_validation_images=pc.sum(pc.equal(manifest["split"], "val")).as_py() or 0,
        settings=[*settings[:num_published], *settings[len(space.published) :]],
    )


def _with_absolute_weights(options: SweepOptions) -> SweepOptions:
    """Make the path of a weights file absolute: trials run in other folders."""
    path = "backbone.weights"
    settings = {
        key: absolute_weights(value) if key == path and isinstance(value, str) else value
        for key, value in options.settings.items()
    }
    return replace(options, settings=settings)


def _load_data(options: SweepOptions) -> pa.Table:
    manifest = load_manifest(options.data)
    if options.val is not None:
        manifest = with_validation(manifest, load_manifest(options.val))
    return for_training(manifest)


def _refuse_fixed_and_varied(settings: list[Mapping[str, Any]], options: SweepOptions) -> None:
    both = sorted(set().union(*settings) & set(options.settings))
    if both:
        raise UserError(
            f"--set {both[0]}: is varied by --space {options.space}; leave one of them out"
        )


def _grace(options: SweepOptions, base: Recipe, recipes: list[Recipe], steps: int) -> int:
    if options.grace is None:
        warmup = max(math.ceil(recipe.schedule.warmup_steps / steps) for recipe in recipes)
        return default_grace(base.epochs, warmup)
    if not 1 <= options.grace <= base.epochs:
        raise UserError(
            f"--grace {options.grace}: a trial has {base.epochs} epochs; give 1 to {base.epochs}"
        )
    return options.grace


def stored_options(run: RunFolder) -> SweepOptions:
    """Return the options that a run was started with.

    Raises:
        UserError: there is no such run.
    """
    return SweepOptions(**run.description()["options"])


def describe_run(plan: Plan, command: list[str]) -> dict[str, Any]:
    """Return what a run folder says of its sweep, as JSON values."""
    return {
        **provenance.describe(
            plan.base,
            data=plan.options.data,
            fingerprint=plan.data_fingerprint,
            num_images=plan.manifest.num_rows,
            num_unreadable=len(skipped_images(plan.manifest, plan.store)),
            command=command,
        ),
        "options": asdict(plan.options),
    }
