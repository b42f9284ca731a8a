"""Recall of described models, from their descriptors alone."""

import json
import sys
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from vgray.console import console, counting, say, spread_values, user_errors
from vgray.errors import UserError
from vgray.retrieval import evaluation_files as files
from vgray.retrieval import evaluation_request as request
from vgray.retrieval.crops import Crops
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation import evaluate as evaluate_source
from vgray.retrieval.evaluation import require_same_images
from vgray.retrieval.evaluation_screen import show_evaluation
from vgray.retrieval.retrieved import retrieved
from vgray.retrieval.slices import slice_queries

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
        typer.Option(min=0, help="Metres within which an image is right. Default: the recipe's."),
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option("--slice", help="brightness, year, heading, folder or a column; several."),
    ] = None,
    night_below: Annotated[
        float | None,
        typer.Option(min=0, max=255, help="It is night below this brightness. Default: Otsu's."),
    ] = None,
    crops: Annotated[
        Crops, typer.Option(help="How queries that were described in five crops are ranked.")
    ] = "mean",
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
        typer.Option(help="Folder to write. Default: recall in the first folder of descriptors."),
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
        if night_below is not None and "brightness" not in (slice_ or []):
            raise UserError("--night-below: only divides --slice brightness; give that too")
        ns = request.parse_recall_at(recall_at)
        described = request.open_folders(descriptors)
        chosen = request.choose_split(described, split)
        require_same_images(described, chosen)
        folder = out or descriptors[0] / ("retrieved" if no_labels else "recall")
        files.require_writable(folder)
        distance_m = request.settle_distance(described, distance)
        queries = next(iter(described.values())).images(chosen, "queries")
        slicings = [slice_queries(queries, by, night_below=night_below) for by in slice_ or ()]
        fitted_on = [Descriptors(each) for each in pca_from or ()]
        models, tables = [], []
        for name, each in described.items():
            source, how = request.reduced(each, pca, whiten=whiten, fitted_on=fitted_on)
            with counting(f"searching {name}") as step:
                if no_labels:
                    found = retrieved(
                        source, chosen, ns[-1], crops=crops, threads=threads, progress=step
                    )
                    tables.append(files.with_model(found, name))
                    continue
                evaluation = evaluate_source(
                    source, chosen, max_n=ns[-1], crops=crops, threads=threads, progress=step
                )
            models.append(files.Evaluated(name, each, source.dimension, how, evaluation))
        if no_labels:
            files.write_files(folder, None, {files.RANKED: pa.concat_tables(tables)})
            num_queries, k = len(tables[0]["query"].unique()), max(tables[0]["rank"].to_pylist())
            say(f"split {chosen}: {k:,} images retrieved for each of {num_queries:,} queries")
            say(f"wrote {folder / files.RANKED}")
            return
        summary = files.summarise(
            models, chosen, recall_at=ns, distance_m=distance_m, slicings=slicings, crops=crops,
            command=sys.argv,
        )  # fmt: skip
        table = files.query_table(models, distance_m, slicings)
        files.write_files(folder, summary, {files.QUERIES: table})
        if as_json:
            print(json.dumps(summary, indent=1))
            return
        show_evaluation(summary, console)
        say(f"\nwrote {folder}: {files.RECALL}, {files.QUERIES}")
        say(f"next: {request.next_command(described, slice_ or ())}")


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(evaluate)
    app(args=spread_values(sys.argv[1:], SEVERAL))
