"""A sweep: what it is (a plan), and running it on Ray until every trial has ended."""

import contextlib
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
from optuna.trial import TrialState
from rich.console import Console

from vgray import provenance
from vgray.errors import UserError
from vgray.orchestration import spaces
from vgray.orchestration import study as studies
from vgray.orchestration.run_folder import BestTrial, RunFolder, trial_epochs
from vgray.orchestration.rungs import default_grace, expected_epochs, rungs
from vgray.places import ImageStore, fingerprint, load_manifest, open_store, require_trainable
from vgray.recipe import Recipe, describe_settings

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
    settings: list[Mapping[str, Any]]
    """The published settings that are tried first, then settings drawn at random."""


def make_plan(options: SweepOptions, *, progress: StoreProgress | None = None) -> Plan:
    """Check everything that can be checked before a sweep starts.

    Args:
        options: what is wanted.
        progress: called with images done and images in all while they are decoded.

    Raises:
        UserError: the space, a recipe, or the data set does not do.
    """
    space = spaces.load_space(options.space)
    base = Recipe().with_settings({**space.base, **options.settings})
    base = base.with_settings({"seed": options.seed, "backbone.weights": _absolute(base)})
    # At most half of the trials: a sweep that only repeats the literature searches nothing.
    num_published = min(len(space.published), math.ceil(options.num_trials / 2))
    settings = [
        *space.published,
        *spaces.sample_settings(space, base, SAMPLED_SETTINGS, options.seed),
    ]
    recipes = [base.with_settings(each) for each in settings]
    _refuse_fixed_and_varied(settings, options)
    if base.backbone.weights != "none":
        from vgray.models import ensure_weights

        ensure_weights(base)
    manifest = load_manifest(options.data)
    store = open_store(manifest, base.image_size, progress=progress)
    batch = base.batch
    num_places = require_trainable(
        manifest,
        store.readable,
        places_per_batch=batch.places,
        images_per_place=batch.images_per_place,
        min_images=batch.min_images_per_place,
        distance_m=base.evaluation.distance_m,
    )
    steps = math.ceil(num_places / batch.places)
    grace = _grace(options, base, recipes, steps)
    return Plan(
        options,
        space,
        base,
        manifest,
        store,
        fingerprint(manifest),
        num_published,
        grace,
        steps,
        [*settings[:num_published], *settings[len(space.published) :]],
    )


def _refuse_fixed_and_varied(settings: list[Mapping[str, Any]], options: SweepOptions) -> None:
    both = sorted(set().union(*settings) & set(options.settings))
    if both:
        raise UserError(
            f"--set {both[0]}: is varied by --space {options.space}; leave one of them out"
        )


def _absolute(base: Recipe) -> str:
    """Return the recipe's weights with a path made absolute: trials run in other folders."""
    weights = base.backbone.weights
    return weights if weights in ("imagenet", "none") else str(Path(weights).absolute())


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
            num_unreadable=len(plan.store.skipped),
            command=command,
        ),
        "options": asdict(plan.options),
    }


def require_same_data(description: dict[str, Any], plan: Plan, name: str) -> None:
    """Refuse to resume a run whose data set has changed.

    Raises:
        UserError: the fingerprints differ.
    """
    if description["data"]["fingerprint"] != plan.data_fingerprint:
        raise UserError(
            f"--resume {name}: the data in {plan.options.data} has changed since the run began "
            f"({description['data']['images']:,} images then, {plan.manifest.num_rows:,} now); "
            "restore it, or start a new run"
        )


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended."""

    best: BestTrial | None
    counts: dict[TrialState, int]
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

    cluster = clusters.connect(how.address)
    try:
        resources = clusters.trial_resources(cluster, how.cpus_per_trial, how.gpus_per_trial)
        if cluster.dashboard_url:
            console.print(f"dashboard: {cluster.dashboard_url}", highlight=False)
        console.print(
            f"cluster:   {cluster.describe()}; a trial takes {resources.cpus:g} CPUs"
            + (f" and {resources.gpus:g} GPUs" if resources.gpus else ""),
            highlight=False,
        )
        if not run.exists():
            run.create(describe_run(plan, command), plan.store.skipped)
        with run.locked():
            return _run_trials(plan, run, how, resources, console, retry_failed)
    finally:
        clusters.disconnect()


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
    from vgray.orchestration.screen import Progress, RunFolderWriter, Screen
    from vgray.orchestration.search import StudySearch
    from vgray.orchestration.trial import run_trial

    options, epochs = plan.options, plan.base.epochs
    study = studies.open_study(run.journal)
    if retry_failed:
        _enqueue_retries(study, run.name, options)
    else:
        studies.enqueue_published(study, plan.space, plan.num_published)
    num_to_run = studies.num_unfinished(study, options.num_trials)
    search = StudySearch(study, plan.space, plan.base, seed=options.seed)
    use_asha = options.scheduler == "asha"
    scheduler = (
        StudyASHA(study, epochs=epochs, grace=plan.grace, reduction=options.reduction)
        if use_asha
        else FIFOScheduler()
    )
    rung_epochs = rungs(epochs, plan.grace, options.reduction) if use_asha else []
    before = run.write_tables(study, running=True)
    ended = sum(trial.state.is_finished() for trial in studies.latest_trials(study))
    progress = Progress(
        num_trials=ended + num_to_run,
        epochs=epochs,
        expected_epochs=expected_epochs(epochs, rung_epochs, options.reduction),
        ended_before=ended,
        best_before=_describe_best(before) if before else None,
    )
    started = time.monotonic()
    if num_to_run:
        trainable = tune.with_parameters(
            run_trial,
            manifest=plan.manifest,
            trials_folder=str(run.trials),
            threads=resources.threads,
        )
        with Screen(progress, console) as screen, _terminating_like_ctrl_c():
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
            # Tune takes the first Ctrl-C itself; a second one, of someone in a hurry, comes here.
            with contextlib.suppress(KeyboardInterrupt):
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


def _describe_best(best: BestTrial) -> str:
    settings = describe_settings(best.trial.user_attrs[studies.SETTINGS])
    return f"trial {best.trial.number}, recall@1 {best.metrics['recall@1']:.1f}, {settings}"


def _outcome(
    study: optuna.Study, best: BestTrial | None, options: SweepOptions, seconds: float
) -> Outcome:
    trials = studies.latest_trials(study)
    counts = Counter(trial.state for trial in trials)
    failures = [
        trial.user_attrs[studies.FAILURE] for trial in trials if trial.state == TrialState.FAIL
    ]
    return Outcome(
        best=best,
        counts=dict(counts),
        complete=studies.num_unfinished(study, options.num_trials) == 0,
        seconds=seconds,
        first_failure=failures[0] if failures else None,
        epochs_run=sum(len(trial_epochs(trial)) for trial in trials),
    )


def _trial_dirname(trial: Any) -> str:
    return f"trial-{trial.config['number']:04d}-{trial.trial_id}"


@contextlib.contextmanager
def _terminating_like_ctrl_c() -> Iterator[None]:
    """End the sweep on SIGTERM as on Ctrl-C: Ray Tune then stops between two of its steps."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
