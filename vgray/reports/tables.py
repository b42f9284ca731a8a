"""The report's numbers as CSV: one header line, plain numbers, a row for each thing measured."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vgray.reports.results import Difference, Method, OnTest, Report, Score
from vgray.reports.wording import plain

Row = dict[str, Any]


def write_tables(report: Report, folder: Path) -> None:
    """Write the tables into a new folder.

    ``recall.csv`` has a row for each method, test set and N; ``differences.csv`` each paired
    difference, to the baseline and of an ensemble to its best member, with no ``corrected_p`` and
    ``certain`` where nothing is judged; ``ensembles.csv`` the members; ``published.csv`` the
    printed values. Percentages and points have four decimals.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    folder.mkdir()
    for name, columns, rows in [
        ("recall.csv", _RECALL, _recall(report)),
        ("differences.csv", _DIFFERENCES, _differences(report)),
        ("ensembles.csv", _ENSEMBLES, _ensembles(report)),
        ("published.csv", _PUBLISHED, _published(report)),
    ]:
        _write(folder / name, columns, rows)


_RECALL = (
    "method", "kind", "dimension", "bytes_per_image", "parameters", "trainings",
    "baseline", "val_recall", "test", "split", "chose_models", "trained_models", "queries",
    "without_positive", "distance_m", "n", "recall", "low", "high", "std",
)  # fmt: skip


def _recall(report: Report) -> Iterator[Row]:
    tests = {test.name: test for test in report.tests}
    for method in report.methods:
        for on in method.tests:
            test = tests[on.test]
            for score in on.scores:
                yield {
                    "method": method.name,
                    "kind": method.kind,
                    "dimension": method.dimension,
                    "bytes_per_image": method.bytes_per_image,
                    "parameters": method.num_parameters,
                    "trainings": len(method.seeds) if method.kind == "single" else 1,
                    "baseline": method.name == report.baseline,
                    "val_recall": method.val_recall,
                    "test": test.name,
                    "split": test.split,
                    "chose_models": test.chose_models,
                    "trained_models": test.trained_models,
                    "queries": test.num_queries,
                    "without_positive": test.num_without_positive,
                    "distance_m": test.distance_m,
                    "n": score.n,
                    "recall": score.recall,
                    "low": score.low,
                    "high": score.high,
                    "std": score.std,
                }


_DIFFERENCES = (
    "method", "than", "as", "test", "n", "recall", "than_recall", "points", "low", "high",
    "p_value", "corrected_p", "certain",
)  # fmt: skip


def _differences(report: Report) -> Iterator[Row]:
    of_baseline = {
        on.test: on.scores
        for method in report.methods
        for on in method.tests
        if method.name == report.baseline
    }
    for method in report.methods:
        for on in method.tests:
            for found in on.behind_baseline:
                yield _difference(method, "baseline", on, found, of_baseline.get(on.test, []))
            for found in on.against_best_member:
                yield _difference(method, "best member", on, found, on.of_best_member)


def _difference(
    method: Method, what: str, on: OnTest, found: Difference, theirs: Iterable[Score]
) -> Row:
    return {
        "method": method.name,
        "than": found.than,
        "as": what,
        "test": on.test,
        "n": found.n,
        "recall": _recall_at(found.n, on.scores),
        "than_recall": _recall_at(found.n, theirs),
        "points": found.points,
        "low": found.low,
        "high": found.high,
        "p_value": f"{found.p_value:.6g}",
        "corrected_p": None if found.corrected_p is None else f"{found.corrected_p:.6g}",
        "certain": None if found.corrected_p is None else found.certain,
    }


def _recall_at(n: int, scores: Iterable[Score]) -> float | None:
    return next((score.recall for score in scores if score.n == n), None)


_ENSEMBLES = (
    "ensemble", "kind", "dimension", "val_recall", "member", "weight", "member_val_recall",
)  # fmt: skip


def _ensembles(report: Report) -> Iterator[Row]:
    for method in report.methods:
        for member in method.members:
            yield {
                "ensemble": method.name,
                "kind": method.kind,
                "dimension": method.dimension,
                "val_recall": method.val_recall,
                "member": member.name,
                "weight": member.weight,
                "member_val_recall": member.val_recall,
            }


_PUBLISHED = (
    "method", "test", "n", "recall", "queries", "study", "table", "row", "printed",
    "printed_queries", "printed_low", "printed_high", "possible", "trained_on", "differs",
)  # fmt: skip


def _published(report: Report) -> Iterator[Row]:
    num_queries = {test.name: test.num_queries for test in report.tests}
    for method in report.methods:
        for on in method.tests:
            ours = {score.n: score.recall for score in on.scores}
            for value in on.published:
                yield {
                    "method": method.name,
                    "test": on.test,
                    "n": value.n,
                    "recall": ours.get(value.n),
                    "queries": num_queries[on.test],
                    "study": value.study,
                    "table": value.table,
                    "row": value.row,
                    "printed": value.value,
                    "printed_queries": value.num_queries,
                    "printed_low": value.low,
                    "printed_high": value.high,
                    "possible": value.possible,
                    "trained_on": value.trained_on,
                    "differs": "; ".join(value.differs),
                }


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """Return a value as a spreadsheet shows it, and not as a formula that it computes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{round(value, 4) + 0.0:.10g}"
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return value
