"""Recall of described models, from their descriptors alone."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from vgray.console import console, counting, say, spread_values, user_errors
from vgray.errors import UserError
from vgray.retrieval import evaluation_files as files
from vgray.retrieval import evaluation_request as request
from vgray.retrieval.crops import Crops
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation import evaluate as evaluate_source
from vgray.retrieval.evaluation_screen import show_evaluation
from vgray.retrieval.evaluation_summary import Evaluated, query_table, summarise
from vgray.retrieval.retrieved import Retrieved, retrieve
from vgray.retrieval.retrieved_screen import joined, next_command, show_retrieved
from vgray.retrieval.same_images import require_same_images

SEVERAL = {"--descriptors", "--slice", "--pca-from"}


def evaluate(
    descriptors: Annotated[
        list[Path], typer.Option(help="Folders by jobs/extract.py, of the same data; several.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Default: test, else val, else the only one there is.")
    ] = None,
    recall_at: Annotated[
        str, typer.Option(help="The values of N, with commas between them.")
    ] = "1,5,10,20,25",
    distance: Annotated[
        float | None,
        typer.Option(help="Metres within which an image is right. Default: the recipe's."),
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option("--slice", help="brightness, year, heading, folder or a column; several."),
    ] = None,
    night_below: Annotated[
        float | None,
        typer.Option(help="It is night below this brightness. Default: the recipe's, or Otsu's."),
    ] = None,
    crops: Annotated[
        Crops | None,
        typer.Option(help="How queries described in five crops are ranked. Default: mean."),
    ] = None,
    pca: Annotated[int | None, typer.Option(min=1, help="Reduce to so many dimensions.")] = None,
    whiten: Annotated[bool, typer.Option("--whiten", help="Whiten in the PCA.")] = False,
    pca_from: Annotated[
        list[Path] | None,
        typer.Option(help="Folders whose train split the PCA is fitted on. Default: the same."),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Only retrieve: no positions, no recall.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write. Default: in the first of descriptors, by what is done."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print recall.json instead.")] = False,
) -> None:
    """Say how often the right place is among the N nearest, and how certain that is."""
    with user_errors():
        if pca is None and (whiten or pca_from):
            raise UserError("--whiten and --pca-from: say to how many dimensions, as in --pca 256")
        if no_labels and (slice_ or distance is not None or as_json):
            raise UserError("--no-labels: no recall; leave out --slice, --distance and --json")
        ns = request.parse_recall_at(recall_at)
        described = request.open_folders(descriptors)
        chosen = request.choose_split(described, split)
        how_crops = request.settle_crops(described, crops)
        distance_m = None if no_labels else request.settle_distance(described, distance)
        reduction = None if pca is None else f"pca{pca}{'-whitened' * whiten}"
        within = None if distance is None else f"{distance:g}m"
        done = ("retrieved" if no_labels else "recall", split, reduction, crops, within)
        folder = request.absolute(out) if out else request.default_folder(described, done)
        files.require_writable(folder)
        for role in request.ROLES:
            require_same_images(list(described.values()), chosen, role)
        queries = next(iter(described.values())).images(chosen, "queries")
        slicings = request.divide(described, queries, slice_ or (), night_below)
        fitted_on = [Descriptors(request.absolute(each)) for each in pca_from or ()]
        sources = {
            name: request.reduced(each, pca, whiten=whiten, fitted_on=fitted_on, threads=threads)
            for name, each in described.items()
        }
        found: dict[str, Retrieved] = {}
        models: list[Evaluated] = []
        for name, (source, how) in sources.items():
            with counting(f"searching {name}") as step:
                if distance_m is None:
                    found[name] = retrieve(
                        source, chosen, ns[-1], crops=how_crops, threads=threads, progress=step
                    )
                    continue
                evaluation = evaluate_source(
                    source, chosen, max_n=ns[-1], crops=how_crops, threads=threads, progress=step
                )
            models.append(Evaluated(name, described[name], source.dimension, how, evaluation))
        if distance_m is None:
            files.write_files(folder, None, {files.RANKED: joined(found)})
            show_retrieved(found, chosen, console)
            say(f"\nwrote {folder / files.RANKED}")
            say(f"next: {next_command(sys.argv, described, found)}")
            return
        summary = summarise(
            models, chosen, recall_at=ns, distance_m=distance_m, slicings=slicings,
            crops=how_crops, command=sys.argv,
        )  # fmt: skip
        files.write_files(
            folder, summary, {files.QUERIES: query_table(models, distance_m, slicings)}
        )
        if as_json:
            print(json.dumps(summary, indent=1))
            return
        show_evaluation(summary, console)
        say(f"\nwrote {folder}: {files.RECALL}, {files.QUERIES}")
        say(f"next: {request.next_command(sys.argv, described, queries, slice_ or ())}")


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(evaluate)
    app(args=spread_values(sys.argv[1:], SEVERAL))
