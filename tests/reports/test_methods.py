"""Which method the others are compared with."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import trial, write_run

from vgray.reports.methods import find_baseline
from vgray.reports.plan import Options, Plan, make_plan
from vgray.reports.results import Method


@pytest.fixture
def plan(tmp_path: Path, tiny_city: Path) -> Plan:
    repeats = [trial(n, 20.0, lr=0.1, seed=n, phase="finalist") for n in (2, 3)]
    runs = [
        write_run(tmp_path / "A", [trial(0, 50.0), trial(1, 40.0)], data=[str(tiny_city)]),
        write_run(
            tmp_path / "B", [trial(0, 30.0, lr=0.1), trial(1, 60.0), *repeats],
            data=[str(tiny_city)], finalists={0: [2, 3]},
        ),
    ]  # fmt: skip
    return make_plan(Options(runs, [str(tiny_city)]))


def _methods(plan: Plan) -> list[Method]:
    return [
        Method(
            each.name, "single", 8, "", [(8, 8)], [0], each.val_recall, each.chosen, [],
            is_finalist=each.is_finalist, best_of_trials=each.best_of_trials,
        )
        for each in plan.candidates
    ]  # fmt: skip


def test_a_finalist_goes_before_the_best_of_many_single_seeds(plan) -> None:
    recalls = {method.name: method.val_recall for method in _methods(plan)}
    assert recalls == {"A#0": 50.0, "A#1": 40.0, "B#0 x2": 20.0, "B#1": 60.0}
    assert find_baseline(plan, _methods(plan)) == "B#0 x2"


def test_without_finalists_it_is_the_best_trial(plan) -> None:
    lone = [method for method in _methods(plan) if not method.is_finalist]
    assert find_baseline(plan, lone) == "B#1"


def test_where_validation_differs_it_is_of_the_first_run(plan) -> None:
    assert find_baseline(replace(plan, same_validation=False), _methods(plan)) == "A#0"


def test_the_one_asked_for_may_leave_out_its_number_of_seeds(plan) -> None:
    asked = replace(plan, options=replace(plan.options, baseline="B#0"))
    assert find_baseline(asked, _methods(plan)) == "B#0 x2"
