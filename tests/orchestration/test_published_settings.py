"""Published settings: tried with nothing drawn, or said to be completed by drawing."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.branches import base_recipe, find_branches
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.first import settings_tried_first
from vgray.orchestration.notes import sources
from vgray.orchestration.plan import SweepOptions
from vgray.orchestration.published import completed, drawn_beside
from vgray.orchestration.spaces import SearchSpace, known_spaces, load_space
from vgray.recipe import Recipe

PRODUCTS = (
    "losses+miners",
    "losses+miners+optimizers",
    "aggregators+losses+miners+optimizers+schedulers",
    "losses+augmentations+brightness",
)


def _checked(names: str) -> tuple[SearchSpace, Recipe]:
    space = load_space(names)
    base = base_recipe(space, 0)
    found = find_branches(space, Feasible(space, base), {})
    return replace(space, published=found.published), base


@pytest.mark.parametrize("names", [*known_spaces(), *PRODUCTS])
def test_nothing_is_drawn_where_only_the_published_is_tried(names: str) -> None:
    space, base = _checked(names)
    options = SweepOptions(names, ["city"], published_only=True, num_trials=0)
    first = settings_tried_first(options, space, base, None)
    assert first.num_published == first.num_trials == len(first.settings) > 0
    recipes = [space.recipe(base, setting) for setting in first.settings]
    assert len(set(recipes)) == len(recipes)
    for setting in first.settings:
        assert drawn_beside(space, setting) == set()
    # What is published, and the base recipe beside it.
    alone = {space.recipe(base, setting) for setting in space.published}
    assert set(recipes) == alone
    assert not first.left_out


def test_what_a_published_setting_does_not_say_is_the_base_recipes() -> None:
    space, base = _checked("losses+miners+optimizers")
    base = base.with_settings({"optimizer.lr": 0.3})
    setting = {"miner.name": "pair_margin", "miner.pos_margin": 0.7}
    whole = completed(space, base, setting)
    defaults = Recipe().with_settings({"miner.name": "pair_margin"}).to_dict()["miner"]
    assert whole["miner.neg_margin"] == defaults["neg_margin"]
    assert (whole["loss.name"], whole["optimizer.lr"]) == ("multi_similarity", 0.3)
    assert whole["miner.pos_margin"] == 0.7
    assert space.recipe(base, whole) == space.recipe(base, setting)


def test_words_of_a_space_stand_for_values_of_a_recipe() -> None:
    space, base = _checked("augmentations+brightness+image_sizes")
    whole = completed(space, base, {})
    assert whole["augmentation.brightness"] == "none"
    assert whole["augmentation.flip.p"] == 0.0
    assert whole["image_size"] == "224x224"
    assert space.recipe(base, whole) == base


def test_what_does_not_fit_the_base_recipe_is_left_out(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        'BASE = {}\nPUBLISHED = [{"aggregator.name": "salad"}, {"aggregator.name": "avg"}]\n'
        "def suggest(trial):\n"
        '    trial.suggest_categorical("backbone.name", ["resnet18", "vit_b_16"])\n'
        '    trial.suggest_categorical("aggregator.name", ["avg", "salad"])\n'
    )
    space, base = _checked(str(own))
    assert len(space.published) == 2
    options = SweepOptions(str(own), ["city"], published_only=True, num_trials=0)
    first = settings_tried_first(options, space, base, None)
    assert first.settings == [{"aggregator.name": "avg", "backbone.name": "resnet18"}]
    assert [(each.what, each.num_published) for each in first.left_out] == [("salad", 1)]


def test_what_no_recipe_says_is_asked_for(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        'BASE = {}\nPUBLISHED = [{"batch.places": 8}]\ndef suggest(trial):\n'
        '    trial.suggest_int("batch.places", 2, 64)\n'
        '    trial.suggest_float("augmentation.blur.sigma_px", 0.5, 3.0)\n'
    )
    with pytest.raises(UserError, match=r"varies augmentation\.blur\.sigma_px, which neither a"):
        completed(load_space(str(own)), Recipe(), {"batch.places": 8})


def test_a_setting_that_is_completed_by_drawing_is_called_so() -> None:
    space, base = _checked("losses+miners")
    whole = completed(space, base, space.published[0])
    given = [{"miner.name": "none"}, whole, whole]
    assert sources(space, given, 2) == ["published, rest drawn", "published", "grid"]


def test_a_known_value_of_another_method_is_kept_but_no_parameter() -> None:
    study = optuna.create_study()
    space = load_space("lr_weight_decay")
    settings = {"optimizer.name": "sgd", "optimizer.lr": 1e-3, "optimizer.weight_decay": 1e-3}
    studies.enqueue_given(study, [settings, {"optimizer.lr": 1e-3}], space.names)
    other, partial = study.ask(), study.ask()
    assert space.draw(other, settings) == settings
    assert other.params == {}
    assert space.draw(partial, {"optimizer.lr": 1e-3})["optimizer.lr"] == 1e-3
    assert partial.params["optimizer[adamw].lr"] == 1e-3
