"""What is more than chance: corrected for all that is compared, and never on images met before."""

from dataclasses import replace

import numpy as np
import pytest
from made_report import made_report

from vgray.reports.chance import holm, judge, verdict
from vgray.reports.results import Difference, Method, OnTest, Score
from vgray.retrieval import compare_repeats

NEW = replace(made_report().tests[0], name="city")
OURS, THEIRS = Score(1, 83.3, 80, 86), Score(1, 80.3, 77, 83)


def _found(p_value: float, n: int = 1, points: float = 3.0) -> Difference:
    return Difference(n, "A#3", points, points - 1, points + 1, p_value)


def _method(name: str, tests: list[OnTest]) -> Method:
    return Method(name, "single", 8, "", [], [0], None, "", tests)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_equal_models_are_rarely_said_to_differ() -> None:
    """Of reports of 10 equal models, not one in 20 may call any of them better or worse."""
    rng = np.random.default_rng(0)
    wrong = uncorrected = 0
    for _ in range(200):
        chance = rng.beta(2, 1, 200)
        hits = rng.random((10, 200)) < chance
        results = [compare_repeats(hits[:1], hits[m : m + 1]) for m in range(1, 10)]
        methods = [
            _method(str(m), [OnTest("city", [OURS], [_found(result.p_value)])])
            for m, result in enumerate(results)
        ]
        judged = judge(methods, [NEW], 1)
        wrong += any(each.tests[0].behind_baseline[0].certain for each in judged)
        uncorrected += any(result.is_certain for result in results)
    assert wrong <= 0.05 * 200 < uncorrected


def test_each_family_is_corrected_for_its_own_number() -> None:
    on = [
        OnTest("city", [OURS], [_found(0.02), _found(0.001, n=5)], [_found(0.03)])
        for _ in range(2)
    ]  # fmt: skip
    one, other = judge([_method("a", [on[0]]), _method("b", [on[1]])], [NEW], 1)
    for method in (one, other):
        first, fifth = method.tests[0].behind_baseline
        assert (first.corrected_p, first.certain) == (0.04, True)
        assert (fifth.corrected_p, fifth.certain) == (None, False)
        member = method.tests[0].against_best_member[0]
        assert (member.corrected_p, member.certain) == (0.06, False)
        assert len(method.verdicts) == 1


@pytest.mark.parametrize("how", ["chose_models", "trained_models"])
def test_nothing_is_judged_on_images_that_models_have_met(how: str) -> None:
    met = replace(NEW, name="val", **{how: True})
    tests = [
        OnTest(name, [OURS], [_found(1e-9)], [_found(1e-9)], of_best_member=[THEIRS])
        for name in ("city", "val")
    ]
    (method,) = judge([_method("both", tests)], [NEW, met], 1)
    new, old = method.tests
    assert new.behind_baseline[0].corrected_p == 1e-9
    assert [each.corrected_p for each in (*old.behind_baseline, *old.against_best_member)] == [
        None, None,
    ]  # fmt: skip
    assert not old.against_best_member[0].certain
    assert method.verdicts == [
        "On city, both with recall@1 of 83.3 % is better than its best member A#3 with 80.3 %: "
        "+3.0 points (+2.0 to +4.0), p < 0.001.",
        "On val, both with recall@1 of 83.3 % beside its best member A#3 with 80.3 % proves "
        f"nothing, as models were {how.partition('_')[0].replace('chose', 'chosen')} on these "
        "images: +3.0 points (+2.0 to +4.0), p < 0.001.",
    ]


@pytest.mark.parametrize(
    ("points", "corrected_p", "words"),
    [
        (-3.0, 0.01, "is worse than"),
        (3.0, 0.01, "is better than"),
        (3.0, 0.05, "cannot be told apart from"),
        (-3.0, 0.2, "cannot be told apart from"),
    ],
)
def test_a_verdict_says_plainly_what_an_ensemble_comes_to(points, corrected_p, words) -> None:
    found = replace(_found(0.01, points=points), corrected_p=corrected_p)
    said = verdict("both", NEW, found, OURS)
    begin = f"On city, both with recall@1 of 83.3 % {words} its best member A#3: {points:+.1f}"
    assert said.startswith(begin)


def test_no_number_of_a_verdict_is_falsely_precise() -> None:
    found = replace(_found(1e-9, points=-0.01), corrected_p=1e-8)
    assert verdict("both", NEW, found, OURS, THEIRS).endswith(
        ": +0.0 points (-1.0 to +1.0), p < 0.001."
    )


def test_the_made_report_has_both_families() -> None:
    found = {
        what: [
            each.corrected_p
            for method in made_report().methods
            for on in method.tests
            for each in getattr(on, what)
            if each.corrected_p is not None
        ]
        for what in ("behind_baseline", "against_best_member")
    }
    assert [len(each) for each in found.values()] == [4, 2]
