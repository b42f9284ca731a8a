"""Running a sweep on Ray until every trial has ended or someone stops it."""

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console

from vgray.console import say
from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.plan import Plan, SweepOptions, describe_run
from vgray.orchestration.report import NUMBER
from vgray.orchestration.run_folder import BestTrial, RunFolder, status, trial_epochs
from vgray.orchestration.rungs import expected_epochs, rungs
from vgray.places import skipped_images

# A trial whose process dies is started again this often.
MAX_RESTARTS = 3


@dataclass(frozen=True)
class RunOptions:
    """How a sweep is run; may differ when it is resumed."""

    address: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None
    time_budget_s: float | None = None


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
