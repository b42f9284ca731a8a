"""Printed recalls beside those of the report, and what must be known to compare them."""

from collections.abc import Iterator, Sequence
from math import floor

from vgray.reports.results import Method, OnTest, PublishedValue, Report, TestSet
from vgray.reports.wording import escaped, interval, number, plain, table

_MARK = "†"


def published_section(report: Report) -> list[str]:
    """Return the lines of the section in Markdown; none where nothing is published."""
    tests = {test.name: test for test in report.tests}
    found = [(m, on, tests[on.test]) for m in report.methods for on in m.tests if on.published]
    if not found:
        return []
    values = [value for _, on, _ in found for value in on.published]
    lines = ["", "## Published values of the same settings", ""]
    rows = [row for method, on, test in found for row in _rows(method, on, test)]
    header = [
        "method",
        "test set",
        "printed in",
        "N",
        "here, %",
        "queries",
        "printed, %",
        "queries",
    ]
    lines += table(header, rows, texts=3)
    lines += [
        "",
        "In brackets the 95 % Wilson interval, of the queries alone. Editions of a data set differ "
        "in their images under one name, so compare the numbers of queries first; an image size or "
        "a number of epochs that differs can be worth more than the settings compared.",
    ]
    for mark in _impossible(values):
        lines += ["", mark]
    return lines + _otherwise(found)


def same_values(values: Sequence[PublishedValue]) -> Iterator[tuple[str, PublishedValue]]:
    """Yield each printed value once, with all places where it is printed."""
    places: dict[tuple[str, int, float, int], list[PublishedValue]] = {}
    for value in values:
        key = (value.study, value.n, value.value, value.num_queries)
        places.setdefault(key, []).append(value)
    for same in places.values():
        where = ", ".join(f"{value.table} row {value.row}" for value in same)
        yield f"{same[0].study}, {where}", same[0]


def _rows(method: Method, on: OnTest, test: TestSet) -> Iterator[list[str]]:
    ours = {score.n: score for score in on.scores}
    for where, value in same_values(on.published):
        score = ours.get(value.n)
        yield [
            escaped(method.name),
            escaped(test.name),
            escaped(where),
            str(value.n),
            f"{number(score.recall)} {interval(score.low, score.high)}" if score else "",
            f"{test.num_queries:,}",
            f"{_printed(value)} {interval(value.low, value.high)}",
            f"{value.num_queries:,}",
        ]


def _printed(value: PublishedValue) -> str:
    return f"{value.value:g}{'' if value.possible else f' {_MARK}'}"


def _impossible(values: Sequence[PublishedValue]) -> list[str]:
    found = {(v.value, v.num_queries) for v in values if not v.possible}
    lines = []
    for value, queries in sorted(found):
        below = floor(value / 100 * queries)
        near = " and ".join(f"{100 * n / queries:.2f} % ({n:,})" for n in (below, below + 1))
        lines.append(
            f"{_MARK} No number of {queries:,} queries is {value:g} % of them; the nearest are "
            f"{near}. It is printed wrongly, or of another number of queries."
        )
    return lines


def _otherwise(found: Sequence[tuple[Method, OnTest, TestSet]]) -> list[str]:
    """Return what of each study's training differs from the one here."""
    texts: dict[str, None] = {}
    for method, on, _ in found:
        for value in on.published:
            trained = f"trained on {value.trained_on}" if value.trained_on else ""
            parts = "; ".join(part for part in (trained, *value.differs) if part)
            if parts:
                where = f"{method.name} and {value.study}, {value.table} row {value.row}"
                texts[f"{where}: {plain(parts)}"] = None
    if not texts:
        return []
    lines = ["", "How the studies trained, and what is held to be other than here:", ""]
    return [*lines, *(f"- {escaped(text)}" for text in texts)]
