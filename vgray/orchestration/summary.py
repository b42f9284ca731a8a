"""What a sweep says before it starts and after it ends."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgray import console as terminal
from vgray.console import EXIT_INTERRUPTED, describe_duration, say
from vgray.orchestration import study as studies
from vgray.orchestration.plan import Plan
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.rungs import expected_epochs, rungs
from vgray.orchestration.standings import Standing, describe_difference, verdict
from vgray.orchestration.sweep import Outcome, RunOptions
from vgray.places import skipped_images
from vgray.places.store import usable_cpus
from vgray.settings import describe_settings

if TYPE_CHECKING:
    from vgray.orchestration.cost import Speeds

# Settings and branches shown by a dry run.
SHOWN_SETTINGS = 8
SHOWN_BRANCHES = 60
# A file has no edge at which the row of a finalist would have to be broken.
WIDTH_OF_FILES = 250


def show_plan(
    plan: Plan, run: RunFolder, how: RunOptions, console: Console, *, dry_run: bool
) -> None:
    """Print what will be done; for a dry run also what it costs, branches and settings."""
    options, epochs = plan.options, plan.base.epochs
    rows = [
        ("run", str(run.path)),
        ("space", f"{options.space}: {options.num_trials} trials, {_published(plan)}"),
        ("data", f"{options.data_text}: {plan.manifest.num_rows:,} images{_unreadable(plan)}"),
    ]
    for left_out in plan.left_out:
        count = f" ({left_out.num_published} published)" if left_out.num_published else ""
        rows.append(("left out", f"{left_out.what}{count}: {left_out.reason}"))
    rung_epochs = rungs(epochs, plan.grace, options.reduction)
    use_asha = options.scheduler == "asha" and bool(rung_epochs)
    stops = (
        f"compared after {_epochs(rung_epochs)}, one in {options.reduction:g} goes on"
        if use_asha
        else "none stopped early"
    )
    rows.append(("trials", f"{epochs} epochs, {stops}"))
    if options.finalists:
        again = f"{options.repeats} times more, with other seeds"
        rows.append(("finalists", f"the best {options.finalists} settings, trained {again}"))
    rows += plan.notes
    for title, text in rows:
        _say_row(title, text)
    if dry_run:
        # Measuring needs torch, which takes seconds to import; nothing else before a sweep does.
        from vgray.orchestration.cost import measure_speeds

        speeds = measure_speeds(plan, threads=max(1, int(how.cpus_per_trial or 1)))
        for title, text in _cost(plan, speeds, rung_epochs if use_asha else [], how):
            _say_row(title, text)
        _show_branches(plan, speeds, console)
        _show_settings(plan, console)


def _say_row(title: str, text: str) -> None:
    say(f"{title + ':':<10} {text}")


def _cost(
    plan: Plan, speeds: "Speeds", rung_epochs: list[int], how: RunOptions
) -> list[tuple[str, str]]:
    """Return what the sweep costs: in epochs, in images, and in time on a machine like this one."""
    from torch.cuda import device_count

    options, base = plan.options, plan.base
    num_epochs = options.num_trials * expected_epochs(base.epochs, rung_epochs, options.reduction)
    num_epochs += plan.num_finalist_epochs
    num_described = plan.num_validation_images
    images = [*plan.branch_images, *plan.first_images]
    steps, trained, mined = (_range(values) for values in zip(*images, strict=True))
    mined = f", {mined} to mine" if mined != "0" else ""
    gpus, cpus = device_count(), usable_cpus()
    use_gpus = bool(gpus) and how.gpus_per_trial != 0
    concurrent = gpus / (how.gpus_per_trial or 1) if use_gpus else cpus / (how.cpus_per_trial or 1)
    concurrent = max(1, int(min(concurrent, how.max_concurrent or concurrent)))
    seconds = speeds.seconds_per_epoch(plan)
    return [
        (
            "epochs",
            f"about {num_epochs:.0f} of at most {_all_epochs(plan)}, each of {steps} steps with "
            f"{trained} images{mined}, and {num_described:,} to validate on",
        ),
        (
            "cost",
            f"{'about' if len(speeds.measured) == len(speeds.branches) else 'at least'} "
            f"{describe_duration(num_epochs * seconds / concurrent)} on a machine like this "
            f"one: {concurrent} trial{'s'[: concurrent != 1]} at a time, {_speeds(speeds)}",
        ),
    ]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _all_epochs(plan: Plan) -> int:
    """Return how many epochs there are if none is saved by stopping early."""
    return plan.options.num_trials * plan.base.epochs + plan.num_finalist_epochs


def _speeds(speeds: "Speeds") -> str:
    training, describing = (
        " to ".join(dict.fromkeys(f"{value:,.0f}" for value in (min(each), max(each))))
        for each in zip(*speeds.measured, strict=True)
    )
    text = f"{training} images/s each in training and {describing} in validation, measured now"
    missing, count = speeds.branches.count(None), len(speeds.branches)
    return f"{text}, without {missing} of {count} branches for lack of time" if missing else text


def _show_branches(plan: Plan, speeds: "Speeds", console: Console) -> None:
    """Print every branch with the range of each of the settings that it has."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("branch", no_wrap=True)
    table.add_column("published", justify="right")
    if speeds.differ:
        table.add_column("images/s", justify="right")
    table.add_column("varies")
    part = 0
    published = plan.settings[: plan.num_published]
    for branch, speed in list(zip(plan.branches, speeds.branches, strict=True))[:SHOWN_BRANCHES]:
        if branch.part != part:
            table.add_row()
            part = branch.part
        ranges = [f"{path.rpartition('.')[2]} {text}" for path, text in branch.ranges.items()]
        if isinstance(speed, str):
            ranges.append(f"not measured: {speed}")
        known = f"{speed.training:,.0f}" if speed and not isinstance(speed, str) else "–"
        count = sum(branch.choices.items() <= setting.items() for setting in published)
        cells = [str(branch), str(count), *([known] if speeds.differ else [])]
        table.add_row(*map(Text, [*cells, ", ".join(ranges)]))
    console.print(table)
    if len(plan.branches) > SHOWN_BRANCHES:
        say(f"... and {len(plan.branches) - SHOWN_BRANCHES} more branches")


def _published(plan: Plan) -> str:
    whole, parts = map(plan.sources.count, ("published", "published, rest drawn"))
    return f"{whole} published" + (f", {parts} published with the rest drawn" if parts else "")


def _unreadable(plan: Plan) -> str:
    count = len(skipped_images(plan.manifest, plan.store))
    return f", {count:,} skipped" if count else ""


def _epochs(numbers: list[int]) -> str:
    return f"epoch{'s'[: len(numbers) != 1]} " + ", ".join(map(str, numbers))


def _show_settings(plan: Plan, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right")
    table.add_column("from")
    table.add_column("setting")
    count = min(SHOWN_SETTINGS, plan.options.num_trials)
    for number, settings in enumerate(plan.settings[:count]):
        source = plan.sources[number] if number < len(plan.given) else "drawn, e.g."
        table.add_row(str(number), source, describe_settings(settings))
    console.print(table)


def show_outcome(outcome: Outcome, plan: Plan, run: RunFolder, how: RunOptions) -> int:
    """Print how the sweep ended and what to do next; returns the job's exit status."""
    counts = ", ".join(f"{number} {status}" for status, number in sorted(outcome.counts.items()))
    epochs = f"{outcome.epochs_run} epochs"
    if outcome.epochs_saved:
        epochs += f", of {outcome.epochs_run + outcome.epochs_saved} without early stopping"
    say(f"\n{counts}; {epochs}, {describe_duration(outcome.seconds)}")
    if outcome.first_failure is not None:
        say(f"the first failure: {outcome.first_failure}")
    if outcome.first_failure is not None and outcome.complete:
        say(f"again:  {_tune_again(run, '--retry-failed')}")
    if outcome.finalists:
        show_finalists(outcome.finalists, run, terminal.console)
    if plan.options.finalists and (sentence := _missing(outcome, plan.options.repeats)):
        say(sentence)
    if outcome.best:
        metrics, trial = outcome.best.metrics, outcome.best.trial
        recalls = ", ".join(
            f"@{n} {metrics[f'recall@{n}']:.1f}" for n in plan.base.evaluation.recall_at
        )
        of = trial.user_attrs.get(studies.FINALIST_OF)
        words = "" if of is None else f", the best repeat of trial {of}'s setting"
        say(
            f"best:   trial {trial.number}{words}, epoch {metrics['epoch']}: recall{recalls} "
            f"(recall@1 in [{metrics['recall@1_low']:.1f}, {metrics['recall@1_high']:.1f}] with "
            f"95 % of {metrics['num_queries']} queries)"
        )
        say(f"        {describe_settings(trial.user_attrs[studies.SETTINGS])}")
        say(f"model:  {run.best}")
    if outcome.runner_up and (hint := _chance(outcome.runner_up, plan, run)):
        say(f"note:   {hint}")
    if outcome.complete:
        if outcome.best:
            say(f"next:   {_train_again(plan, run)}")
        return 0 if outcome.best else 1
    time_is_up = how.time_budget_s is not None and outcome.seconds >= how.time_budget_s
    say(
        f"{'time is up' if time_is_up else 'stopped'}; every finished epoch is kept. "
        f"Go on:  {_tune_again(run, '--resume')}"
    )
    if not time_is_up:
        return EXIT_INTERRUPTED
    return 0 if outcome.best or outcome.first_failure is None else 1


def _tune_again(run: RunFolder, option: str) -> str:
    command = ["python", "jobs/tune.py", option, run.name]
    if run.path.parent != Path("runs").absolute():
        command += ["--storage", str(run.path.parent)]
    return shlex.join(command)


def _train_again(plan: Plan, run: RunFolder) -> str:
    command = ["python", "jobs/train.py", "--recipe", str(run.best / "recipe.json")]
    for data in plan.options.data:
        command += ["--data", data]
    return shlex.join(command + (["--val", plan.options.val] if plan.options.val else []))


def _missing(outcome: Outcome, repeats: int) -> str | None:
    """Return what the ranking of the finalists lacks, if it lacks anything."""
    left = outcome.finalists_left
    if left:
        ranked_by = outcome.finalists[0].num_repeats if outcome.finalists else 0
        of = f"{ranked_by} of {repeats} repeats so far"
        return f"finalists ranked by {of}; {left} training{'s'[: left != 1]} unfinished"
    if outcome.best and not outcome.finalists:
        return "every repeat of the finalists failed; the best is that of the search, of one seed"
    return None


def show_finalists(standings: Sequence[Standing], run: RunFolder, console: Console) -> None:
    """Print the finalists by the mean of their repeats, and whether the first is the best."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("rank", "trial", "mean recall@1", "std"):
        table.add_column(title, justify="right")
    for title in ("repeats", "behind the first [95 %]", "setting"):
        table.add_column(title, overflow="fold")
    for rank, each in enumerate(standings, 1):
        repeats = " ".join(
            f"{recall:.1f} (#{trial.number})"
            for trial, recall in zip(each.repeats, each.recalls, strict=True)
        )
        failed = f", {each.num_failed} failed" if each.num_failed else ""
        cells = [
            str(rank),
            f"#{each.trial.number}",
            f"{each.mean:.1f}",
            "–" if each.std is None else f"{each.std:.1f}",
            repeats + failed,
            describe_difference(each.behind) if each.behind else "",
            describe_settings(each.trial.user_attrs[studies.SETTINGS]),
        ]
        table.add_row(*map(Text, cells))
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_OF_FILES)
    console.print(table)
    if (sentence := verdict(standings)) is not None:
        say(sentence)
    again = shlex.join(["python", "jobs/train.py", "--trial", f"{run.path}#N"])
    say(f"any of them again, by its number N:  {again}")


def _chance(second: Standing, plan: Plan, run: RunFolder) -> str | None:
    """Return what to do if the second best of a search may be as good as the best."""
    if second.behind is None or second.behind.is_certain:
        return None
    finalists = f"--finalists {min(3, plan.options.num_trials)}"
    return (
        f"trial {second.trial.number} may be as good (difference "
        f"{describe_difference(second.behind)}, of one seed each); {finalists} would tell whether "
        f"the best is ahead by more than chance:  {_tune_again(run, '--resume')} {finalists}"
    )
