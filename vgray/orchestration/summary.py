"""What a sweep says before it starts and after it ends."""

from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from vgray.orchestration import study as studies
from vgray.orchestration.run_folder import STATUS, RunFolder
from vgray.orchestration.rungs import expected_epochs, rungs
from vgray.orchestration.sweep import Outcome, Plan, RunOptions
from vgray.recipe import describe_settings

# Settings shown by a dry run.
SHOWN_SETTINGS = 8


def show_plan(plan: Plan, run: RunFolder, console: Console, *, dry_run: bool) -> None:
    """Print what will be done; for a dry run also the first settings, the rungs and the cost."""
    options, epochs = plan.options, plan.base.epochs
    rows = [
        ("run", str(run.path)),
        ("space", f"{options.space}: {options.num_trials} trials, {plan.num_published} published"),
        ("data", f"{options.data}: {plan.manifest.num_rows:,} images{_unreadable(plan)}"),
    ]
    rung_epochs = rungs(epochs, plan.grace, options.reduction)
    use_asha = options.scheduler == "asha" and bool(rung_epochs)
    stops = (
        f"compared after {_epochs(rung_epochs)}, one in {options.reduction:g} goes on"
        if use_asha
        else "none stopped early"
    )
    rows.append(("trials", f"{epochs} epochs, {stops}"))
    if dry_run:
        full = options.num_trials * epochs
        mean = expected_epochs(epochs, rung_epochs if use_asha else [], options.reduction)
        images = plan.steps_per_epoch * plan.base.batch.places * plan.base.batch.images_per_place
        rows.append(
            (
                "cost",
                f"about {options.num_trials * mean:.0f} epochs of at most {full}, each of up to "
                f"{plan.steps_per_epoch} steps and {images:,} training images",
            )
        )
    for title, text in rows:
        console.print(f"{title + ':':<11}{text}", highlight=False, soft_wrap=True, markup=False)
    if dry_run:
        _show_settings(plan, console)


def _unreadable(plan: Plan) -> str:
    count = len(plan.store.skipped)
    return f", {count:,} more skipped as unreadable" if count else ""


def _epochs(numbers: list[int]) -> str:
    return f"epoch{'s'[: len(numbers) != 1]} " + ", ".join(map(str, numbers))


def _show_settings(plan: Plan, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right")
    table.add_column("from")
    table.add_column("setting")
    count = min(SHOWN_SETTINGS, plan.options.num_trials)
    for number, settings in enumerate(plan.settings[:count]):
        source = "published" if number < plan.num_published else "drawn, e.g."
        table.add_row(str(number), source, describe_settings(settings))
    console.print(table)


def show_outcome(
    outcome: Outcome, plan: Plan, run: RunFolder, how: RunOptions, console: Console
) -> int:
    """Print how the sweep ended and what to do next; returns the job's exit status."""
    counts = ", ".join(f"{n} {STATUS[state]}" for state, n in sorted(outcome.counts.items()))
    full = plan.options.num_trials * plan.base.epochs
    console.print(
        f"\n{counts}; {outcome.epochs_run} epochs of a full grid's {full}, {outcome.seconds:.0f} s",
        highlight=False,
    )
    failed = outcome.counts.get(TrialState.FAIL, 0)
    if failed:
        console.print(
            f"the first failure: {outcome.first_failure}\n"
            f"again:  python jobs/tune.py --retry-failed {run.name}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    resume = f"python jobs/tune.py --resume {run.name}"
    if outcome.best:
        metrics, trial = outcome.best.metrics, outcome.best.trial
        recalls = ", ".join(
            f"@{n} {metrics[f'recall@{n}']:.1f}" for n in plan.base.evaluation.recall_at
        )
        console.print(
            f"best:   trial {trial.number}, epoch {metrics['epoch']}: recall{recalls} "
            f"(recall@1 in [{metrics['recall@1_low']:.1f}, {metrics['recall@1_high']:.1f}] with "
            f"95 % of {metrics['num_queries']} queries)\n"
            f"        {describe_settings(trial.user_attrs[studies.SETTINGS])}\n"
            f"model:  {run.best}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if outcome.complete:
        if outcome.best is None:
            return 1
        console.print(
            f"next:   python jobs/train.py --recipe {run.best / 'recipe.json'} "
            f"--data {plan.options.data}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        return 0
    time_is_up = how.time_budget_s is not None and outcome.seconds >= how.time_budget_s
    console.print(
        f"{'time is up' if time_is_up else 'stopped'}; every finished epoch is kept. "
        f"Go on:  {resume}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 0 if time_is_up else 130
