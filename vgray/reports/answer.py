"""What a report says first: which model, which ensemble, and whether that is more than chance."""

from vgray.reports.results import Difference, Method, Report
from vgray.reports.wording import interval, number, p_value, plain, points


def answer(report: Report) -> list[str]:
    """Return it in two or three sentences, without markup.

    The best is chosen on the validation split: whichever of many is highest on the test images is
    so by chance to some extent. Where no validation recall is known it is the first of its kind.
    """
    singles = [method for method in report.methods if method.kind == "single"]
    together = [method for method in report.methods if method.kind != "single"]
    sentences = []
    if singles:
        sentences.append(_single(report, singles))
    if together:
        sentences += _ensemble(report, _best(together), len(together))
    elif report.search is not None:
        sentences.append(f"No ensemble: {plain(report.search.outcome).rstrip('.')}.")
    return sentences


def _best(methods: list[Method]) -> Method:
    return max(methods, key=lambda method: -1.0 if method.val_recall is None else method.val_recall)


def _single(report: Report, singles: list[Method]) -> str:
    best, count = _best(singles), len(singles)
    of = f"best of {count} single models" if count > 1 else "the only single model"
    text = f"{plain(best.name)} is {of}{_by_validation(best, count)}: {_recalls(report, best)}."
    if best.name != report.baseline:
        apart = _first(report, [(on.test, on.behind_baseline) for on in best.tests])
        against = f" Against the baseline {plain(report.baseline)} it is {_said(apart)}."
    elif count > 1:
        second = _best([method for method in singles if method is not best])
        apart = _first(report, [(on.test, on.behind_baseline) for on in second.tests])
        against = f" The next, {plain(second.name)}, is {_said(apart)}."
    else:
        return text
    return text + against if apart else text


def _ensemble(report: Report, best: Method, count: int) -> list[str]:
    members = " + ".join(plain(member.name) for member in best.members)
    of = f"best of {count} ensembles" if count > 1 else "the ensemble"
    text = (
        f"{plain(best.name)} ({members}) is {of}{_by_validation(best, count)}: "
        f"{_recalls(report, best)}."
    )
    apart = _first(report, [(on.test, on.against_best_member) for on in best.tests])
    if not apart:
        return [text]
    than = f"its best member {plain(apart[0][1].than)}"
    if any(found.certain for _, found in apart):
        return [text, f"Against {than} it is {_said(apart)}."]
    by = "; ".join(f"{_difference(found)} on {plain(test)}" for test, found in apart)
    return [text, f"It cannot be told apart from {than}: {by}."]


def _by_validation(best: Method, count: int) -> str:
    if best.val_recall is None:
        return ""
    by = "by" if count > 1 else "with"
    return f" {by} recall@1 of {number(best.val_recall)} % on validation images"


def _recalls(report: Report, method: Method) -> str:
    n = report.recall_at[0]
    flattered = {test.name for test in report.tests if test.chose_models}
    return ", ".join(
        f"recall@{n} {number(score.recall)} % {interval(score.low, score.high)} on {plain(on.test)}"
        + (" (which chose models)" if on.test in flattered else "")
        for on in method.tests
        for score in on.scores
        if score.n == n
    )


def _first(
    report: Report, tests: list[tuple[str, list[Difference]]]
) -> list[tuple[str, Difference]]:
    """Return the differences at the first N, with the names of the test sets."""
    n = report.recall_at[0]
    return [(test, found) for test, differences in tests for found in differences if found.n == n]


def _said(apart: list[tuple[str, Difference]]) -> str:
    return "; ".join(f"{_verdict(found)} on {plain(test)}" for test, found in apart)


def _verdict(found: Difference) -> str:
    if not found.certain:
        return f"not to be told apart ({_difference(found)})"
    return f"{'better' if found.points > 0 else 'worse'} ({_difference(found)})"


def _difference(found: Difference) -> str:
    low, high = points(found.low), points(found.high)
    return f"{points(found.points)} points, 95 % {low} to {high}, {p_value(found.p_value)}"
