"""What of a report's differences is more than chance, for all how many it compares."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from vgray.reports.results import Difference, Method, OnTest, Score, TestSet
from vgray.reports.wording import difference, flattery, number


def judge(methods: Sequence[Method], tests: Sequence[TestSet], n: int) -> list[Method]:
    """Return the methods with the corrected p of each difference, and verdicts on ensembles.

    All differences to the baseline are one family, those of ensembles to their best members
    another; within each, p is corrected by :func:`holm`. Only recall@``n`` is judged, and only on
    images that the models have not met: elsewhere models would look better than they are, some by
    more than others, so a difference there proves nothing.

    Args:
        methods: with their tests, which are not yet judged.
        tests: of the report.
        n: the first N of the report.
    """
    fair = {test.name for test in tests if not test.flatters}

    def family(differences_of: Callable[[OnTest], list[Difference]]) -> dict[int, float]:
        """Return the corrected p of each difference that is judged, by its id."""
        judged = [
            found
            for method in methods
            for on in method.tests
            if on.test in fair
            for found in differences_of(on)
            if found.n == n
        ]
        corrected = holm([found.p_value for found in judged])
        return {id(found): p for found, p in zip(judged, corrected, strict=True)}

    p = family(lambda on: on.behind_baseline) | family(lambda on: on.against_best_member)

    def corrected(differences: list[Difference]) -> list[Difference]:
        return [replace(found, corrected_p=p.get(id(found))) for found in differences]

    return [
        _with_verdicts(
            replace(
                method,
                tests=[
                    replace(
                        on,
                        behind_baseline=corrected(on.behind_baseline),
                        against_best_member=corrected(on.against_best_member),
                    )
                    for on in method.tests
                ],
            ),
            {test.name: test for test in tests},
            n,
        )
        for method in methods
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being several.

    The chance that any of them is below 5 % where nothing differs is at most 5 %, however they
    hang together. Source: Holm 1979.
    """
    corrected = [0.0] * len(p_values)
    so_far = 0.0
    for done, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        so_far = max(so_far, min(1.0, (len(p_values) - done) * p_values[at]))
        corrected[at] = so_far
    return corrected


def verdict(
    name: str, test: TestSet, found: Difference, ours: Score, theirs: Score | None = None
) -> str:
    """Say in one sentence whether an ensemble is better than its best member on a test set.

    Args:
        name: of the ensemble.
        test: the test set.
        found: the judged difference of its recall and that of the member.
        ours: its recall.
        theirs: the member's, where it is known.
    """
    ensemble = f"{name} with recall@{found.n} of {number(ours.recall)} %"
    member = f"its best member {found.than}"
    member += f" with {number(theirs.recall)} %" if theirs is not None else ""
    by = difference(found, " points")
    if found.corrected_p is None:
        return (
            f"On {test.name}, {ensemble} beside {member} proves nothing, as {flattery(test)} on "
            f"these images: {by}."
        )
    if not found.certain:
        relation = "cannot be told apart from"
    elif found.points < 0:
        relation = "is worse than"
    else:
        relation = "is better than"
    return f"On {test.name}, {ensemble} {relation} {member}: {by}."


def _with_verdicts(method: Method, tests: dict[str, TestSet], n: int) -> Method:
    verdicts = []
    for on in method.tests:
        ours, theirs = (
            {score.n: score for score in scores} for scores in (on.scores, on.of_best_member)
        )
        verdicts += [
            verdict(method.name, tests[on.test], found, ours[n], theirs.get(n))
            for found in on.against_best_member
            if found.n == n
        ]
    return replace(method, verdicts=verdicts)
