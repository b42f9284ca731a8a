"""Numbers and names as a report has them."""

from dataclasses import replace

import pytest
from made_report import made_report

from vgray.reports.results import Difference, Score
from vgray.reports.wording import (
    difference,
    escaped,
    flattery,
    number,
    plain,
    points,
    score,
    table,
)


def test_numbers_are_no_more_precise_than_they_can_be() -> None:
    assert number(24.23) == "24.2"
    assert (number(-0.04), points(-0.04)) == ("0.0", "+0.0")
    assert (points(1.25), points(-1.96)) == ("+1.2", "-2.0")
    assert score(Score(1, 55.123, 52.04, 58.2)) == "55.1 (52.0 to 58.2)"
    assert score(Score(1, 55.123, 52.04, 58.2, 0.849)) == "55.1 ± 0.8 (52.0 to 58.2)"
    found = Difference(1, "A", 4.3, -0.2, 8.8, 0.0612)
    assert difference(found) == "+4.3 (-0.2 to +8.8), p 0.061"
    judged = replace(found, corrected_p=0.1224)
    assert difference(judged, " points") == "+4.3 points (-0.2 to +8.8), p 0.061, corrected 0.12"
    assert difference(replace(judged, corrected_p=0.0614)) == difference(found)
    small = Difference(1, "A", -0.01, -4, 4, 0.0000001, 0.02)
    assert difference(small) == "+0.0 (-4.0 to +4.0), p < 0.001, corrected 0.02"


def test_what_models_have_met_is_said() -> None:
    test = next(test for test in made_report().tests if test.chose_models)
    assert flattery(test) == "models were chosen"
    both = replace(test, trained_models=True)
    assert flattery(both) == "models were trained and chosen"
    assert flattery(replace(both, chose_models=False)) == "models were trained"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A#3 x5", "A#3 x5"),
        ("sf_xs-test (val)", "sf_xs-test (val)"),
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        ("<img src=x>", r"\<img src=x>"),
        ("p < 0.001", "p < 0.001"),
        ("*bold* `code` ~~gone~~", r"\*bold\* \`code\` \~\~gone\~\~"),
        ("_it_ and __it__", r"\_it\_ and \_\_it\_\_"),
        ("[x](http://y)", r"\[x](http://y)"),
        ("&lt; & &#60;", r"\&lt; & \&#60;"),
        ("one\ntwo\r\n\tthree\u2028four", "one two three four"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("12. item", r"12\. item"),
        ("12.5 %", r"12\.5 %"),
        ("2024-05-01", "2024-05-01"),
        ("> said", r"\> said"),
        ("\x1b[31mred\x07", r"\[31mred"),
        ("caf\udce9", "caf"),
        ("  ", ""),
    ],
)
def test_names_are_shown_as_they_are(name: str, expected: str) -> None:
    assert escaped(name) == expected


def test_no_character_steers_anything() -> None:
    kept = plain("".join(map(chr, range(0x3000))) + "\ud800\ue000")
    assert "A" in kept
    assert kept.isprintable()


def test_columns_are_aligned_as_text() -> None:
    lines = table(["method", "R@1"], [["東京", "1.0"], ["a", "100.0"]])
    assert lines == [
        "| method |   R@1 |",
        "| ------ | ----: |",
        "| 東京   |   1.0 |",
        "| a      | 100.0 |",
    ]
