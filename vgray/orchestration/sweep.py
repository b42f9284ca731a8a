"""A sweep: what it is (a plan), and running it on Ray until every trial has ended."""

import contextlib
import functools
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.trial import TrialState
from rich.console import Console

from vgray import provenance
from vgray.console import say
from vgray.errors import UserError
from vgray.orchestration import spaces
from vgray.orchestration import study as studies
from vgray.orchestration.report import NUMBER
from vgray.orchestration.run_folder import BestTrial, RunFolder, status, trial_epochs
from vgray.orchestration.rungs import default_grace, expected_epochs, rungs
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
# A trial whose process dies is started again this often.
MAX_RESTARTS = 3


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
class RunOptions:
    """How a sweep is run; may differ when it is resumed."""

    address: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None
    time_budget_s: float | None = None


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


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended."""

    best: BestTrial | None
    counts: dict[str, int]
    """How many trials have each status."""
    complete: bool
    """Whether every trial has ended; else the sweep was interrupted or its time was up."""
    seconds: float
    first_failure: str | None
    epochs_run: int
    """Epochs in the study, of this and earlier goes."""


def run_sweep(
    plan: Plan,
    run: RunFolder,
    how: RunOptions,
    console: Console,
    *,
    command: list[str],
    retry_failed: bool = False,
) -> Outcome:
    """Run the sweep's trials on Ray until they have ended or someone stops it.

    Whatever ends this process, a later call goes on with what is in the run folder.

    Args:
        plan: the sweep.
        run: its folder, made here unless it exists.
        how: where and how it runs.
        console: where progress is shown.
        command: the command line, for the record.
        retry_failed: run only the failed trials again.

    Raises:
        UserError: the cluster cannot be reached or has less than a trial needs; another sweep runs
            in the folder; there is nothing to retry.
    """
    # Ray is imported here: what is refused is refused without waiting for it.
    from vgray.orchestration import cluster as clusters

    with contextlib.ExitStack() as stack:
        if run.exists():
            stack.enter_context(run.locked())
        stack.callback(clusters.disconnect)
        cluster = clusters.connect(how.address)
        resources = clusters.trial_resources(cluster, how.cpus_per_trial, how.gpus_per_trial)
        if not run.exists():
            run.create(describe_run(plan, command), skipped_images(plan.manifest, plan.store))
            stack.enter_context(run.locked())
        elif not retry_failed:
            run.describe_again({**run.description(), "options": asdict(plan.options)})
        if cluster.dashboard_url:
            say(f"dashboard: {cluster.dashboard_url}")
        say(f"cluster:   {cluster.describe()}; a trial takes {resources.describe()}")
        if cluster.nodes > 1:
            say(f"           every node must see {run.path.parent} and {plan.options.data}")
        return _run_trials(plan, run, how, resources, console, retry_failed)


def _run_trials(
    plan: Plan,
    run: RunFolder,
    how: RunOptions,
    resources: Any,
    console: Console,
    retry_failed: bool,
) -> Outcome:
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    from vgray.orchestration.scheduler import StudyASHA
    from vgray.orchestration.screen import Progress, RunFolderWriter, Screen, trial_line
    from vgray.orchestration.search import StudySearch, tell_what_was_ending
    from vgray.orchestration.trial import run_trial

    options, epochs = plan.options, plan.base.epochs
    study = studies.open_study(run.journal)
    tell_what_was_ending(study)
    if retry_failed:
        _enqueue_retries(study, run.name, options)
    else:
        studies.enqueue_published(study, plan.space, plan.num_published)
    trials = studies.latest_trials(study)
    for trial in trials:
        run.drop_leftovers(trial)
    num_to_run = studies.num_unfinished(study, options.num_trials)
    use_asha = options.scheduler == "asha"
    rung_epochs = rungs(epochs, plan.grace, options.reduction) if use_asha else []
    lines = {trial.number: trial_line(trial) for trial in trials if trial_epochs(trial)}
    ended = sum(trial.state.is_finished() for trial in trials)
    progress = Progress(
        num_trials=ended + num_to_run,
        epochs=epochs,
        expected_epochs=expected_epochs(epochs, rung_epochs, options.reduction),
        lines=lines,
    )
    started = time.monotonic()
    # Tune takes the first Ctrl-C itself; one before, or a second in a hurry, comes here.
    with _terminating_like_ctrl_c(), contextlib.suppress(KeyboardInterrupt):
        run.write_tables(study, running=True)
        if num_to_run:
            search = StudySearch(
                study,
                plan.space,
                plan.base,
                num_to_run=num_to_run,
                seed=options.seed,
                trials=run.trials,
            )
            scheduler = (
                StudyASHA(study, epochs=epochs, grace=plan.grace, reduction=options.reduction)
                if use_asha
                else FIFOScheduler()
            )
            trainable = tune.with_parameters(
                run_trial,
                manifest=plan.manifest,
                fingerprint=plan.data_fingerprint,
                trials_folder=str(run.trials),
                threads=resources.threads,
                device=resources.device,
            )
            with Screen(progress, console) as screen:
                tuner = tune.Tuner(
                    tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
                    tune_config=tune.TuneConfig(
                        search_alg=search,
                        scheduler=scheduler,
                        num_samples=num_to_run,
                        max_concurrent_trials=how.max_concurrent,
                        time_budget_s=how.time_budget_s,
                        reuse_actors=True,
                        trial_dirname_creator=_trial_dirname,
                    ),
                    run_config=tune.RunConfig(
                        name=f"{datetime.now():%Y%m%d-%H%M%S-%f}",
                        storage_path=str(run.path / "ray"),
                        failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
                        callbacks=[screen, RunFolderWriter(run, study)],
                        verbose=0,
                    ),
                )
                tuner.fit()
    best = run.write_tables(study, running=False)
    return _outcome(study, best, options, time.monotonic() - started)


def _enqueue_retries(study: optuna.Study, name: str, options: SweepOptions) -> None:
    if studies.num_unfinished(study, options.num_trials):
        raise UserError(
            f"--retry-failed {name}: the run is not finished; finish it first: --resume {name}"
        )
    if not studies.enqueue_retries(study):
        raise UserError(f"--retry-failed {name}: none of its trials failed; nothing to do")


def _outcome(
    study: optuna.Study, best: BestTrial | None, options: SweepOptions, seconds: float
) -> Outcome:
    trials = studies.latest_trials(study)
    failures = [
        trial.user_attrs[studies.FAILURE] for trial in trials if trial.state == TrialState.FAIL
    ]
    return Outcome(
        best=best,
        counts=dict(Counter(map(status, trials))),
        complete=studies.num_unfinished(study, options.num_trials) == 0,
        seconds=seconds,
        first_failure=failures[0] if failures else None,
        epochs_run=sum(len(trial_epochs(trial)) for trial in trials),
    )


def _trial_dirname(trial: Any) -> str:
    return f"trial-{trial.config[NUMBER]:04d}-{trial.trial_id}"


@contextlib.contextmanager
def _terminating_like_ctrl_c() -> Iterator[None]:
    """End the sweep on SIGTERM as on Ctrl-C: Ray Tune then stops between two of its steps."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
