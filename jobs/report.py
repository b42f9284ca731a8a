"""The final job: the best models of several runs and their ensembles, compared on test sets."""

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from vgray.console import console, counting, say, spread_values, user_errors
from vgray.errors import UserError

SEVERAL = {"--runs", "--test", "--ensemble"}


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Folders of jobs/tune.py or jobs/train.py, or checkpoints; several."),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="Data sets to score the models on; several.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the test sets. Default: test, else val.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Trials of each run's search.")] = 3,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(help="An ensemble by hand, as in night=A#3,B#0:2 (2 is a weight); several."),
    ] = None,
    no_search: Annotated[
        bool, typer.Option("--no-search", help="Do not search for the best ensemble.")
    ] = False,
    weights: Annotated[
        str | None, typer.Option(help="Weights that the search tries. Default: 0.5,1,2.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Largest dimension of the ensemble searched for.")
    ] = None,
    pca: Annotated[
        int | None, typer.Option(min=1, help="Reduce ensembles to so many dimensions, besides.")
    ] = None,
    recall_at: Annotated[
        str, typer.Option(help="The values of N, with commas between them.")
    ] = "1,5,10,20,25",
    distance: Annotated[
        float | None,
        typer.Option(help="Metres within which an image is right. Default: the recipes'."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="The model to compare with. Default: the best finalist on validation."),
    ] = None,
    descriptors: Annotated[
        Path | None,
        typer.Option(help="Folders of descriptors. Default: descriptors, beside the runs' folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder. Default: report-<date>-<time> by the runs.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster. Default: start Ray on this machine.")
    ] = None,
) -> None:
    """Compare the best models of runs, and ensembles of them, on test sets."""
    with user_errors():
        if not runs:
            raise UserError("--runs is missing: give the folders of runs, as in --runs runs/A")
        if not test:
            raise UserError("--test is missing: give the data sets to score the models on")
        # The messages of a wrong option need not wait for these.
        from vgray.orchestration.cluster import disconnect
        from vgray.orchestration.described import DescriptorFolders
        from vgray.orchestration.final_job import make_report
        from vgray.reports.default_folders import default_folders
        from vgray.reports.overview import show_report
        from vgray.reports.plan import Options, make_plan
        from vgray.reports.writing import require_new, write_report
        from vgray.retrieval.evaluation_request import parse_recall_at
        from vgray.training.run_folder import require_writable

        default = default_folders(runs[0])
        folder = out or default.reports / f"report-{datetime.now():%Y%m%d-%H%M%S}"
        require_new(folder)
        require_writable(folder)
        plan = make_plan(
            Options(
                runs=runs,
                tests=test,
                split=split,
                top=top,
                ensembles=ensemble or (),
                search=not no_search,
                weights=None if weights is None else _numbers(weights),
                budget=budget,
                pca=pca,
                recall_at=parse_recall_at(recall_at),
                distance_m=distance,
                baseline=baseline,
            )
        )
        folders = DescriptorFolders(
            root=descriptors or default.descriptors,
            address=address,
            command=sys.argv,
            say=say,
            counting=counting,
        )
        try:
            made, best, queries = make_report(plan, folders, command=sys.argv)
        finally:
            disconnect()
        written = write_report(made, folder, queries)
        show_report(made, console)
        say(f"report: {written / 'report.md'}")
        again = ["python", "jobs/evaluate.py", "--descriptors", str(best), "--slice", "brightness"]
        say(f"next:   {shlex.join(again)}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--weights {text}: expected numbers, as in 0.5,1,2") from None


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(report)
    app(args=spread_values(sys.argv[1:], SEVERAL))
