"""Running a sweep on Ray until every trial has ended or someone stops it."""

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from vgray.console import say
from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.finalists import (
    missing_repeats,
    num_finalists_left,
    unfinished_finalists,
)
from vgray.orchestration.plan import Plan, SweepOptions, describe_run
from vgray.orchestration.progress import Progress, trial_line
from vgray.orchestration.records import BestTrial, status, trial_epochs
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.rungs import expected_epochs, rungs
from vgray.orchestration.standings import Standing, compare_two_best
from vgray.orchestration.tuning import Tuning
from vgray.places import skipped_images


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
    epochs_saved: int
    """Epochs that the trials that were stopped early had left."""
    finalists: list[Standing]
    """Those that can be ranked so far, the best first."""
    finalists_left: int
    """How many trainings of finalists are still to be run or to be finished."""
    runner_up: Standing | None
    """The second best of a search without finalists, if it can be compared with the best."""


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
            say(f"           every node must see {run.path.parent} and {plan.options.data_text}")
        return _run_trials(plan, run, how, resources, console, retry_failed)


def _run_trials(
    plan: Plan,
    run: RunFolder,
    how: RunOptions,
    resources: Any,
    console: Console,
    retry_failed: bool,
) -> Outcome:
    from ray.tune.schedulers import FIFOScheduler

    from vgray.orchestration.scheduler import StudyASHA
    from vgray.orchestration.screen import RunFolderWriter, Screen
    from vgray.orchestration.search import FinalistSearch, StudySearch, tell_what_was_ending
    from vgray.orchestration.warm_start import add_earlier_trials

    options = plan.options
    study = studies.open_study(run.journal)
    tell_what_was_ending(study)
    if retry_failed:
        _enqueue_retries(study, run.name, options)
    else:
        if num_earlier := add_earlier_trials(study, plan):
            say(f"numbers:   trials count from {num_earlier} on, behind those of the earlier run")
        studies.enqueue_given(study, plan.given, plan.space.names)
    for trial in studies.latest_trials(study):
        run.drop_leftovers(trial)
    progress = _progress(study, plan)
    screen = Screen(progress, console)
    tuning = Tuning(plan, run, how, resources, [screen, RunFolderWriter(run, study)])
    # Tune takes the first Ctrl-C itself; one before, or a second in a hurry, comes here.
    with _terminating_like_ctrl_c(), contextlib.suppress(KeyboardInterrupt):
        run.write_tables(study, running=True)
        num_to_run = studies.num_unfinished(study, options.num_trials)
        with screen if _num_left(study, options) else contextlib.nullcontext():
            if num_to_run:
                search = StudySearch(
                    study,
                    plan.space,
                    plan.base,
                    num_to_run=num_to_run,
                    seed=options.seed,
                    trials=run.trials,
                    sampler=options.sampler,
                )
                tuning.fit(
                    search,
                    StudyASHA(
                        study,
                        epochs=plan.base.epochs,
                        grace=plan.grace,
                        reduction=options.reduction,
                    )
                    if options.scheduler == "asha"
                    else FIFOScheduler(),
                    num_to_run,
                )
            if not studies.num_unfinished(study, options.num_trials) and tuning.goes_on():
                missing = missing_repeats(study, options.finalists, options.repeats)
                num_to_run = len(unfinished_finalists(study)) + len(missing)
                progress.expect_finalists(num_to_run)
                if num_to_run:
                    finals = FinalistSearch(
                        study, plan.space, plan.base, missing=missing, trials=run.trials
                    )
                    tuning.fit(finals, FIFOScheduler(), num_to_run)
    best = run.write_tables(study, running=False)
    return _outcome(study, run, best, options, tuning.seconds())


def _progress(study: optuna.Study, plan: Plan) -> Progress:
    options, epochs = plan.options, plan.base.epochs
    trials = studies.latest_trials(study)
    use_asha = options.scheduler == "asha"
    rung_epochs = rungs(epochs, plan.grace, options.reduction) if use_asha else []
    finalists = num_finalists_left(study, options.num_trials, options.finalists, options.repeats)
    ended = sum(trial.state.is_finished() for trial in trials)
    return Progress(
        num_trials=ended + studies.num_unfinished(study, options.num_trials) + finalists,
        num_finalists=finalists,
        epochs=epochs,
        expected_epochs=expected_epochs(epochs, rung_epochs, options.reduction),
        lines={trial.number: trial_line(trial) for trial in trials if trial_epochs(trial)},
    )


def _num_left(study: optuna.Study, options: SweepOptions) -> int:
    return studies.num_unfinished(study, options.num_trials) + num_finalists_left(
        study, options.num_trials, options.finalists, options.repeats
    )


def _enqueue_retries(study: optuna.Study, name: str, options: SweepOptions) -> None:
    if _num_left(study, options):
        raise UserError(
            f"--retry-failed {name}: the run is not finished; finish it first: --resume {name}"
        )
    if not studies.enqueue_retries(study):
        raise UserError(f"--retry-failed {name}: none of its trials failed; nothing to do")


def _outcome(
    study: optuna.Study,
    run: RunFolder,
    best: BestTrial | None,
    options: SweepOptions,
    seconds: float,
) -> Outcome:
    trials = studies.latest_trials(study)
    failures = [
        trial.user_attrs[studies.FAILURE] for trial in trials if trial.state == TrialState.FAIL
    ]
    finalists = run.write_finalists(study)
    is_complete = _num_left(study, options) == 0
    return Outcome(
        best=best,
        counts=dict(Counter(map(status, trials))),
        complete=is_complete,
        seconds=seconds,
        first_failure=failures[0] if failures else None,
        epochs_run=sum(len(trial_epochs(trial)) for trial in trials),
        epochs_saved=sum(map(_epochs_saved, trials)),
        finalists=finalists,
        finalists_left=num_finalists_left(
            study, options.num_trials, options.finalists, options.repeats
        ),
        runner_up=None
        if options.finalists or not is_complete
        else compare_two_best(studies.search_trials(study), run.ranks),
    )


def _epochs_saved(trial: FrozenTrial) -> int:
    if trial.state != TrialState.PRUNED:
        return 0
    epochs: int = trial.user_attrs[studies.RECIPE]["epochs"]
    return epochs - len(trial_epochs(trial))


@contextlib.contextmanager
def _terminating_like_ctrl_c() -> Iterator[None]:
    """End the sweep on SIGTERM as on Ctrl-C: Ray Tune then stops between two of its steps."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
