"""The ensembles of a report: their members, what these reach alone, and how one was found."""

from vgray.reports.protocol import facts
from vgray.reports.results import Member, Method, Report, Score, Search
from vgray.reports.wording import (
    correction,
    difference_cells,
    escaped,
    items,
    number,
    points,
    score,
    table,
)
from vgray.retrieval.comparison import describe_p


def ensembles_section(report: Report) -> list[str]:
    """Return the lines of the section in Markdown; none without an ensemble."""
    together = [method for method in report.methods if method.kind != "single"]
    if not together:
        return []
    lines = ["", "## Ensembles"]
    count = sum(
        found.corrected_p is not None
        for method in together
        for on in method.tests
        for found in on.against_best_member
    )
    if count:
        n = report.recall_at[0]
        lines += ["", correction(f"R@{n} of an ensemble minus its best member's", count)]
    for method in together:
        members = ", ".join(map(_member, method.members))
        lines += [
            "",
            f"**{escaped(method.name)}**: {escaped(f'{method.settings}: {members}')}; "
            f"{facts(method)}.",
        ]
        lines += _against_best_member(report, method)
        lines += ["", *items(method.verdicts)] if method.verdicts else []
    return lines


def search_section(search: Search) -> list[str]:
    """Return the lines of the section in Markdown."""
    limit = "no limit" if search.budget is None else f"at most {search.budget:,}"
    pca = "" if search.pca is None else f", reduced to {search.pca:,} by PCA"
    weights = ", ".join(f"{weight:.3g}" for weight in search.weights)
    lines = [
        "",
        "## How the ensemble was searched for",
        "",
        f"On validation images alone: {escaped(search.validation)}, {search.num_queries:,} "
        f"queries. {len(search.candidates)} candidates, weights {weights}, dimension: "
        f"{limit}{pca}.",
        "",
    ]
    if search.steps:
        lines += table(
            ["added", "weight", "dimension", "R@1 on validation, %", "gain", "p"],
            [
                [
                    escaped(step.added),
                    f"{step.weight:.3g}",
                    str(step.dimension),
                    number(step.val_recall),
                    "" if step.p_value is None else points(step.gain),
                    "" if step.p_value is None else describe_p(step.p_value).removeprefix("p "),
                ]
                for step in search.steps
            ],
        )
        lines.append("")
    lines.append(escaped(search.outcome))
    if len(search.steps) > 1:
        lines += [
            "",
            "p is that of McNemar's exact test against the step before, as if nothing else had "
            "been tried: on these images it is too small.",
        ]
    if search.singles:
        lines += ["", "The candidates by themselves, on the same images:", ""]
        by_recall = sorted(search.singles.items(), key=lambda item: -item[1])
        lines += table(
            ["candidate", "R@1, %"], [[escaped(name), number(recall)] for name, recall in by_recall]
        )
    if search.left_out:
        lines += ["", "Left out:", ""]
        lines += items([f"{name}: {why}" for name, why in search.left_out.items()])
    return lines


def _member(member: Member) -> str:
    alone = "" if member.val_recall is None else f", alone {number(member.val_recall)} %"
    return f"{member.name} (weight {member.weight:.3g}{alone})"


def _against_best_member(report: Report, method: Method) -> list[str]:
    compared = [on for on in method.tests if on.against_best_member]
    if not compared:
        return []
    than = escaped(compared[0].against_best_member[0].than)
    n = report.recall_at[0]
    ns = sorted({found.n for on in compared for found in on.against_best_member})
    header = ["test set", f"R@{n}, %", f"R@{n} of {than}, %", *(f"minus it, R@{n}" for n in ns)]
    rows = [
        [
            escaped(on.test),
            _score(on.scores, n),
            _score(on.of_best_member, n),
            *difference_cells(ns, on.against_best_member),
        ]
        for on in compared
    ]
    return ["", f"Beside its best member {than}, differences in points:", "", *table(header, rows)]


def _score(scores: list[Score], n: int) -> str:
    return next((score(each) for each in scores if each.n == n), "")
