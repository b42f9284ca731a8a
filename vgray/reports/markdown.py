"""A report as text: readable as it is, and as GitHub renders it."""

from collections.abc import Iterator

from vgray.reports.answer import answer
from vgray.reports.ensembles_section import ensembles_section, search_section
from vgray.reports.protocol import protocol_section
from vgray.reports.published_table import published_section
from vgray.reports.results import Method, OnTest, Report, TestSet
from vgray.reports.wording import (
    correction,
    difference_cells,
    escaped,
    flattery,
    items,
    score,
    table,
)


def render(report: Report) -> str:
    """Return ``report.md``: the answer first, then how it was come to.

    Percentages have one decimal. Names are escaped, whatever they are made of.
    """
    lines = ["# Recall of the models"]
    for sentence in answer(report):
        lines += ["", escaped(sentence)]
    lines += [*_warnings(report), *protocol_section(report)]
    for test in report.tests:
        lines += _results(report, test)
    lines += ensembles_section(report)
    if report.search is not None:
        lines += search_section(report.search)
    lines += published_section(report)
    lines += ["", "## Notes", "", *items(report.notes)] if report.notes else []
    return "\n".join(lines).rstrip() + "\n"


def _warnings(report: Report) -> list[str]:
    met: dict[str, list[str]] = {}
    for test in report.tests:
        if test.flatters:
            met.setdefault(flattery(test), []).append(escaped(test.name))
    lines = []
    for what, names in met.items():
        lines += [
            "",
            f"> **Warning:** {what} on the images of {', '.join(names)}. "
            f"{'Its' if len(names) == 1 else 'Their'} recalls flatter: on new images they will be "
            "lower. Differences there prove nothing.",
        ]
    return lines


# --- results -----------------------------------------------------------------------------------


def _results(report: Report, test: TestSet) -> list[str]:
    scored = [(method, on) for method in report.methods for on in method.tests]
    scored = [(method, on) for method, on in scored if on.test == test.name]
    met = f" ({flattery(test)} on it)" if test.flatters else ""
    lines = ["", f"## Recall on {escaped(test.name)}{met}", ""]
    several = any(len(method.seeds) > 1 and method.kind == "single" for method, _ in scored)
    lines += table(
        [
            "method",
            "kind",
            *(["seeds"] if several else []),
            "dimension",
            *(f"R@{n}, %" for n in report.recall_at),
        ],
        [
            [
                _name(report, method),
                method.kind,
                *([str(_num_trainings(method))] if several else []),
                str(method.dimension),
                *_scores(report, on),
            ]
            for method, on in scored
        ],
        texts=2,
    )
    lines += ["", _explained(test, several)]
    compared = [(method, on) for method, on in scored if on.behind_baseline]
    if compared:
        minus = f"Minus the baseline {escaped(report.baseline)}, in points."
        lines += ["", f"{minus} {_judged(report, test)}"]
        ns = sorted({found.n for _, on in compared for found in on.behind_baseline})
        rows = [
            [_name(report, method), *difference_cells(ns, on.behind_baseline)]
            for method, on in compared
        ]
        lines += ["", *table(["method", *(f"R@{n}" for n in ns)], rows)]
    return lines


def _judged(report: Report, test: TestSet) -> str:
    if test.flatters:
        return f"They prove nothing: {flattery(test)} on these images."
    count = sum(
        found.corrected_p is not None
        for method in report.methods
        for on in method.tests
        for found in on.behind_baseline
    )
    return correction(f"R@{report.recall_at[0]}", count)


def _explained(test: TestSet, several: bool) -> str:
    text = f"In brackets the 95 % Wilson interval of {test.num_queries:,} queries"
    if test.num_without_positive:
        without = f"{test.num_without_positive:,} of them"
        text += f"; {without} without any positive, which count as not found"
    return f"{text}. After ± the standard deviation over seeds." if several else f"{text}."


def _num_trainings(method: Method) -> int:
    return len(method.seeds) if method.kind == "single" else 1


def _name(report: Report, method: Method) -> str:
    return escaped(method.name) + (" (baseline)" if method.name == report.baseline else "")


def _scores(report: Report, on: OnTest) -> Iterator[str]:
    by_n = {each.n: each for each in on.scores}
    for n in report.recall_at:
        yield score(by_n[n]) if n in by_n else ""
