"""One training: a recipe and a data set in, the best model of its epochs out."""

import functools
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
    say,
    user_errors,
)
from vgray.errors import UserError
from vgray.recipe import Recipe, with_absolute_paths


def train(
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe's JSON file. Default: the default recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a recipe setting, as in optimizer.lr=1e-4; repeatable."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Photos with positions. Left out: the demo city.")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Validate on this data set instead of on --data's val split.")
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
        if val is not None and data is None and not resume:
            raise UserError(f"--val {val}: give the data set to train on, as in --data DATA")
        settings = parse_settings(set_ or [])
        base = Recipe().with_settings(DEMO_SETTINGS if data is None else {})
        base = Recipe.from_file(recipe) if recipe is not None else base
        base.with_settings(settings)  # a mistake is said before torch is imported

        from vgray import training
        from vgray.models import ensure_network
        from vgray.places import (
            fingerprint,
            for_training,
            load_manifest,
            open_store,
            require_trainable,
            skipped_images,
            with_validation,
        )
        from vgray.places.files import local_or_uri
        from vgray.training import run_folder

        folder = out or Path("runs") / f"train-{datetime.now():%Y%m%d-%H%M%S}"
        earlier = run_folder.read_run(folder) if resume else None
        if earlier is None:
            run_folder.require_new(folder)
        run_folder.require_writable(folder)
        if earlier is not None and recipe is None:
            base = Recipe.from_dict(earlier["recipe"])
        chosen = base.with_settings(settings)
        files = {"backbone.weights": chosen.backbone.weights, "init_from": chosen.init_from}
        chosen = chosen.with_settings(with_absolute_paths(files))
        if earlier is None:  # a checkpoint needs no other weights
            ensure_network(chosen)
        place = local_or_uri(data or (earlier["data"]["uri"] if earlier else demo_city()))
        scored = val or (earlier["data"].get("val") if earlier else None)
        manifest = load_manifest(place)
        if scored is not None:
            scored = local_or_uri(scored)
            manifest = with_validation(manifest, load_manifest(scored))
        manifest = for_training(manifest)
        require = functools.partial(
            require_trainable,
            manifest,
            images_per_place=chosen.batch.images_per_place,
            min_images=chosen.batch.min_images_per_place,
            distance_m=chosen.evaluation.distance_m,
            min_distance_m=chosen.batch.min_distance_m,
        )
        # Before anything is decoded, which may take hours, and after, without what is unreadable.
        require()
        if earlier is not None:
            run_folder.require_same(earlier, chosen, fingerprint(manifest))
        with counting("decoding images") as progress:
            store = open_store(manifest, chosen.image_size, progress=progress)
        require(store.readable)
        prepared = training.TrainingData.prepare(manifest, store, chosen.evaluation.distance_m)
        skipped = skipped_images(manifest, store)
        if earlier is None:
            run_folder.create_run(
                folder,
                chosen,
                data=place,
                val=scored,
                fingerprint=prepared.fingerprint,
                num_images=manifest.num_rows,
                skipped=skipped,
                command=sys.argv,
            )
        say(
            f"{folder}: {len(prepared.train_rows):,} training images, "
            f"{len(prepared.database_rows):,} in the database, "
            f"{len(prepared.query_rows):,} queries, {len(skipped):,} skipped"
        )
        try:
            with epoch_bar(chosen.epochs) as step:
                for metrics in training.train(chosen, prepared, folder, progress=step):
                    say(epoch_line(metrics, chosen))
        except KeyboardInterrupt:
            again = f"python jobs/train.py --resume --out {shlex.quote(str(folder))}"
            typer.echo(f"stopped; every finished epoch is kept. Go on: {again}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except training.TrainingDiverged as error:
            typer.echo(f"error: {error} (recipe: {folder / run_folder.RUN})", err=True)
            raise typer.Exit(1) from None
        best = training.best_checkpoint(folder)
        say(f"model:  {best}")
        code = f"import vgray; print(vgray.load_model({str(best)!r}).describe('photo.jpg'))"
        say(f"next:   python -c {shlex.quote(code)}")


def epoch_line(metrics: dict[str, Any], recipe: Recipe) -> str:
    """Return what an epoch came to, in one line."""
    ns = recipe.evaluation.recall_at
    recalls = " ".join(f"@{n} {metrics[f'recall@{n}']:.1f}" for n in ns)
    return (
        f"epoch {metrics['epoch']}/{recipe.epochs}: loss {metrics['loss']:.4f}, "
        f"lr {metrics['lr']:.3g}, recall {recalls} "
        f"(@1 in [{metrics['recall@1_low']:.1f}, {metrics['recall@1_high']:.1f}]), "
        f"{metrics['images_per_s']:.0f} images/s, {metrics['seconds']:.1f} s"
    )


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
