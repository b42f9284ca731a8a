"""What a report says first: which model, which ensemble, and whether that is more than chance."""

from vgray.reports.choosing import best, comparable
from vgray.reports.results import Difference, Method, Report
from vgray.reports.wording import difference, flattery, interval, number, plain

_Compared = list[tuple[str, Difference]]
"""Test sets, and the difference at the first N."""


def answer(report: Report) -> list[str]:
    """Return it in two or three sentences, without markup.

    The best is chosen on the validation split, a single model among those that
    :func:`~vgray.reports.choosing.comparable` returns. Of test sets that the models have met only
    the recalls are said.
    """
    sentences = []
    if any(method.kind == "single" for method in report.methods):
        sentences.append(_single(report))
    together = [method for method in report.methods if method.kind != "single"]
    if together:
        sentences += _ensemble(report, best(together), len(together))
    elif report.search is not None:
        sentences.append(f"No ensemble: {plain(report.search.outcome).rstrip('.')}.")
    return sentences


def _single(report: Report) -> str:
    among = comparable(report.methods)
    if not report.same_validation:
        baseline = next(each for each in report.methods if each.name == report.baseline)
        return (
            f"The models were validated on different images, so none is called best. "
            f"{plain(baseline.name)}, the baseline, has {_recalls(report, baseline)}."
        )
    first, count = best(among), len(among)
    what = "finalist" if first.is_finalist else "single model"
    of = f"the best of {count} {what}s" if count > 1 else f"the only {what}"
    text = f"{plain(first.name)} is {of}{_by_validation(first, count)}: {_recalls(report, first)}."
    if first.name != report.baseline:
        apart = _first(report, [(on.test, on.behind_baseline) for on in first.tests])
        return text + _judged(report, f"Against the baseline {plain(report.baseline)} it is", apart)
    if count > 1:
        second = best([method for method in among if method is not first])
        apart = _first(report, [(on.test, on.behind_baseline) for on in second.tests])
        return text + _judged(report, f"The next, {plain(second.name)}, is", apart)
    return text


def _ensemble(report: Report, first: Method, count: int) -> list[str]:
    members = " + ".join(plain(member.name) for member in first.members)
    of = f"the best of {count} ensembles" if count > 1 else "the ensemble"
    text = (
        f"{plain(first.name)} ({members}) is {of}{_by_validation(first, count)}: "
        f"{_recalls(report, first)}."
    )
    apart = _first(report, [(on.test, on.against_best_member) for on in first.tests])
    if not apart:
        return [text]
    than = f"its best member {plain(apart[0][1].than)}"
    judged = [found for _, found in apart if found.corrected_p is not None]
    if judged and not any(found.certain for found in judged):
        by = "; ".join(
            f"on {plain(test)} {difference(found, ' points')}"
            for test, found in apart
            if found.corrected_p is not None
        )
        return [text, f"It cannot be told apart from {than}: {by}.{_unjudged(report, apart)}"]
    if not judged:
        return [text, f"Whether it is better than {than} is not known.{_unjudged(report, apart)}"]
    return [text, _judged(report, f"Against {than} it is", apart).strip()]


def _by_validation(first: Method, count: int) -> str:
    if first.val_recall is None:
        return ""
    by = "by" if count > 1 else "with"
    seeds = len(first.seeds) if first.kind == "single" else 1
    mean = f" as the mean of {seeds} seeds" if seeds > 1 else ""
    text = f" {by} recall@1 of {number(first.val_recall)} % on validation images{mean}"
    if first.best_of_trials is None:
        return text
    trials = f"the best of {first.best_of_trials:,} trials"
    return f"{text} (one seed, and {trials}, so another seed is likely to reach less)"


def _recalls(report: Report, method: Method) -> str:
    n = report.recall_at[0]
    tests = {test.name: test for test in report.tests}
    return ", ".join(
        f"recall@{n} {number(score.recall)} % {interval(score.low, score.high)} on {plain(on.test)}"
        + (f" ({flattery(tests[on.test])} on it)" if tests[on.test].flatters else "")
        for on in method.tests
        for score in on.scores
        if score.n == n
    )


def _first(report: Report, tests: list[tuple[str, list[Difference]]]) -> _Compared:
    n = report.recall_at[0]
    return [(test, found) for test, differences in tests for found in differences if found.n == n]


def _judged(report: Report, begin: str, apart: _Compared) -> str:
    """Return what is shown on each test set, and on which nothing is, with a space before it."""
    said = "; ".join(
        f"{_verdict(found)} on {plain(test)}: {difference(found, ' points')}"
        for test, found in apart
        if found.corrected_p is not None
    )
    return (f" {begin} {said}." if said else "") + _unjudged(report, apart)


def _unjudged(report: Report, apart: _Compared) -> str:
    met = {test for test, found in apart if found.corrected_p is None}
    return "".join(
        f" Differences on {plain(test.name)} prove nothing, as {flattery(test)} on its images."
        for test in report.tests
        if test.name in met
    )


def _verdict(found: Difference) -> str:
    if not found.certain:
        return "not to be told apart"
    return "better" if found.points > 0 else "worse"
