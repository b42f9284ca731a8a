"""Grids: every setting of a finite space once, whatever its branches."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from vgray.errors import UserError
from vgray.orchestration.branches import base_recipe, find_branches
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.first import settings_tried_first
from vgray.orchestration.grid import grid_settings, spread
from vgray.orchestration.plan import SweepOptions
from vgray.orchestration.spaces import SearchSpace, load_space
from vgray.recipe import Recipe

BODY = """
    if trial.suggest_categorical("optimizer.name", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("optimizer.momentum", 0.5, 0.9, step=0.2)
    trial.suggest_int("batch.places", 4, 11, step=4)"""


def _space(folder: Path, body: str = BODY, published: str = "[]", **fixed: Any) -> SearchSpace:
    path = folder / "own.py"
    path.write_text(f"BASE = {{}}\nPUBLISHED = {published}\ndef suggest(trial):\n{body}\n")
    return _checked(str(path), fixed)


def _checked(names: str, fixed: Mapping[str, Any]) -> SearchSpace:
    space = replace(load_space(names), fixed=dict(fixed))
    feasible = Feasible(space, base_recipe(space, 0))
    published = find_branches(space, feasible, fixed).published
    return replace(space, allows=feasible, published=published)


def _options(**changes: Any) -> SweepOptions:
    return SweepOptions(space="own", data="city", sampler="grid", **{"num_trials": 0, **changes})


def test_every_setting_is_there_once(tmp_path: Path) -> None:
    settings = grid_settings(_space(tmp_path), Recipe())
    found = [
        (each["optimizer.name"], each.get("optimizer.momentum"), each["batch.places"])
        for each in settings
    ]
    # 0.5 + 2 * 0.2 is a little more than 0.9.
    assert found == [
        *[("sgd", momentum, places) for momentum in (0.5, 0.7, 0.9) for places in (4, 8)],
        ("adam", None, 4),
        ("adam", None, 8),
    ]


def test_steps_are_those_of_optuna(tmp_path: Path) -> None:
    low, high, step = 0.1, 0.75, 0.1
    body = f'    trial.suggest_float("optimizer.weight_decay", {low}, {high}, step={step})'
    settings = grid_settings(_space(tmp_path, body), Recipe())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {study.ask().suggest_float("x", low, high, step=step) for _ in range(100)}
    found = [each["optimizer.weight_decay"] for each in settings]
    assert found == [pytest.approx(value, abs=1e-12) for value in sorted(drawn)]
    assert found == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_composed_spaces_make_the_product(tmp_path: Path) -> None:
    own = tmp_path / "sides.py"
    own.write_text(
        "BASE = {}\nPUBLISHED = []\ndef suggest(trial):\n"
        '    trial.suggest_categorical("image_size", ["64", "96", "112"])\n'
    )
    _space(tmp_path)
    settings = grid_settings(_checked(f"{own}+{tmp_path / 'own.py'}", {}), Recipe())
    assert len(settings) == 3 * 8


def test_what_does_not_fit_is_left_out_and_the_same_recipe_comes_once(tmp_path: Path) -> None:
    body = """
    trial.suggest_categorical("backbone.name", ["resnet18", "dinov2_vits14", "vit_b_16"])
    trial.suggest_categorical("image_size", ["64", "64x64", "112"])"""
    settings = grid_settings(_space(tmp_path, body), Recipe())
    assert [(each["backbone.name"], each["image_size"]) for each in settings] == [
        ("resnet18", "64"), ("resnet18", "112"), ("dinov2_vits14", "112"),
        ("vit_b_16", "64"), ("vit_b_16", "112"),
    ]  # fmt: skip


def test_a_range_is_no_grid() -> None:
    with pytest.raises(
        UserError,
        match=r"^--sampler grid: optimizer\.lr is drawn from a range \(0\.001\.\.0\.1\); give a",
    ):
        grid_settings(load_space("optimizers"), Recipe())


def test_a_huge_grid_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgray.orchestration.grid.MAX_SETTINGS", 1000)
    body = "\n".join(
        f'    trial.suggest_int("{path}", 2, 64)' for path in ("batch.places", "epochs")
    )
    body += '\n    trial.suggest_int("batch.min_images_per_place", 4, 64)'
    with pytest.raises(UserError, match="has more than 1,000 settings"):
        grid_settings(_space(tmp_path, body), Recipe())


def test_a_part_of_a_grid_is_part_of_a_larger_one() -> None:
    settings = [{"batch.places": places} for places in range(2, 30)]
    few, more = spread(settings, 5, seed=1), spread(settings, 9, seed=1)
    assert more[:5] == few
    assert few != settings[:5]
    assert few != spread(settings, 5, seed=2)
    assert spread(settings, 28, seed=1) == settings


def test_published_points_come_first(tmp_path: Path) -> None:
    published = """[
        {"optimizer.name": "adam", "batch.places": 8},
        {"optimizer.name": "adam", "batch.places": 5},
    ]"""
    space = _space(tmp_path, published=published)
    first = settings_tried_first(_options(), space, Recipe(), None)
    assert (first.num_published, first.num_trials, len(first.settings)) == (1, 8, 8)
    assert first.settings[0] == {"optimizer.name": "adam", "batch.places": 8}
    few = settings_tried_first(_options(num_trials=3), space, Recipe(), None)
    assert (few.num_published, few.num_trials, len(few.settings)) == (1, 3, 3)
    assert few.settings[0] == first.settings[0]
    with pytest.raises(UserError, match=r"--num-trials 9: the grid has 8 settings"):
        settings_tried_first(_options(num_trials=9), space, Recipe(), None)
