"""A report as text: readable as it is, and as GitHub renders it."""

import math
from collections.abc import Iterator, Sequence

from vgray.reports.answer import answer
from vgray.reports.protocol import facts, protocol_section
from vgray.reports.published_table import published_section
from vgray.reports.results import Difference, Method, OnTest, Report, Search, TestSet
from vgray.reports.wording import difference, escaped, number, points, score, table

_IN_POINTS = "in points (bold: more than chance, p below 0.05)"


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
    lines += _ensembles(report)
    if report.search is not None:
        lines += _search(report.search)
    lines += published_section(report)
    lines += [*_heading("Notes"), *_items(report.notes)] if report.notes else []
    return "\n".join(lines).rstrip() + "\n"


def _heading(text: str, level: int = 2) -> list[str]:
    return ["", f"{'#' * level} {text}", ""]


def _items(texts: Sequence[str]) -> list[str]:
    return [f"- {escaped(text)}" for text in texts]


def _warnings(report: Report) -> list[str]:
    chosen = [escaped(test.name) for test in report.tests if test.chose_models]
    if not chosen:
        return []
    one = len(chosen) == 1
    return [
        "",
        f"> **Warning:** models were chosen on the images of {', '.join(chosen)}. "
        f"{'Its' if one else 'Their'} recalls flatter: on new images they will be lower.",
    ]


# --- results -----------------------------------------------------------------------------------


def _results(report: Report, test: TestSet) -> list[str]:
    scored = [(method, on) for method in report.methods for on in method.tests]
    scored = [(method, on) for method, on in scored if on.test == test.name]
    flatters = ", which chose models" if test.chose_models else ""
    lines = _heading(f"Recall on {escaped(test.name)}{flatters}")
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
        lines += ["", f"Minus the baseline {escaped(report.baseline)}, {_IN_POINTS}:", ""]
        rows = [(_name(report, method), on.behind_baseline) for method, on in compared]
        lines += _differences("method", rows)
    return lines


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


def _differences(title: str, rows: Sequence[tuple[str, Sequence[Difference]]]) -> list[str]:
    """Return a table with a column for each N."""
    ns = sorted({each.n for _, differences in rows for each in differences})
    cells = [[name, *(_difference(n, differences) for n in ns)] for name, differences in rows]
    return table([title, *(f"R@{n}" for n in ns)], cells)


def _difference(n: int, differences: Sequence[Difference]) -> str:
    found = next((each for each in differences if each.n == n), None)
    if found is None:
        return ""
    return f"**{difference(found)}**" if found.certain else difference(found)


# --- ensembles ---------------------------------------------------------------------------------


def _ensembles(report: Report) -> list[str]:
    together = [method for method in report.methods if method.kind != "single"]
    lines = ["", "## Ensembles"] if together else []
    for method in together:
        members = ", ".join(f"{each.name} (weight {each.weight:.3g})" for each in method.members)
        lines += [
            "",
            f"**{escaped(method.name)}**: {escaped(f'{method.settings}: {members}')}; "
            f"{facts(method)}.",
        ]
        rows = [(escaped(on.test), on.against_best_member) for on in method.tests]
        rows = [(test, differences) for test, differences in rows if differences]
        if rows:
            than = escaped(rows[0][1][0].than)
            lines += ["", f"Minus its best member {than}, {_IN_POINTS}:", ""]
            lines += _differences("test set", rows)
        lines += ["", *_items(method.verdicts)] if method.verdicts else []
    return lines


def _search(search: Search) -> list[str]:
    limit = "no limit" if search.budget is None else f"at most {search.budget:,}"
    pca = "" if search.pca is None else f", reduced to {search.pca:,} by PCA"
    weights = ", ".join(f"{weight:.3g}" for weight in search.weights)
    lines = _heading("How the ensemble was searched for")
    lines += [
        f"On validation images alone: {escaped(search.validation)}, {search.num_queries:,} "
        f"queries. {len(search.candidates)} candidates, weights {weights}, dimension: "
        f"{limit}{pca}.",
        "",
    ]
    gains = [math.nan, *(step.val_recall for step in search.steps)]
    if search.steps:
        lines += table(
            ["added", "weight", "dimension", "R@1 on validation, %", "gain"],
            [
                [
                    escaped(step.added),
                    f"{step.weight:.3g}",
                    str(step.dimension),
                    number(step.val_recall),
                    "" if math.isnan(before) else points(step.val_recall - before),
                ]
                for step, before in zip(search.steps, gains, strict=False)
            ],
        )
        lines.append("")
    lines.append(escaped(search.outcome))
    if search.left_out:
        lines += ["", "Left out:", ""]
        lines += _items([f"{name}: {why}" for name, why in search.left_out.items()])
    return lines
