"""A sweep's plan: what is wanted, checked through and through before anything starts."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vgray import provenance
from vgray.errors import UserError
from vgray.orchestration.branches import (
    Branch,
    LeftOut,
    base_recipe,
    find_branches,
    sample_settings,
)
from vgray.orchestration.checks import (
    ensure_networks,
    grace_epochs,
    refuse_fixed_and_varied,
    refuse_fixed_nowhere,
    refuse_numbers,
    require_data,
)
from vgray.orchestration.epoch_images import EpochImages, images_per_epoch
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.first import has_few_settings, settings_tried_first
from vgray.orchestration.notes import make_notes, sources
from vgray.orchestration.probes import varied_paths
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.spaces import SearchSpace, load_space
from vgray.orchestration.warm_start import WarmStart, read_warm_start, recorded_warm_start
from vgray.places import (
    ImageStore,
    fingerprint,
    load_training_data,
    open_store,
    require_data_for,
    skipped_images,
)
from vgray.recipe import Recipe, with_absolute_paths

ImageSize = tuple[int, int]
StoreProgress = Callable[[ImageSize, int, int], None]

# Settings drawn from a space to find its mistakes before anything starts.
SAMPLED_SETTINGS = 50
# Of a large space, where each takes a hundred times as long.
SAMPLED_OF_LARGE = 15


# Of so many settings it is said what an epoch of theirs comes to: each may be another.
_FIRST = 8


@dataclass(frozen=True)
class SweepOptions:
    """What decides a sweep's result; kept in the run folder and taken from there on resuming."""

    space: str
    data: Sequence[str]
    """One data set, or several that are trained on together."""
    val: str | None = None
    """Another data set to validate on, where ``data`` has only images to train on."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted recipe paths and values that the user fixes."""
    presets: dict[str, Any] = field(default_factory=dict)
    """The same, but what the space varies or the user fixes goes before it."""
    num_trials: int = 20
    """0: the whole grid, or all that is published."""
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

    def __post_init__(self) -> None:
        # Run folders have a list, those of earlier versions a text.
        object.__setattr__(self, "data", tuple(provenance.data_sets(self.data)))

    @property
    def data_text(self) -> str:
        """The data sets in one line."""
        return ", ".join(self.data)

    def extended(
        self, num_trials: int | None, finalists: int | None, repeats: int | None
    ) -> "SweepOptions":
        """Return the options with what may be given anew for a run; None leaves it as it is.

        Raises:
            UserError: repeats without finalists, or another number of trials than are published.
        """
        if num_trials is not None and self.published_only:
            raise UserError(
                f"--num-trials {num_trials}: the run tries what is published, no more; leave it out"
            )
        if repeats is not None and not (finalists or self.finalists):
            raise UserError(
                f"--repeats {repeats}: says how often each finalist is trained; give --finalists K "
                "too, or leave it out"
            )
        return replace(
            self,
            num_trials=num_trials or self.num_trials,
            finalists=finalists or self.finalists,
            repeats=repeats or self.repeats,
        )


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
    given: list[Mapping[str, Any]]
    """The settings that are tried first, in order: published ones, or the whole grid."""
    num_published: int
    """How many of them are published; these come first. What they leave out is drawn."""
    sources: list[str]
    """What each of them is: ``published``, ``published, rest drawn`` or ``grid``."""
    warm_start: WarmStart | None
    """What is taken from an earlier run."""
    grace: int
    num_validation_images: int
    settings: list[Mapping[str, Any]]
    """The settings that are tried first, then some drawn at random."""
    branches: list[Branch]
    branch_images: list[EpochImages]
    """Of an epoch of each branch's recipe."""
    first_images: list[EpochImages]
    """Of an epoch of each of the first settings."""
    left_out: list[LeftOut]
    notes: list[tuple[str, str]]
    """What else is worth saying, each with a title."""

    @property
    def images(self) -> EpochImages:
        """Of an epoch of the first branch's recipe."""
        return self.branch_images[0]

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch of the first branch's recipe."""
        return self.images.steps

    @property
    def num_finalist_epochs(self) -> int:
        """Epochs that the finalists take in all."""
        return self.options.finalists * self.options.repeats * self.base.epochs


def make_plan(
    options: SweepOptions,
    *,
    resumed: RunFolder | None = None,
    progress: StoreProgress | None = None,
) -> Plan:
    """Check everything that can be checked before a sweep starts.

    Args:
        options: what is wanted.
        resumed: the run that is resumed: on the same data, and with what it took from an earlier.
        progress: called with image size, images done and images in all while they are decoded.

    Raises:
        UserError: the space, a recipe, the data set or the earlier run does not do.
    """
    refuse_numbers(options)
    options = replace(options, settings=with_absolute_paths(options.settings))
    space = load_space(options.space)
    varied = varied_paths(space)
    refuse_fixed_and_varied(varied, options.settings, options.space)
    presets = {key: value for key, value in options.presets.items() if key not in varied}
    space = replace(space, fixed={**presets, **options.settings})
    base = base_recipe(space, options.seed)
    feasible = Feasible(space, base)
    found = find_branches(space, feasible, options.settings)
    space = replace(space, allows=feasible, published=found.published)
    count = SAMPLED_SETTINGS if found.are_all else SAMPLED_OF_LARGE
    sampled = sample_settings(space, base, count, options.seed)
    warm_start = _warm_start(options, space, resumed)
    is_small = resumed is None and has_few_settings(options, space, base)
    if is_small:
        options = replace(options, sampler="grid", num_trials=0)
    first = settings_tried_first(options, space, base, warm_start)
    options = replace(options, num_trials=first.num_trials)
    if options.finalists > options.num_trials:
        raise UserError(
            f"--finalists {options.finalists}: there are only {options.num_trials} trials to "
            "choose from; give fewer finalists or more trials"
        )
    certain = [feasible.recipe(setting) for setting in first.settings]
    certain += [branch.recipe for branch in found.kept]
    recipes = [*certain, *(space.recipe(base, each) for each in sampled)]
    refuse_fixed_nowhere(recipes, options.settings, options.space)

    manifest = load_training_data(options.data, options.val)
    # Before anything is decoded, which may take hours, and after, without what is unreadable.
    require_data(manifest, recipes, varied, options.space)
    found_fingerprint = fingerprint(manifest)
    if resumed is not None and resumed.description()["data"]["fingerprint"] != found_fingerprint:
        raise UserError(
            f"--resume: the data in {options.data_text} has changed since the run began; restore "
            "it, or start a new run"
        )
    if warm_start is not None and warm_start.fingerprint != found_fingerprint:
        raise UserError(
            f"--warm-start {warm_start.name}: was run on other data than {options.data_text}, and "
            "recalls on two data sets cannot be compared; give the same --data and --val"
        )
    initial = ensure_networks(recipes)
    sizes = {base.image_size}
    if "image_size" not in varied or any("image_size" in each.choices for each in found.kept):
        sizes = {recipe.image_size for recipe in certain}
    first_size = base.image_size if base.image_size in sizes else min(sizes)
    # Trials find every size decoded, except those of a range: they decode what they draw.
    stores = {}
    for size in sorted(sizes):
        told = functools.partial(progress, size) if progress is not None else None
        stores[size] = open_store(manifest, size, progress=told)
        require_data_for(manifest, recipes, stores[size].readable)
    grace = grace_epochs(options.grace, base.epochs, recipes, manifest)
    return Plan(
        options=replace(options, grace=grace),
        space=space,
        base=base,
        manifest=manifest,
        store=stores[first_size],
        data_fingerprint=found_fingerprint,
        given=first.settings,
        num_published=first.num_published,
        sources=sources(space, first.settings, first.num_published),
        warm_start=warm_start,
        grace=grace,
        num_validation_images=pc.sum(pc.equal(manifest["split"], "val")).as_py() or 0,
        settings=[*first.settings, *sampled],
        branches=found.kept,
        branch_images=images_per_epoch(manifest, [branch.recipe for branch in found.kept]),
        first_images=images_per_epoch(
            manifest, [feasible.recipe(each) for each in [*first.settings, *sampled][:_FIRST]]
        ),
        left_out=[*found.left_out, *first.left_out],
        notes=make_notes(
            manifest,
            initial,
            warm_start,
            sampler=options.sampler,
            base=base,
            varied=varied,
            all_ways=found.are_all,
            tries_all=is_small,
            published=first.settings if options.published_only else [],
        ),
    )


def _warm_start(
    options: SweepOptions, space: SearchSpace, resumed: RunFolder | None
) -> WarmStart | None:
    if options.warm_start is None:
        return None
    recorded = recorded_warm_start(resumed, space) if resumed is not None else None
    return recorded or read_warm_start(RunFolder(Path(options.warm_start)), space)


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
