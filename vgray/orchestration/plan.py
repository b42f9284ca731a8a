"""A sweep's plan: what is wanted, checked through and through before anything starts."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vgray import provenance
from vgray.errors import UserError, nearest_name
from vgray.orchestration.branches import (
    Branch,
    Feasible,
    LeftOut,
    base_recipe,
    find_branches,
    sample_settings,
)
from vgray.orchestration.probes import varied_paths
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.rungs import default_grace
from vgray.orchestration.spaces import SearchSpace, load_space
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
from vgray.recipe import Recipe, with_absolute_paths
from vgray.settings import flatten_settings

ImageSize = tuple[int, int]
StoreProgress = Callable[[ImageSize, int, int], None]

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
    presets: dict[str, Any] = field(default_factory=dict)
    """The same, but what the space varies or the user fixes goes before it."""
    num_trials: int = 20
    seed: int = 0
    scheduler: str = "asha"
    """``asha`` or ``none``."""
    grace: int | None = None
    """Epochs before a trial may be stopped; None: a third of the epochs, past any warm-up."""
    reduction: float = 3.0
    """Each rung keeps one trial in this many."""
    sampler: str = "tpe"
    """``tpe``, ``random``, ``gp``, or ``grid``: every setting of a finite space."""
    published_only: bool = False
    """Only the published settings, to rerun a table of the literature."""
    warm_start: str | None = None
    """The folder of an earlier run, whose trials inform the sampler."""
    finalists: int = 0
    """How many of the best settings are trained again, to full length, before one is chosen."""
    repeats: int = 3
    """How often each finalist is trained, with another seed each time."""


@dataclass(frozen=True)
class Plan:
    """A sweep that was checked through and through, with nothing started."""

    options: SweepOptions
    space: SearchSpace
    base: Recipe
    manifest: pa.Table
    store: ImageStore
    """Of the base recipe's image size, or of the first that is drawn."""
    data_fingerprint: str
    num_published: int
    grace: int
    steps_per_epoch: int
    num_validation_images: int
    settings: list[Mapping[str, Any]]
    """The published settings that are tried first, then settings drawn at random."""
    branches: list[Branch]
    left_out: list[LeftOut]


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
        progress: called with image size, images done and images in all while they are decoded.

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
    options = replace(options, settings=with_absolute_paths(options.settings))
    space = load_space(options.space)
    varied = varied_paths(space)
    _refuse_fixed_and_varied(varied, options)
    presets = {key: value for key, value in options.presets.items() if key not in varied}
    space = replace(space, fixed={**presets, **options.settings})
    base = base_recipe(space, options.seed)
    feasible = Feasible(space, base)
    found = find_branches(space, feasible, options.settings)
    space = replace(space, allows=feasible, published=found.published)
    # At most half of the trials: a sweep that only repeats the literature searches nothing.
    num_published = min(len(space.published), math.ceil(options.num_trials / 2))
    sampled = sample_settings(space, base, SAMPLED_SETTINGS, options.seed)
    certain = [feasible.recipe(setting) for setting in space.published[:num_published]]
    certain += [branch.recipe for branch in found.kept]
    recipes = [*certain, *(space.recipe(base, each) for each in sampled)]
    _refuse_fixed_nowhere(recipes, options)

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
    _ensure_networks(recipes)
    sizes = {base.image_size}
    if "image_size" not in varied or any("image_size" in each.choices for each in found.kept):
        sizes = {recipe.image_size for recipe in certain}
    first = base.image_size if base.image_size in sizes else min(sizes)
    # Trials find every size decoded, except those of a range: they decode what they draw.
    stores = {}
    for size in sorted(sizes):
        told = functools.partial(progress, size) if progress is not None else None
        stores[size] = open_store(manifest, size, progress=told)
        require(stores[size].readable)
    return Plan(
        options=replace(options, grace=grace),
        space=space,
        base=base,
        manifest=manifest,
        store=stores[first],
        data_fingerprint=fingerprint(manifest),
        num_published=num_published,
        grace=grace,
        steps_per_epoch=steps,
        num_validation_images=pc.sum(pc.equal(manifest["split"], "val")).as_py() or 0,
        settings=[*space.published[:num_published], *sampled],
        branches=found.kept,
        left_out=found.left_out,
    )


def _load_data(options: SweepOptions) -> pa.Table:
    manifest = load_manifest(options.data)
    if options.val is not None:
        manifest = with_validation(manifest, load_manifest(options.val))
    return for_training(manifest)


def _refuse_fixed_and_varied(varied: set[str], options: SweepOptions) -> None:
    both = sorted(varied & set(options.settings))
    if both:
        raise UserError(
            f"--set {both[0]}: is varied by --space {options.space}; leave one of them out"
        )


def _refuse_fixed_nowhere(recipes: list[Recipe], options: SweepOptions) -> None:
    known = {path for recipe in recipes for path in flatten_settings(recipe.to_dict())}
    for path in options.settings:
        if path not in known:
            hint = nearest_name(path, sorted(known)) or "; leave it out"
            raise UserError(f"--set {path}: nothing in --space {options.space} has it{hint}")


def _ensure_networks(recipes: list[Recipe]) -> None:
    """Make sure, once for each of the backbones, that it exists and its weights fit.

    What fits a model of timm only timm knows, so of those each aggregator is tried.
    """
    # The least cropped one needs the most of a file.
    recipes = sorted(recipes, key=lambda recipe: recipe.backbone.crop_last, reverse=True)
    kinds = {}
    for recipe in recipes:
        name, weights = recipe.backbone.name, recipe.backbone.weights
        of_timm = name.startswith("timm/")
        if of_timm or weights != "none":
            kinds[name, weights, recipe.aggregator.name if of_timm else None] = recipe
    for (name, weights, _), recipe in kinds.items():
        from vgray.models import ensure_network

        try:
            ensure_network(recipe)
        except UserError as error:
            if len(kinds) == 1 or weights == "none":
                raise
            raise UserError(
                f"backbone {name}: {error}; or start every backbone from random weights: "
                "--set backbone.weights=none"
            ) from None


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
