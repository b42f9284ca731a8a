"""The branches of a space: every way is walked, and what is fixed rules some of them out."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from vgray.errors import UserError
from vgray.orchestration.branches import (
    Branches,
    base_recipe,
    find_branches,
    sample_settings,
)
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.probes import varied_paths
from vgray.orchestration.spaces import SearchSpace, load_space
from vgray.recipe import Recipe


def _prepare(names: str, **fixed: Any) -> tuple[SearchSpace, Recipe, Branches]:
    """Return a space as a plan has it: what is fixed put in, what is ruled out left out."""
    given = {path.replace("__", "."): value for path, value in fixed.items()}
    space = replace(load_space(names), fixed=given)
    base = base_recipe(space, seed=0)
    feasible = Feasible(space, base)
    found = find_branches(space, feasible, given)
    return replace(space, allows=feasible, published=found.published), base, found


def _write(folder: Path, name: str, body: str, published: str = "[]") -> str:
    path = folder / f"{name}.py"
    path.write_text(f"BASE = {{}}\nPUBLISHED = {published}\ndef suggest(trial):\n{body}\n")
    return str(path)


def test_each_branch_has_its_own_ranges() -> None:
    _, _, found = _prepare("optimizers")
    assert [str(branch) for branch in found.kept] == [
        "optimizer sgd", "optimizer adam", "optimizer adamw", "optimizer radam",
    ]  # fmt: skip
    sgd, adam = found.kept[:2]
    assert dict(sgd.ranges) == {
        "optimizer.lr": "0.001..0.1 log",
        "optimizer.momentum": "0.8..0.99",
        "optimizer.weight_decay": "1e-06..0.1 log",
    }
    assert dict(adam.ranges)["optimizer.lr"] == "1e-05..0.001 log"
    assert "optimizer.momentum" not in adam.ranges
    assert found.left_out == []


def test_nested_choices_steps_and_lists_are_walked(tmp_path: Path) -> None:
    body = """
    if trial.suggest_categorical("loss.name", ["triplet", "contrastive"]) == "triplet":
        trial.suggest_categorical("miner.name", ["none", "triplet_margin"])
        trial.suggest_int("batch.places", 4, 11, step=4)
    trial.suggest_categorical("batch.images_per_place", [2, 4])"""
    _, _, found = _prepare(_write(tmp_path, "own", body))
    assert [str(branch) for branch in found.kept] == [
        "loss triplet, miner none", "loss triplet, miner triplet_margin", "loss contrastive",
    ]  # fmt: skip
    assert found.kept[1].ranges == {
        "batch.places": "4..8 step 4",
        "batch.images_per_place": "{2, 4}",
    }
    assert found.kept[1].recipe.batch.places == 4


def test_a_name_may_be_asked_for_twice_and_depend_on_a_number(tmp_path: Path) -> None:
    body = """
    large = trial.suggest_int("batch.places", 4, 32) > 20
    trial.suggest_categorical("miner.name", ["none", *["pair_margin"] * large])
    trial.suggest_categorical("miner.name", ["none", *["pair_margin"] * large])"""
    _, _, found = _prepare(_write(tmp_path, "own", body))
    assert [str(branch) for branch in found.kept] == ["miner none"]


def test_a_space_without_choices_is_one_branch(tmp_path: Path) -> None:
    own = _write(tmp_path, "own", '    trial.suggest_int("batch.places", 8, 16)')
    _, _, found = _prepare(own)
    assert [(str(branch), branch.recipe.batch.places) for branch in found.kept] == [("any", 12)]


def test_composed_spaces_are_listed_one_after_another() -> None:
    _, _, found = _prepare("attention+optimizers")
    assert [branch.part for branch in found.kept] == [0] * 5 + [1] * 4
    # What is measured or decoded for a branch needs a value for the other space too.
    assert found.kept[0].recipe.optimizer.name == "sgd"


def test_varied_paths_are_those_of_all_branches() -> None:
    assert varied_paths(load_space("attention")) == {
        "attention.name", "attention.reduction", "attention.kernel_size",
    }  # fmt: skip


def test_what_the_image_size_rules_out_is_left_out_with_its_reason() -> None:
    space, base, found = _prepare("backbones", image_size=64)
    names = {branch.choices["backbone.name"] for branch in found.kept}
    assert {"resnet18", "vgg16", "vit_b_16"} <= names
    assert not [name for name in names if "dinov2" in name]
    reasons = {entry.what: entry for entry in found.left_out}
    assert set(reasons) == {
        "backbone dinov2_vits14", "backbone dinov2_vits14_reg", "backbone dinov2_vitb14",
        "backbone dinov2_vitb14_reg", "backbone vit_b_16, aggregator salad",
    }  # fmt: skip
    ruled_out = reasons["backbone dinov2_vitb14"]
    assert "needs multiples of 14" in ruled_out.reason
    assert ruled_out.num_published == 2
    assert len(found.published) == len(load_space("backbones").published) - 2
    for settings in sample_settings(space, base, 100, seed=0):
        assert "dinov2" not in settings["backbone.name"]


def test_choices_depend_on_what_was_drawn_before() -> None:
    space, base, found = _prepare("image_sizes+backbones")
    drawn = sample_settings(space, base, 300, seed=0)
    multiples = {"vit_b_16": 16, "dinov2_vits14": 14, "dinov2_vitb14": 14}
    seen = set()
    for settings in drawn:
        if (multiple := multiples.get(settings["backbone.name"])) is not None:
            seen.add(settings["backbone.name"])
            assert not [side for side in settings["image_size"].split("x") if int(side) % multiple]
    assert seen == set(multiples)
    assert found.left_out == []


def test_a_published_setting_narrows_what_is_drawn_beside_it() -> None:
    space, _, _ = _prepare("image_sizes+backbones")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    known = {"backbone.name": "dinov2_vitb14", "aggregator.name": "salad"}
    sizes = {space.draw(study.ask(), known)["image_size"] for _ in range(40)}
    assert sizes == {"224x224"}  # of the multiples of 14 the other has a map too small for SALAD


def test_one_study_holds_every_list_of_choices() -> None:
    space, base, _ = _prepare("image_sizes+backbones")
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))
    names = set()
    for number in range(40):
        trial = study.ask()
        space.recipe(base, space.draw(trial, {}))
        names |= {name for name in trial.params if name.startswith("backbone.name")}
        study.tell(trial, number)
    assert "backbone.name" in names
    assert len(names) > 1


def test_leaving_out_does_not_change_what_a_whole_space_draws() -> None:
    space = load_space("optimizers")
    checked, base, _ = _prepare("optimizers")
    assert sample_settings(checked, base, 20, seed=3) == sample_settings(space, base, 20, seed=3)


def test_a_setting_that_only_one_method_has_is_given_to_that_one() -> None:
    _, _, found = _prepare("aggregators", aggregator__eps=1e-5)
    assert len(found.kept) == 11
    assert found.left_out == []
    for branch in found.kept:
        aggregator = branch.recipe.to_dict()["aggregator"]
        assert aggregator.get("eps") == (1e-5 if aggregator["name"] == "gem" else None)


def test_a_remedy_can_be_followed() -> None:
    salad = "backbone vit_b_16, aggregator salad"
    _, _, found = _prepare("backbones", image_size=64)
    (entry,) = [entry for entry in found.left_out if entry.what == salad]
    assert "aggregator.num_clusters: found 64" in entry.reason
    _, _, found = _prepare("backbones", image_size=64, aggregator__num_clusters=8)
    assert salad in {str(branch) for branch in found.kept}


def test_what_is_fixed_may_need_something_that_is_drawn(tmp_path: Path) -> None:
    body = '    trial.suggest_categorical("image_size", ["224x224", "320x320"])'
    fixed = {"aggregator__name": "mixvpr", "aggregator__in_h": 20, "aggregator__in_w": 20}
    _, base, found = _prepare(_write(tmp_path, "own", body), **fixed)
    assert [str(branch) for branch in found.kept] == ["image_size 320x320"]
    assert base.image_size == (320, 320)
    assert [entry.what for entry in found.left_out] == ["image_size 224x224"]
    with pytest.raises(UserError, match=r"^aggregator\.in_h: found 20"):
        _prepare("optimizers", **fixed)


def test_published_settings_that_the_user_contradicts_are_skipped(tmp_path: Path) -> None:
    published = [
        {"batch.places": 8, "backbone.crop_last": 0},
        {"batch.places": 9},  # with the crop of the space
        {"batch.places": 10, "backbone.crop_last": 2},
        {"batch.places": 10},
    ]
    body = '    trial.suggest_int("batch.places", 8, 16)'
    own = Path(_write(tmp_path, "own", body, repr(published)))
    own.write_text(own.read_text().replace("BASE = {}", 'BASE = {"backbone.crop_last": 1}'))
    for crop_last, left in {0: [0], 1: [1, 3], 2: [2]}.items():
        _, _, found = _prepare(str(own), backbone__crop_last=crop_last)
        assert found.published == [published[i] for i in left]
        assert sum(entry.num_published for entry in found.left_out) == 4 - len(left)
        reasons = {entry.reason for entry in found.left_out}
        assert reasons == {f"--set says backbone.crop_last={crop_last}"}


def test_the_same_published_setting_is_tried_once(tmp_path: Path) -> None:
    published = [
        {"batch.places": 8},
        {"batch.places": 8, "epochs": 10},  # the default
        {"batch.places": 12},
        {},  # draws what the one before it says
    ]
    body = '    trial.suggest_int("batch.places", 8, 16)'
    _, _, found = _prepare(_write(tmp_path, "own", body, repr(published)))
    assert found.published == [published[0], published[2], published[3]]


# Ten families, 30 million ways, conditions within conditions.
LARGE = """
    pick = trial.suggest_categorical
    pick("image_size", ["64", "96", "112", "128", "160", "192", "224", "256"])
    pick("backbone.name", ["resnet18", "resnet34", "resnet50", "vgg16", "swin_t", "convnext_tiny",
        "vit_b_16", "dinov2_vits14"])
    pick("attention.name", ["none", "cbam", "non_local", "soa", "adageo"])
    aggregator = pick("aggregator.name", ["gem", "mixvpr", "netvlad", "crn", "boq", "seqpool",
        "cls", "salad"])
    if aggregator == "gem":
        trial.suggest_float("aggregator.p", 1, 8)
    pick("projection.dim", [64, 128, 256])
    if pick("mining.name", ["none", "random", "partial", "full"]) in ("partial", "full"):
        trial.suggest_int("mining.pool_size", 100, 1000, step=100)
    loss = pick("loss.name", ["multi_similarity", "contrastive", "triplet", "circle", "ntxent",
        "fastap", "sare_joint", "hphn"])
    if loss in ("contrastive", "triplet"):
        if pick("miner.name", ["none", "pair_margin", "triplet_margin"]) == "triplet_margin":
            pick("miner.type_of_triplets", ["all", "hard"])
    if pick("optimizer.name", ["sgd", "adam", "adamw", "radam"]) == "sgd":
        trial.suggest_float("optimizer.momentum", 0.8, 0.99)
    pick("schedule.name", ["none", "cosine", "multistep", "plateau"])"""


def test_of_a_large_space_each_choice_is_a_branch(tmp_path: Path) -> None:
    own = _write(tmp_path, "own", LARGE)
    started = time.perf_counter()
    space, base, found = _prepare(own, backbone__weights="none")
    drawn = sample_settings(space, base, 5, seed=0)
    assert time.perf_counter() - started < 20  # seconds, where every way would take days
    assert not found.are_all
    assert all(len(branch.choices) == 1 for branch in found.kept)
    kept = {str(branch): branch for branch in found.kept}
    assert len(kept) == len(found.kept) == 8 + 8 + 5 + 8 + 4 + 7 + 3 + 4 + 4
    # The recipe's own miner goes with no mining, and only mining with the loss.
    assert [entry.what for entry in found.left_out] == ["loss hphn"]
    assert kept["miner triplet_margin"].ranges == {"miner.type_of_triplets": "{all, hard}"}
    assert kept["miner triplet_margin"].recipe.loss.name in ("contrastive", "triplet")
    assert kept["aggregator gem"].ranges == {"aggregator.p": "1..8"}
    # It takes another backbone and, with that, a larger image.
    assert kept["aggregator salad"].recipe.backbone.name in ("vit_b_16", "dinov2_vits14")
    assert kept["backbone dinov2_vits14"].recipe.image_size == (112, 112)
    paths = {"projection.dim", "mining.pool_size", "miner.type_of_triplets"}
    assert paths <= varied_paths(space)
    for settings in drawn:
        space.recipe(base, settings)


def test_a_small_space_is_walked_whole() -> None:
    assert _prepare("backbones")[2].are_all


def test_nothing_left_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    own = _write(
        tmp_path, "own", '    trial.suggest_categorical("backbone.name", ["dinov2_vits14"])'
    )
    with pytest.raises(UserError, match=r"nothing is left to try: .*multiples of 14"):
        _prepare(own, image_size=64)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('trial.suggest_float("optimizer.momentum", 0, 0.9)', r"momentum: no such setting"),
        ('trial.suggest_int("batch.places", 4, 10_000)', r"batch\.places: found 10000"),
        ('trial.suggest_categorical("loss.name", ["triplet", "triplets"])', "did you mean"),
        ("1 / 0", r"ZeroDivisionError.*own\.py, line 4"),
    ],
)
def test_what_is_wrong_by_itself_is_an_error_not_left_out(
    body: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        _prepare(_write(tmp_path, "own", f"    {body}"))


def test_a_wrong_published_setting_is_an_error(tmp_path: Path) -> None:
    body = '    trial.suggest_categorical("loss.name", ["triplet", "contrastive"])'
    own = _write(tmp_path, "own", body, '[{"loss.name": "triplet", "loss.margin": -1}]')
    with pytest.raises(UserError, match=r"loss\.margin: found -1"):
        _prepare(own)


def test_settings_are_the_same_however_often_they_are_asked_for() -> None:
    first = _prepare("backbones", image_size=64)[2]
    assert first == _prepare("backbones", image_size=64)[2]
