"""Samplers: each draws valid settings, the same for the same seed, and learns what it can."""

from typing import get_args

import optuna
import pytest

from vgray.orchestration.samplers import SAMPLERS, SamplerName, build_sampler
from vgray.orchestration.spaces import load_space
from vgray.orchestration.study import WARM_START


def _sweep(name: str, count: int, space_name: str = "optimizers") -> optuna.Study:
    """Play a sweep as a real one goes: a new sampler for each trial, set after it was asked for."""
    space, study = load_space(space_name), optuna.create_study(direction="maximize")
    for number in range(count):
        trial = study.ask()
        study.sampler = build_sampler(name, 1000 + number)
        settings = space.draw(trial, {})
        study.tell(trial, -abs(settings["optimizer.weight_decay"] - 1e-4))
    return study


def test_every_sampler_has_a_name_and_draws() -> None:
    assert set(get_args(SamplerName)) == set(SAMPLERS)
    for name in SAMPLERS:
        assert len(_sweep(name, 3).trials) == 3
    with pytest.raises(ValueError, match="known are tpe, random, grid, gp"):
        build_sampler("bayes", 0)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_the_same_seeds_draw_the_same(name: str) -> None:
    drawn = [[trial.params for trial in _sweep(name, 14).trials] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len({str(params) for params in drawn[0]}) == 14


def test_gp_learns_from_what_all_trials_share_beside_branches() -> None:
    space, study = load_space("attention"), optuna.create_study(direction="maximize")
    found = []
    for number in range(14):
        trial = study.ask()
        study.sampler = build_sampler("gp", number)
        assert space.draw(trial, {})
        found.append(abs(trial.suggest_float("x", 0, 1) - 0.2))
        study.tell(trial, -(found[-1] ** 2))
    assert sum(found[11:]) / 3 < sum(found[:10]) / 10 / 2


def test_gp_leaves_trials_of_an_earlier_run_aside_that_lack_what_its_own_share() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(24):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        if number < 12:
            trial.set_user_attr(WARM_START, f"old#{number}")
        else:
            trial.suggest_float("y", 0, 1)
        study.tell(trial, number)
    trial = study.ask()
    study.sampler = build_sampler("gp", 0)
    assert trial.relative_params.keys() == {"x", "y"}


def test_gp_leaves_trials_without_parameters_aside() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(12):
        trial = study.ask()
        if number % 4:
            trial.suggest_float("x", 0, 1)
        study.tell(trial, number)
    trial = study.ask()
    study.sampler = build_sampler("gp", 0)
    assert trial.relative_params.keys() == {"x"}
