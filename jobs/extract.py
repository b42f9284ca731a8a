"""Extraction: what a model makes of a data set's images, once, for everything that is scored."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.progress import TextColumn

from vgray.console import (
    EXIT_INTERRUPTED,
    console,
    demo_city,
    describe_duration,
    parse_settings,
    progress_bar,
    say,
    spread_values,
    user_errors,
)
from vgray.errors import UserError
from vgray.places import left_out
from vgray.places.files import local_or_uri
from vgray.places.views import QueryMethod
from vgray.retrieval.description import SHARD_ROWS, DType

_SILENCE_S = 10  # between two lines of progress where there is no terminal


def extract(
    model: Annotated[
        str | None,
        typer.Option(help="A checkpoint, a run (its best model), or a trial: runs/NAME#3."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Photos with positions. Left out: the demo city.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="train, val or test; several may follow. Default: test, else val."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the descriptors; what it has is not done again.")
    ] = None,
    query_method: Annotated[
        QueryMethod,
        typer.Option(help="How queries are cut or resized; the database always is as trained."),
    ] = "resize",
    dtype: Annotated[DType, typer.Option(help="Of the numbers on disk.")] = "float16",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Use the model otherwise: image_size=480x640; repeatable."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="An unreadable image is an error, and not skipped.")
    ] = False,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Photos without positions, to retrieve only.")
    ] = False,
    train_images: Annotated[
        int | None, typer.Option(min=1, help="Of split train only so many, evenly spaced.")
    ] = None,
    shard_rows: Annotated[
        int, typer.Option(min=1, help="Images of a file; what is lost when the job is killed.")
    ] = SHARD_ROWS,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster. Default: start Ray on this machine.")
    ] = None,
) -> None:
    """Describe the images of a data set with a trained model."""
    with user_errors():
        if model is None:
            raise UserError("--model is missing: give a checkpoint, a run, or a trial: runs/NAME#3")
        if out is None:
            raise UserError("--out is missing: give the folder that the descriptors are to be in")
        if no_labels and data is None:
            raise UserError("--no-labels: give the photos, as in --data DIR")
        if train_images is not None and "train" not in (split or ()):
            raise UserError("--train-images is for the train split; give --split train too")
        settings = parse_settings(set_ or [])

        from vgray.models.checkpoint import changed_recipe
        from vgray.orchestration import extraction, extraction_request
        from vgray.training.checkpoint_of import find_checkpoint

        checkpoint = find_checkpoint(model).absolute()
        changed_recipe(checkpoint, settings)
        request = extraction_request.Request(
            model=checkpoint,
            data=local_or_uri(data or demo_city()),
            splits=tuple(dict.fromkeys(split or ())),
            out=out,
            query_method=query_method,
            dtype=dtype,
            settings=settings,
            strict=strict,
            labelled=not no_labels,
            shard_rows=shard_rows,
            train_images=train_images,
        )
        manifest = extraction_request.load_images(request)
        if not split:
            there = set(manifest["split"].to_pylist())
            request = replace(request, splits=("test",) if "test" in there else ("val",))
        say(f"{checkpoint}: describing split {', '.join(request.splits)} of {request.data}")
        for reason, paths in left_out(manifest).items():
            if paths:
                say(f"{len(paths):,} images left out ({reason}), such as {paths[0]}")
        try:
            with _progress() as step:
                done = extraction.extract(
                    request,
                    manifest=manifest,
                    address=address,
                    command=sys.argv,
                    progress=step,
                    say=say,
                )
        except KeyboardInterrupt:
            again = shlex.join(["python", *sys.argv])
            typer.echo(f"stopped; every finished shard is kept. Go on: {again}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        finally:
            if "ray" in sys.modules:
                from vgray.orchestration.cluster import disconnect

                disconnect()
        already = done.num_images - done.num_described
        skipped = f" ({done.folder / 'skipped.csv'})" if done.num_skipped else ""
        say(
            f"images: {done.num_described:,} new, {already:,} already there; of all "
            f"{done.num_skipped:,} skipped{skipped}"
        )
        if done.num_described:
            speed = f"{done.images_per_s:.0f} images/s, " if done.images_per_s is not None else ""
            say(
                f"took:   {speed}{describe_duration(done.seconds)} in all with a start of "
                f"{done.startup_s:.1f} s"
            )
        say(f"wrote:  {done.folder}")
        if set(request.splits) != {"train"}:
            options = ["--descriptors", str(done.folder), *(["--no-labels"] if no_labels else [])]
            say(f"next:   python jobs/evaluate.py {shlex.join(options)}")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show images done and images/s: a bar on a terminal, elsewhere a line every ten seconds."""
    first: list[tuple[int, float]] = []  # what was there already says nothing of the speed
    said = perf_counter()
    with progress_bar(TextColumn("{task.fields[speed]}")) as bar:
        task = bar.add_task("starting", total=None, speed="")

        def step(done: int, total: int) -> None:
            nonlocal said
            now = perf_counter()
            if not first:
                first.append((done, now))
            images, seconds = done - first[0][0], now - first[0][1]
            speed = f"{images / seconds:.0f} images/s" if images and seconds else ""
            bar.update(task, description="describing", completed=done, total=total, speed=speed)
            if speed and not console.is_terminal and now - said >= _SILENCE_S:
                said = now
                say(f"{done:,} of {total:,} images, {speed}")

        yield step


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(extract)
    app(args=spread_values(sys.argv[1:], {"--split"}))
