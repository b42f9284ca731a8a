"""One training: a recipe and data sets in, the best model of its epochs out."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.progress import TextColumn

from search_spaces.demo import DEMO_SETTINGS
from vgray.console import (
    EXIT_INTERRUPTED,
    counting,
    demo_city,
    parse_settings,
    progress_bar,
    refuse_given,
    say,
    user_errors,
)
from vgray.errors import UserError
from vgray.recipe import Recipe


def train(
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe's JSON file. Default: the default recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a recipe setting, as in optimizer.lr=1e-4; repeatable."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Photos with positions; repeatable. Left out: the demo city."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Validate on this data set instead of on --data's val split.")
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(help="A checkpoint whose weights a new training starts from.")
    ] = None,
    trial: Annotated[
        str | None, typer.Option(help="Train a trial of a run again, as in runs/NAME#3.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: torch's; a trial's own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder. Default: runs/train-<date>-<time>.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --out.")
    ] = False,
) -> None:
    """Train one recipe, and keep the best of its epochs."""
    with user_errors():
        if resume and out is None:
            raise UserError("--resume: say which training to go on with, as in --resume --out DIR")
        if resume and init_from is not None:
            raise UserError(
                "--init-from starts a new training from a model's weights, --resume goes on with "
                "everything; give one"
            )
        if trial is not None:
            given: dict[str, object] = {"--recipe": recipe, "--data": data or None, "--val": val}
            given |= {"--set": set_ or None, "--init-from": init_from, "--resume": resume or None}
            refuse_given(given, f"--trial {trial}")
        if val is not None and not data and not resume:
            raise UserError(f"--val {val}: give the data set to train on, as in --data DATA")
        settings = parse_settings(set_ or [])
        if init_from is not None:
            settings["init_from"] = init_from
        base = Recipe().with_settings({} if data else DEMO_SETTINGS)
        base = Recipe.from_file(recipe) if recipe is not None else base
        if not resume:
            base.with_settings(settings)  # a mistake is said before torch is imported

        from vgray import places, training
        from vgray.models import ensure_network
        from vgray.training import run_folder, trials
        from vgray.training.epochs import epoch_line
        from vgray.training.request import settle

        folder = out or Path("runs") / f"train-{datetime.now():%Y%m%d-%H%M%S}"
        earlier = run_folder.read_run(folder) if resume else None
        if earlier is None:
            run_folder.require_new(folder)
        run_folder.require_writable(folder)
        asked = settle(
            None if resume and recipe is None else base,
            settings,
            data=data,
            val=val,
            threads=threads,
            earlier=earlier,
            trial=trial,
        )
        chosen = asked.recipe
        uris = asked.data or [demo_city()]
        manifest = places.load_training_data(uris, asked.val)
        asked.require_same_data(places.fingerprint(manifest))
        # Before anything is decoded, which may take hours, and after, without what is unreadable.
        places.require_data_for(manifest, [chosen])
        # A training that goes on needs no other weights.
        initial = ensure_network(chosen) if earlier is None else None
        with counting("decoding images") as progress:
            store = places.open_store(manifest, chosen.image_size, progress=progress)
        places.require_data_for(manifest, [chosen], store.readable)
        prepared = training.TrainingData.prepare(manifest, store, chosen.evaluation.distance_m)
        skipped = places.skipped_images(manifest, store)
        if earlier is None:
            run_folder.create_run(
                folder,
                chosen,
                data=uris,
                val=asked.val,
                threads=asked.threads,
                trial=asked.trial_name,
                fingerprint=prepared.fingerprint,
                num_images=manifest.num_rows,
                skipped=skipped,
                command=sys.argv,
            )
        say(
            f"{folder}: {len(prepared.train.rows):,} training images, "
            f"{len(prepared.database_rows):,} in the database, "
            f"{len(prepared.query_rows):,} queries, {len(skipped):,} skipped"
        )
        if chosen.mining.name != "none":
            queries = places.num_training_queries(manifest, chosen, store.readable)
            say(
                f"mining {chosen.mining.name}: {queries.used:,} training queries are used, "
                f"{queries.dropped:,} dropped for want of a positive or a negative"
            )
        notes = [places.describe_sources(manifest), places.describe_near_validation(manifest)]
        for note in (*notes, initial and initial.describe()):
            if note:
                say(note)
        history: list[dict[str, Any]] = []
        try:
            with epoch_bar(chosen.epochs) as step:
                for metrics in training.train(
                    chosen, prepared, folder, threads=asked.threads, progress=step
                ):
                    history.append(metrics)
                    say(epoch_line(metrics, chosen))
                    for key in ("note", "warning"):
                        if metrics.get(key):
                            say(f"{key}: {metrics[key]}")
        except KeyboardInterrupt:
            again = f"python jobs/train.py --resume --out {shlex.quote(str(folder))}"
            typer.echo(f"stopped; every finished epoch is kept. Go on: {again}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except training.TrainingDiverged as error:
            typer.echo(f"error: {error} (recipe: {folder / run_folder.RUN})", err=True)
            raise typer.Exit(1) from None
        if asked.trial is not None:
            say(trials.compare(asked.trial, history))
        best = training.best_checkpoint(folder)
        say(f"model:  {best}")
        code = f"import vgray; print(vgray.load_model({str(best)!r}).describe('photo.jpg'))"
        say(f"next:   python -c {shlex.quote(code)}")


@contextmanager
def epoch_bar(epochs: int) -> Iterator[Callable[[int, int, int, int], None]]:
    """Show the steps of an epoch, with images/s; nothing where the output is no terminal."""
    with progress_bar(TextColumn("{task.fields[speed]}")) as bar:
        task = bar.add_task("starting", total=None, speed="")
        started = perf_counter()

        def step(epoch: int, done: int, steps: int, images: int) -> None:
            nonlocal started
            if done == 1:
                started = perf_counter()
                bar.reset(task, total=steps)
            seconds = perf_counter() - started
            speed = f"{images * (done - 1) / done / seconds:.0f} images/s" if done > 1 else ""
            label = f"epoch {epoch}/{epochs}"
            bar.update(task, description=label, total=steps, completed=done, speed=speed)

        yield step


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(train)
    app()
