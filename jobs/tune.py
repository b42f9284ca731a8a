"""A sweep: train many settings of a search space, stop the poor ones early, keep the best model."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress, TaskID

from search_spaces.demo import DEMO_SETTINGS, DEMO_TRIALS, DEMO_TUPLE_SETTINGS
from vgray.console import (
    console,
    demo_city,
    parse_duration,
    parse_settings,
    progress_bar,
    refuse_given,
    user_errors,
)
from vgray.errors import UserError
from vgray.orchestration.checks import refuse_beside_published_only
from vgray.orchestration.earlier import find_run
from vgray.orchestration.importance import show_importances
from vgray.orchestration.plan import (
    ImageSize,
    StoreProgress,
    SweepOptions,
    make_plan,
    stored_options,
)
from vgray.orchestration.run_folder import RunFolder, require_writable
from vgray.orchestration.samplers import SamplerName
from vgray.orchestration.spaces import absolute_space, default_name, known_spaces
from vgray.orchestration.summary import show_outcome, show_plan
from vgray.orchestration.sweep import RunOptions, run_sweep
from vgray.places.files import local_or_uri
from vgray.settings import flatten_settings


def tune(
    space: Annotated[
        str | None,
        typer.Option(help="A search space, several joined by '+', or your own .py file."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Photos with positions; repeatable. Left out: the demo city."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Photos to validate on, if those of --data are not split.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Fix a recipe setting: backbone.weights=FILE; repeatable."),
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Train on from a model's weights.")
    ] = None,
    num_trials: Annotated[
        int | None,
        typer.Option(min=1, help="Settings to try. Default 20; 12 in the demo city; a whole grid."),
    ] = None,
    sampler: Annotated[
        SamplerName | None,
        typer.Option(help="Default tpe. gp: a Gaussian process; grid: all of a finite space."),
    ] = None,
    published_only: Annotated[
        bool,
        typer.Option("--published-only", help="Rerun the published settings, none stopped early."),
    ] = False,
    warm_start: Annotated[
        str | None, typer.Option(metavar="RUN", help="Learn from an earlier run's trials.")
    ] = None,
    finalists: Annotated[
        int | None, typer.Option(min=1, help="Train so many of the best again, to choose fairly.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Seeds that each finalist is trained with. Default 3.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a trial that is not stopped early.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of search and training.")] = None,
    scheduler: Annotated[
        Literal["asha", "none"] | None, typer.Option(help="Stop poor trials early, or none.")
    ] = None,
    grace: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs before a trial may be stopped. Default: a third of all."),
    ] = None,
    reduction: Annotated[
        float | None, typer.Option(help="Each comparison keeps one trial in this many. Default 3.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name. Default: the space, date and time.")
    ] = None,
    storage: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    resume: Annotated[
        str | None, typer.Option(metavar="NAME", help="Go on with a run that was interrupted.")
    ] = None,
    retry_failed: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run only a run's failed trials again.")
    ] = None,
    importance: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only show which settings mattered in a run.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster. Default: start Ray on this machine.")
    ] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(min=0.01)] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="May be a fraction, as in 0.5: two trials a GPU.")
    ] = None,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Trials at a time.")] = None,
    time_budget: Annotated[
        str | None, typer.Option(help="Stop after this long: 90 (seconds), 30m or 8h.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the plan, start nothing.")
    ] = False,
) -> None:
    """Find the best settings of a search space, and train the best model."""
    with user_errors():
        storage = storage.expanduser().absolute()
        settled = {
            "--data": data, "--val": val, "--set": set_, "--init-from": init_from,
            "--epochs": epochs, "--seed": seed, "--sampler": sampler,
            "--published-only": published_only or None, "--warm-start": warm_start,
            "--scheduler": scheduler, "--grace": grace, "--reduction": reduction, "--name": name,
        }  # fmt: skip
        more = {"--num-trials": num_trials, "--finalists": finalists, "--repeats": repeats}
        old = resume or retry_failed
        if importance:
            given = {**settled, **more, "--resume or --retry-failed": old}
            refuse_given(given, f"--importance {importance}")
            show_importances(find_run(importance, storage), space, console)
            return
        require_writable(storage)
        how = RunOptions(
            address, cpus_per_trial, gpus_per_trial, max_concurrent, parse_duration(time_budget)
        )
        if resume and retry_failed:
            raise UserError("--resume and --retry-failed: finish a run first, then retry; give one")
        if old:
            given = {"--space": space, **settled, **({} if resume else more)}
            refuse_given(given, f"{'--resume' if resume else '--retry-failed'} {old}")
            run = RunFolder.named(storage, old)
            options = stored_options(run).extended(num_trials, finalists, repeats)
        else:
            if space is None:
                known = ", ".join(known_spaces())
                raise UserError(f"--space is missing: say what to vary; known are {known}")
            if published_only:
                refuse_beside_published_only(num_trials, sampler, warm_start)
            run = RunFolder.named(storage, name or default_name(space))
            run.require_new()
            settings = flatten_settings(parse_settings(set_ or []))
            settings |= {"epochs": epochs} if epochs else {}
            settings |= {"init_from": init_from} if init_from else {}
            all_of_them = published_only or sampler == "grid"
            options = SweepOptions(
                space=absolute_space(space),
                data=[local_or_uri(each) for each in data or [demo_city()]],
                val=val and local_or_uri(val),
                settings=settings,
                presets=DEMO_SETTINGS | DEMO_TUPLE_SETTINGS if data is None else {},
                num_trials=0 if all_of_them else DEMO_TRIALS if data is None else 20,
                seed=seed or 0,
                scheduler=scheduler or ("none" if published_only else "asha"),
                grace=grace,
                reduction=3.0 if reduction is None else reduction,
                sampler=sampler or "tpe",
                published_only=published_only,
                warm_start=str(find_run(warm_start, storage).path) if warm_start else None,
            ).extended(num_trials, finalists, repeats)
        with progress_bar() as bar:
            plan = make_plan(options, resumed=run if old else None, progress=_decoding(bar))
        show_plan(plan, run, how, console, dry_run=dry_run)
        if dry_run:
            return
        retry = retry_failed is not None
        outcome = run_sweep(plan, run, how, console, command=sys.argv, retry_failed=retry)
        raise typer.Exit(show_outcome(outcome, plan, run, how))


def _decoding(bar: Progress) -> StoreProgress:
    tasks: dict[ImageSize, TaskID] = {}

    def show(size: ImageSize, done: int, total: int) -> None:
        if size not in tasks:
            tasks[size] = bar.add_task(f"decoding images at {size[0]}x{size[1]}", total=total)
        bar.update(tasks[size], completed=done)

    return show


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(tune)
    app()
