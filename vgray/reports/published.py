"""Recalls that the studies print, to stand beside those of the same settings here.

``published_results.csv`` has a row for each printed percentage, with its number of queries, its
95 % Wilson interval and whether any number of queries gives it. Which setting a row of a table is
stands in ``search_spaces/literature.py``.
"""

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from vgray.recipe import Recipe
from vgray.reports.results import PublishedValue
from vgray.settings import flatten_settings

if TYPE_CHECKING:
    from search_spaces.literature import Run

FILE = "published_results.csv"
# No study has these; a recipe with one of them is another method.
_WITHOUT = ("attention", "projection", "multi_scale")
# Compared besides what literature.py has of a run, and said where it differs.
_ALSO_SAID = ("augmentation", "image_size", "init_from")


def published_values(recipe: Recipe, name: str, split: str) -> list[PublishedValue]:
    """Return the printed recalls of a recipe's setting on a data set of the same name.

    A recipe is a run of a study if everything that is printed of the run is so in the recipe, and
    the methods that are not printed are those that the study is taken to have had. Other numbers
    that the study is taken to have had may differ; ``differs`` has them. Of two runs of a study
    that a recipe agrees with, one saying more than the other, it is the one that says more.

    Args:
        recipe: of a trained model.
        name: the data set's, such as ``sf_xs``, ``SF-XS`` or ``sf-xs-test``.
        split: of the data set.

    Returns:
        Of each row of a table and N, in the order of the file; of a recall printed epoch by epoch
        that of the last.
    """
    dataset = _dataset(name, split)
    if dataset is None:
        return []
    differs = {
        (each.run.study, table, str(row)): _differences(each, recipe)
        for each in _runs_of(recipe)
        for table, row in each.run.rows
    }
    return [
        PublishedValue(
            study=row["study"],
            table=row["table"],
            row=row["row"],
            n=int(row["metric"].removeprefix("R@")),
            value=float(row["value"]),
            num_queries=int(row["n_queries"]),
            low=float(row["wilson_lo"]),
            high=float(row["wilson_hi"]),
            possible=row["reachable"] == "True",
            trained_on=row["train_dataset"],
            differs=differs[key],
        )
        for row in printed_rows()
        if row["dataset"] == dataset
        and (key := (row["study"], row["table"], row["row"])) in differs
    ]


@cache
def printed_rows() -> tuple[dict[str, str], ...]:
    """Return the rows of the file; of what is printed for each epoch, only the last."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    file = resources.files("vgray.reports").joinpath(FILE)
    for row in csv.DictReader(file.read_text("utf-8").splitlines()):
        key = tuple(row[column] for column in ("study", "table", "row", "dataset", "metric"))
        if key not in rows or int(row["epoch"]) > int(rows[key]["epoch"]):
            rows[key] = row
    return tuple(rows.values())


def _dataset(name: str, split: str) -> str | None:
    """Return the data set of the file that is meant: the name with its split, or without "test".

    A folder that has the name of its test images has the split's name in it, and no other split
    of it is meant.
    """
    known = {_letters(row["dataset"]): row["dataset"] for row in printed_rows()}
    given = _letters(name)
    whole = given if given.endswith(split) else given + split
    return known.get(whole) or known.get(whole.removesuffix("test"))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


class _Published(NamedTuple):
    run: "Run"
    values: dict[str, Any]
    """Of its recipe, by dotted path."""
    decisive: dict[str, Any]
    """Those that a recipe must have to be the run."""


@cache
def _published() -> tuple[_Published, ...]:
    # Plain data that only a report needs.
    from search_spaces.literature import RUNS

    runs = []
    for run in RUNS:
        values = _flat(Recipe().with_settings(run.settings))
        methods = [path for path in run.settings if path.endswith(".name")]
        runs.append(_Published(run, values, _below(values, [*run.printed, *methods, *_WITHOUT])))
    return tuple(runs)


def _runs_of(recipe: Recipe) -> list[_Published]:
    """Return the runs that a recipe is."""
    ours = _flat(recipe)
    found = [each for each in _published() if each.decisive.items() <= ours.items()]
    return [
        each
        for each in found
        if not any(
            each.run.study == other.run.study
            and each.run.printed.items() < other.run.printed.items()
            for other in found
        )
    ]


def _differences(published: _Published, recipe: Recipe) -> list[str]:
    """Return what the run is taken to have had and the recipe has not."""
    run = published.run
    said = [*run.settings, *_ALSO_SAID]
    there, here = _below(published.values, said), _below(_flat(recipe), said)
    if run.epochs is not None:
        there["epochs"], here["epochs"] = run.epochs, recipe.epochs
    return [
        f"{path} {_text(path, there)}, here {_text(path, here)}"
        for path in dict.fromkeys([*there, *here])
        if there.get(path) != here.get(path)
    ]


def _text(path: str, values: Mapping[str, Any]) -> str:
    value = values.get(path)
    if isinstance(value, tuple):
        return ("x" if path == "image_size" else "-").join(f"{each:g}" for each in value)
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe's values by dotted path, lists as tuples."""
    values = flatten_settings(recipe.to_dict())
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _below(values: Mapping[str, Any], paths: list[str]) -> dict[str, Any]:
    return {
        key: value
        for key, value in values.items()
        if any(f"{key}.".startswith(f"{path}.") for path in paths)
    }
