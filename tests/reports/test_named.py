"""Ensembles by hand and the baseline: names found, and mistakes said."""

from pathlib import Path

import pytest
from made_runs import trial, write_run

from vgray.errors import UserError
from vgray.reports.candidates import Candidate, read_runs
from vgray.reports.named import find_method, read_ensembles


@pytest.fixture
def candidates(tmp_path: Path) -> list[Candidate]:
    repeats = [trial(n, 5.0, lr=0.1, seed=n, phase="finalist") for n in (5, 6)]
    trials = [trial(0, 9.0, lr=0.1), trial(3, 8.0), *repeats]
    folder = write_run(tmp_path / "A", trials, finalists={0: [5, 6]})
    return list(read_runs([folder], 3)[0].candidates)


def test_members_and_weights_are_read(candidates: list[Candidate]) -> None:
    (found,) = read_ensembles(["night = A#3:2, A#0"], candidates)
    members = [(member.name, weight) for member, weight in found.members]
    assert (found.name, members) == ("night", [("A#3", 2.0), ("A#0 x2", 1.0)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A#3,A#0", "expected a name and its models"),
        ("night=", "expected a name and its models"),
        ("night=A#3", "two or more different models"),
        ("night=A#0,A#0 x2", "two or more different models"),
        ("night=A#3,A#7", r"A#7: no such model in the report.*there are A#3, A#0"),
        ("night=A#3:x,A#0", r"the weight of A#3 is 'x'"),
        ("night=A#3:-1,A#0", r"the weight of A#3 is '-1'"),
        ("search=A#3,A#0", "the name search is taken"),
        ("A#0=A#3,A#0", "the name A#0 is taken"),
    ],
)
def test_a_mistake_in_an_ensemble_is_said(
    candidates: list[Candidate], text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_ensembles([text], candidates)


def test_a_name_is_given_once(candidates: list[Candidate]) -> None:
    with pytest.raises(UserError, match="the name a is taken"):
        read_ensembles(["a=A#3,A#0", "a=A#3,A#0"], candidates)


def test_a_method_is_found_without_the_number_of_its_seeds() -> None:
    assert find_method("A#0", ["A#3", "A#0 x2"], "--baseline") == "A#0 x2"
    assert find_method("A#0 x2", ["A#3", "A#0 x2"], "--baseline") == "A#0 x2"
    with pytest.raises(UserError, match=r"--baseline B: no such model"):
        find_method("B", ["A#3"], "--baseline")
