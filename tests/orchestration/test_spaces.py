"""Search spaces: what they draw are recipes, and what is wrong with one is said."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from vgray.errors import UserError
from vgray.orchestration.branches import sample_settings
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.recipe_trial import RecipeTrial, parameter_name
from vgray.orchestration.spaces import (
    known_spaces,
    load_space,
)
from vgray.recipe import Recipe


def test_every_known_space_draws_and_publishes_valid_recipes() -> None:
    names = known_spaces()
    assert "optimizers" in names
    assert "demo" not in names
    for name in names:
        space = load_space(name)
        base = Recipe().with_settings(space.base)
        space = replace(space, allows=Feasible(space, base))
        assert len(sample_settings(space, base, 10, seed=0)) == 10
        assert space.published
        for known in space.published:
            base.with_settings(known)


def test_optimizers_have_their_own_ranges_and_momentum_is_for_sgd_only() -> None:
    space = load_space("optimizers")
    drawn = [
        Recipe().with_settings(settings).optimizer
        for settings in sample_settings(space, Recipe(), 200, seed=1)
    ]
    assert {optimizer.name for optimizer in drawn} == {"sgd", "adam", "adamw", "radam"}
    for optimizer in drawn:
        low, high = (1e-3, 1e-1) if optimizer.name == "sgd" else (1e-5, 1e-3)
        assert low <= optimizer.lr <= high
        assert hasattr(optimizer, "momentum") == (optimizer.name == "sgd")


def test_spaces_import_neither_torch_nor_ray() -> None:
    code = (
        "import pkgutil, sys, importlib, search_spaces\n"
        "names = [m.name for m in pkgutil.iter_modules(search_spaces.__path__)]\n"
        "assert names\n"
        "for name in names: importlib.import_module(f'search_spaces.{name}')\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_optuna_keeps_the_settings_of_two_methods_apart() -> None:
    assert parameter_name("optimizer.lr", {"optimizer.name": "sgd"}) == "optimizer[sgd].lr"
    assert parameter_name("optimizer.name", {"optimizer.name": "sgd"}) == "optimizer.name"
    assert parameter_name("batch.places", {"optimizer.name": "sgd"}) == "batch.places"
    assert parameter_name("epochs", {}) == "epochs"


def test_a_published_value_outside_the_range_is_tried_as_it_is() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    known = {"optimizer.name": "sgd", "optimizer.lr": 1e-4, "optimizer.weight_decay": 0.0}
    study.enqueue_trial({parameter_name(path, known): value for path, value in known.items()})
    settings = load_space("optimizers").draw(study.ask(), known)
    assert settings["optimizer.lr"] == 1e-4
    assert settings["optimizer.weight_decay"] == 0
    assert 0.8 <= settings["optimizer.momentum"] <= 0.99


def test_settings_of_a_published_point_that_the_space_does_not_vary_are_kept() -> None:
    space = load_space("optimizers")
    trial = optuna.create_study().ask()
    assert space.draw(trial, {"loss.name": "triplet"})["loss.name"] == "triplet"


def _write_space(folder: Path, name: str, body: str, base: str = "{}") -> str:
    path = folder / f"{name}.py"
    path.write_text(f"BASE = {base}\nPUBLISHED = []\ndef suggest(trial):\n    {body}\n")
    return str(path)


def test_what_the_user_fixes_holds_for_every_method() -> None:
    space = replace(load_space("optimizers"), fixed={"optimizer.weight_decay": 0.5})
    recipe = space.recipe(Recipe(), {"optimizer.name": "sgd", "optimizer.lr": 0.1})
    assert (recipe.optimizer.name, recipe.optimizer.weight_decay) == ("sgd", 0.5)


def test_what_the_user_fixes_is_given_to_the_methods_that_have_it() -> None:
    fixed = {"optimizer.momentum": 0.5, "batch.places": 8, "multi_scale.name": "average"}
    space = replace(load_space("optimizers"), fixed=fixed)
    for name in ("sgd", "adamw"):
        recipe = space.recipe(Recipe(), {"optimizer.name": name})
        assert getattr(recipe.optimizer, "momentum", None) == (0.5 if name == "sgd" else None)
        assert (recipe.batch.places, recipe.multi_scale is not None) == (8, True)
    for wrong in ("batch.place", "nothing", "nothing.name", "epochs.name"):
        with pytest.raises(UserError, match=wrong.partition(".")[0]):
            replace(space, fixed={wrong: 1}).recipe(Recipe(), {})


def test_a_users_file_composes_with_a_known_space(tmp_path: Path) -> None:
    own = _write_space(tmp_path, "own", 'trial.suggest_int("batch.places", 8, 16)', '{"epochs": 3}')
    space = load_space(f"optimizers+{own}")
    settings = space.draw(optuna.create_study().ask(), {})
    assert {"optimizer.name", "optimizer.lr", "batch.places"} <= settings.keys()
    assert space.base["epochs"] == 3
    assert space.base["aggregator.name"] == "gem"


def test_the_literature_of_composed_spaces_takes_turns(tmp_path: Path) -> None:
    own = Path(_write_space(tmp_path, "own", 'trial.suggest_int("batch.places", 8, 16)'))
    published = [{"batch.places": 8}, {"batch.places": 9}]
    own.write_text(own.read_text().replace("PUBLISHED = []", f"PUBLISHED = {published}"))
    first, second, third, *_ = load_space("optimizers").published
    composed = load_space(f"optimizers+{own}").published
    assert composed[:5] == [first, published[0], second, published[1], third]
    assert len(composed) == len(load_space("optimizers").published) + 2


def test_two_spaces_may_not_vary_the_same_setting(tmp_path: Path) -> None:
    own = _write_space(tmp_path, "own", 'trial.suggest_float("optimizer.lr", 1e-5, 1e-3)')
    space = load_space(f"optimizers+{own}")
    with pytest.raises(UserError, match=r"optimizer\.lr is varied by two"):
        space.draw(optuna.create_study().ask(), {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optimizer", "did you mean 'optimizers'"),
        ("nothing", "known are .*optimizers"),
        ("missing.py", "no such file"),
        ("optimizers+optimizers", "given twice"),
        ("os.path", "unknown"),
        ("", "unknown"),
    ],
)
def test_unknown_spaces_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_space(name)


def test_a_file_that_is_no_space_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("BASE = {}\n")
    with pytest.raises(UserError, match="has no PUBLISHED and no suggest"):
        load_space(str(tmp_path / "half.py"))
    (tmp_path / "broken.py").write_text("def\n")
    with pytest.raises(UserError, match=r"cannot be imported \(SyntaxError"):
        load_space(str(tmp_path / "broken.py"))


def test_a_failing_suggest_is_said_with_its_line(tmp_path: Path) -> None:
    own = _write_space(tmp_path, "own", "1 / 0")
    with pytest.raises(UserError, match=r"ZeroDivisionError.*own\.py, line 4"):
        sample_settings(load_space(own), Recipe(), 1, seed=0)


def test_a_space_that_draws_what_no_recipe_allows_is_refused(tmp_path: Path) -> None:
    own = _write_space(tmp_path, "own", 'trial.suggest_float("optimizer.momentum", 0, 0.9)')
    with pytest.raises(UserError, match=r"optimizer\.momentum: no such setting"):
        sample_settings(load_space(own), Recipe(), 1, seed=0)


def test_recipe_trial_records_what_was_drawn() -> None:
    trial = RecipeTrial(optuna.trial.FixedTrial({"epochs": 4, "miner.name": "none"}), {})
    assert trial.suggest_int("epochs", 1, 10) == 4
    assert trial.suggest_categorical("miner.name", ["none"]) == "none"
    assert trial.settings == {"epochs": 4, "miner.name": "none"}
