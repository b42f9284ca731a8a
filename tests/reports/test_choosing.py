"""Which model is called best: no lucky trial before the mean of repeats."""

import pytest

from vgray.reports.choosing import best, comparable
from vgray.reports.results import Kind, Method


def _method(
    name: str, val_recall: float | None, kind: Kind = "single", *, is_finalist: bool = False
) -> Method:
    return Method(
        name, kind, 8, "", [], [0], val_recall, "", [], is_finalist=is_finalist,
    )  # fmt: skip


def test_a_lucky_trial_does_not_go_before_a_finalist() -> None:
    methods = [
        _method("A#3", 70.0),
        _method("A#1 x3", 61.0, is_finalist=True),
        _method("A#2 x3", 62.0, is_finalist=True),
        _method("search", 75.0, "ensemble"),
    ]
    assert [method.name for method in comparable(methods)] == ["A#1 x3", "A#2 x3"]
    assert best(comparable(methods)).name == "A#2 x3"


def test_without_finalists_the_best_trial_is_all_there_is() -> None:
    methods = [_method("A#3", 60.0), _method("A#1", 61.0), _method("search", 75.0, "similarity")]
    assert best(comparable(methods)).name == "A#1"


def test_where_no_recall_is_known_it_is_the_first() -> None:
    assert best([_method("a", None), _method("b", None)]).name == "a"
    assert best([_method("a", None), _method("b", 0.0)]).name == "b"
    with pytest.raises(ValueError):
        best([])
