"""A plan: everything that is settled before a sweep starts."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search_spaces.demo import DEMO_SETTINGS, DEMO_TUPLE_SETTINGS
from vgray.errors import UserError
from vgray.orchestration.cost import Speeds
from vgray.orchestration.plan import SweepOptions, describe_run, make_plan, stored_options
from vgray.orchestration.run_folder import RunFolder
from vgray.places import num_training_queries, steps_per_epoch
from vgray.places.demo_city import CitySettings, generate
from vgray.recipe import Recipe
from vgray.training.speed import Speed

SMALL = {"image_size": [32, 32], "backbone.weights": "none", "batch.places": 4, "epochs": 9}


def _options(data: Path, **changes: Any) -> SweepOptions:
    settings = {**SMALL, **changes.pop("settings", {})}
    return SweepOptions(space="optimizers", data=str(data), settings=settings, **changes)


def test_the_literature_takes_at_most_half_of_the_trials(tiny_city: Path) -> None:
    plan = make_plan(_options(tiny_city, num_trials=5))
    assert plan.num_published == 3
    assert plan.settings[:3] == list(plan.space.published[:3])
    assert make_plan(_options(tiny_city, num_trials=100)).num_published == len(plan.space.published)


def test_grace_is_a_third_of_the_epochs_and_past_any_warm_up(tiny_city: Path) -> None:
    plan = make_plan(_options(tiny_city))
    assert (plan.grace, plan.steps_per_epoch) == (3, 5)  # 21 places in batches of 4
    warmup = {"schedule.name": "cosine", "schedule.warmup_steps": 30}
    assert make_plan(_options(tiny_city, settings=warmup)).grace == 6
    warmup = {"schedule.name": "cosine", "schedule.warmup_epochs": 4.5}
    assert make_plan(_options(tiny_city, settings=warmup)).grace == 5
    assert make_plan(_options(tiny_city, grace=8)).options.grace == 8


def _run(folder: Path, **data: str) -> RunFolder:
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"data": data}))
    return RunFolder(folder)


def _write_space(folder: Path, body: str, published: str = "[]") -> str:
    path = folder / "own.py"
    path.write_text(f"BASE = {{}}\nPUBLISHED = {published}\ndef suggest(trial):\n    {body}\n")
    return str(path)


def test_presets_give_way_to_the_space_and_to_the_user(tiny_city: Path, tmp_path: Path) -> None:
    sizes = _write_space(tmp_path, 'trial.suggest_categorical("image_size", ["32x48", "48x32"])')
    options = SweepOptions(
        space=sizes,
        data=str(tiny_city),
        settings={"epochs": 4},
        presets={**SMALL, "epochs": 9},
    )
    plan = make_plan(options)
    assert plan.base.epochs == 4
    assert plan.base.batch.places == 4
    drawn = {plan.space.recipe(plan.base, each).image_size for each in plan.settings}
    assert drawn == {(32, 48), (48, 32)}
    assert plan.options.presets["epochs"] == 9
    fixed = replace(options, settings={"image_size": 32})
    with pytest.raises(UserError, match="image_size: is varied by --space"):
        make_plan(fixed)


def test_what_is_fixed_and_varied_is_said_before_anything_else(tiny_city: Path) -> None:
    options = _options(tiny_city, settings={"aggregator.out_rows": 4})
    with pytest.raises(UserError, match=r"^--set aggregator\.out_rows: is varied by --space"):
        make_plan(replace(options, space="aggregators"))


def test_what_is_fixed_must_be_a_setting_of_something(tiny_city: Path) -> None:
    options = _options(tiny_city, settings={"aggregator.num_clusters": 8})
    with pytest.raises(UserError, match=r"^--set aggregator\.num_clusters: nothing in --space opt"):
        make_plan(options)
    options = _options(tiny_city, settings={"aggregator.norm_input": False})
    with pytest.raises(UserError, match=r"did you mean 'aggregator\.normalize_input'"):
        make_plan(replace(options, space="aggregators"))


def test_models_of_timm_are_built_beforehand(tiny_city: Path) -> None:
    with pytest.raises(UserError, match="nonsense"):
        make_plan(_options(tiny_city, settings={"backbone.name": "timm/nonsense"}))
    plan = make_plan(_options(tiny_city, settings={"backbone.name": "timm/resnet10t"}))
    assert plan.base.backbone.weights == "none"


def test_presets_hold_for_every_method_that_is_drawn(tiny_city: Path) -> None:
    presets = {**SMALL, "image_size": 64}
    plan = make_plan(SweepOptions(space="backbones", data=str(tiny_city), presets=presets))
    recipes = [plan.space.recipe(plan.base, each) for each in plan.settings]
    assert len({recipe.backbone.name for recipe in recipes}) > 5
    assert {recipe.backbone.weights for recipe in recipes} == {"none"}
    assert {recipe.image_size for recipe in recipes} == {(64, 64)}
    assert {entry.what for entry in plan.left_out} >= {"backbone dinov2_vits14"}


def test_a_fixed_backbone_is_not_cut_as_the_space_cuts_its_own(tiny_city: Path) -> None:
    plan = make_plan(_options(tiny_city, settings={"backbone.name": "vgg16"}))
    assert (plan.space.base["backbone.crop_last"], plan.base.backbone.crop_last) == (1, 0)
    assert plan.base.backbone.weights == "none"


def test_options_of_a_run_from_before_presets_are_read(tiny_city: Path) -> None:
    options = asdict(_options(tiny_city))
    del options["presets"]
    assert SweepOptions(**options) == _options(tiny_city)


def test_every_size_that_may_be_drawn_is_decoded_beforehand(
    tiny_city: Path, tmp_path: Path
) -> None:
    own = _write_space(
        tmp_path,
        'trial.suggest_categorical("image_size", ["33x48", "48x33", "49"])',
        '[{"image_size": "33x48"}]',
    )
    told: list[tuple[int, int]] = []
    settings = {"backbone.weights": "none", "batch.places": 4}
    options = SweepOptions(space=own, data=str(tiny_city), settings=settings)
    plan = make_plan(options, progress=lambda size, done, total: told.append(size))
    assert set(told) == {(33, 48), (48, 33), (49, 49)}
    assert plan.store.pixels.shape[1:3] == (33, 48)  # the base recipe's 224 is never trained
    told.clear()
    make_plan(options, progress=lambda size, done, total: told.append(size))
    assert told == []


def test_a_range_of_sizes_is_decoded_when_it_is_drawn(tiny_city: Path, tmp_path: Path) -> None:
    own = _write_space(tmp_path, 'trial.suggest_int("image_size", 34, 98, step=32)')
    told: set[tuple[int, int]] = set()
    settings = {"backbone.weights": "none", "batch.places": 4}
    options = SweepOptions(
        space=f"{own}", data=str(tiny_city), settings=settings, presets={"image_size": 51}
    )
    make_plan(options, progress=lambda size, done, total: told.add(size))
    assert told <= {(224, 224)}


def test_images_are_counted_once_more_without_what_is_unreadable(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = _write_space(tmp_path, 'trial.suggest_categorical("image_size", ["32", "40"])')
    opened = []

    def broken_at_40(table: Any, size: tuple[int, int], **_: Any) -> Any:
        opened.append(size)
        return SimpleNamespace(readable=np.full(table.num_rows, size[0] != 40), skipped=[])

    monkeypatch.setattr("vgray.orchestration.plan.open_store", broken_at_40)
    options = _options(tiny_city)
    settings = {key: value for key, value in options.settings.items() if key != "image_size"}
    with pytest.raises(UserError, match="none of its images can be read"):
        make_plan(replace(options, space=own, settings=settings))
    assert opened == [(32, 32), (40, 40)]


def test_weights_of_every_backbone_are_made_sure_of_once(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("vgray.models.ensure_network", lambda recipe: asked.append(recipe.backbone))
    settings = {"image_size": [64, 64], "batch.places": 4}
    plan = make_plan(SweepOptions(space="backbones", data=str(tiny_city), settings=settings))
    names = [backbone.name for backbone in asked]
    assert len(names) == len(set(names))
    assert set(names) >= {branch.choices["backbone.name"] for branch in plan.branches}
    assert {backbone.name: backbone.crop_last for backbone in asked}["resnet18"] == 0


def test_weights_that_fail_for_some_backbone_name_it(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_vgg(recipe: Recipe) -> None:
        if recipe.backbone.name == "vgg16":
            raise UserError("backbone.weights=pretrained: cannot be downloaded")

    monkeypatch.setattr("vgray.models.ensure_network", fail_for_vgg)
    monkeypatch.setattr("vgray.orchestration.plan.open_store", None)
    settings = {"image_size": [64, 64], "batch.places": 4}
    options = SweepOptions(space="backbones", data=str(tiny_city), settings=settings)
    with pytest.raises(UserError, match=r"^backbone vgg16: .*--set backbone\.weights=none"):
        make_plan(options)


def test_test_images_are_not_decoded(tiny_city: Path) -> None:
    plan = make_plan(_options(tiny_city))
    assert set(plan.manifest["split"].to_pylist()) == {"train", "val"}
    assert plan.store.pixels.shape == (plan.manifest.num_rows, 32, 32, 3)


def test_weights_are_found_from_other_folders(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    save_file(resnet18().state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    plan = make_plan(_options(tiny_city, settings={"backbone.weights": "weights.safetensors"}))
    recipe = plan.space.recipe(plan.base, plan.settings[0])
    assert recipe.backbone.weights == str(tmp_path / "weights.safetensors")
    assert plan.options.settings["backbone.weights"] == recipe.backbone.weights


def test_changed_data_is_refused_before_it_is_decoded(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgray.orchestration.plan.open_store", None)
    with pytest.raises(UserError, match="has changed since the run began"):
        make_plan(_options(tiny_city), resumed=_run(tmp_path / "run", fingerprint="another"))


def test_another_set_to_validate_on(tiny_city: Path, tmp_path: Path) -> None:
    train_only = tmp_path / "train_only"
    (train_only / "images").mkdir(parents=True)
    (train_only / "images" / "train").symlink_to(tiny_city / "images" / "train")
    with pytest.raises(UserError, match="--val DATA"):
        make_plan(_options(train_only))
    plan = make_plan(_options(train_only, val=str(tiny_city)))
    assert set(plan.manifest["split"].to_pylist()) == {"train", "val"}


def test_several_data_sets_are_options_too(tiny_city: Path, tmp_path: Path) -> None:
    more = generate(
        CitySettings(places=8, width=16, height=16, images_per_place=4, seed=5),
        tmp_path / "more",
        workers=1,
    )
    options = replace(_options(tiny_city), data=[str(tiny_city), str(more)])
    plan = make_plan(options)
    assert plan.options.data == (str(tiny_city), str(more))
    assert plan.options.data_text == f"{tiny_city}, {more}"
    one = make_plan(_options(tiny_city))
    assert one.options.data_text == str(tiny_city)
    assert plan.manifest.num_rows > one.manifest.num_rows
    assert plan.num_validation_images == one.num_validation_images


def test_options_are_read_as_any_version_wrote_them(tiny_city: Path, tmp_path: Path) -> None:
    plan = make_plan(_options(tiny_city, num_trials=5, finalists=2))
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / "recipe.json").write_text(json.dumps(describe_run(plan, ["tune"])))
    assert stored_options(run) == plan.options
    described = json.loads((run.path / "recipe.json").read_text())
    assert described["data"]["uri"] == str(tiny_city)
    options = described["options"]
    for new in ("sampler", "published_only", "warm_start", "finalists", "repeats"):
        del options[new]
    options["data"] = str(tiny_city)
    (run.path / "recipe.json").write_text(json.dumps(described))
    assert stored_options(run) == replace(plan.options, finalists=0)


def test_only_what_is_published(tiny_city: Path, tmp_path: Path) -> None:
    plan = make_plan(_options(tiny_city, published_only=True, num_trials=0, scheduler="none"))
    count = len(plan.space.published)
    assert count > 10
    assert plan.given == plan.space.published
    assert (plan.options.num_trials, plan.num_published) == (count, count)
    sgd = _options(tiny_city, published_only=True, num_trials=0, settings={"loss.name": "triplet"})
    assert make_plan(sgd).options.num_trials == count
    none = _write_space(tmp_path, 'trial.suggest_int("batch.places", 2, 4)')
    options = replace(_options(tiny_city), settings={"image_size": 32}, space=none)
    with pytest.raises(UserError, match=r"^--published-only: --space .* has no published settings"):
        make_plan(replace(options, published_only=True))


def test_a_grid_has_as_many_trials_as_settings(tiny_city: Path, tmp_path: Path) -> None:
    body = 'trial.suggest_int("batch.places", 2, 7)'
    published = '[{"batch.places": 4}, {"batch.places": 9}]'
    own = _write_space(tmp_path, body, published)
    settings = {"image_size": [32, 32], "backbone.weights": "none"}
    options = SweepOptions(own, str(tiny_city), settings=settings, sampler="grid", num_trials=0)
    plan = make_plan(options)
    assert [each["batch.places"] for each in plan.given] == [4, 2, 3, 5, 6, 7]
    assert (plan.options.num_trials, plan.num_published) == (6, 1)
    few, more = (make_plan(replace(options, num_trials=count)).given for count in (3, 4))
    assert few == more[:3]
    with pytest.raises(UserError, match="the grid has 6 settings"):
        make_plan(replace(options, num_trials=7))
    with pytest.raises(UserError, match=r"optimizer\.lr is drawn from a range"):
        make_plan(_options(tiny_city, sampler="grid"))


def test_there_are_no_more_finalists_than_trials(tiny_city: Path) -> None:
    plan = make_plan(_options(tiny_city, num_trials=3, finalists=3, repeats=2))
    assert plan.num_finalist_epochs == 3 * 2 * 9
    with pytest.raises(UserError, match="--finalists 4: there are only 3 trials"):
        make_plan(_options(tiny_city, num_trials=3, finalists=4))
    with pytest.raises(UserError, match="--repeats 0: each must be at least 1"):
        make_plan(_options(tiny_city, finalists=1, repeats=0))


def test_a_space_that_asks_too_much_of_the_data_is_named(tiny_city: Path, tmp_path: Path) -> None:
    own = _write_space(tmp_path, 'trial.suggest_categorical("batch.places", [4, 64])')
    options = SweepOptions(own, [str(tiny_city)], settings={"image_size": 32})
    with pytest.raises(
        UserError, match=r"^batch\.places: found 64, .*own\.py varies batch\.places"
    ):
        make_plan(options)


def test_what_may_be_given_anew_for_a_run(tiny_city: Path) -> None:
    options = _options(tiny_city, num_trials=3)
    assert options.extended(None, None, None) == options
    longer = options.extended(5, 2, 4)
    assert (longer.num_trials, longer.finalists, longer.repeats) == (5, 2, 4)
    assert longer.extended(None, None, 1).repeats == 1
    with pytest.raises(UserError, match=r"--repeats 2: .*give --finalists K"):
        options.extended(None, None, 2)
    with pytest.raises(UserError, match="--num-trials 5: the run tries what is published"):
        replace(options, published_only=True).extended(5, None, None)


def test_tuples_are_counted_with_what_is_described_to_mine_them(tiny_city: Path) -> None:
    places = make_plan(_options(tiny_city))
    assert places.images == (5, 5 * 4 * 4, 0)
    mining = {
        "mining.name": "partial",
        "mining.negatives": 2,
        "mining.pool_size": 7,
        "mining.tuples_per_batch": 2,
        "mining.cache_refresh_rate": 10,
        "mining.train_positive_distance_m": 25.0,
        "miner.name": "none",
    }
    plan = make_plan(_options(tiny_city, settings=mining))
    recipe = plan.branches[0].recipe
    queries = num_training_queries(plan.manifest, recipe).used
    refreshes = -(-queries // 10)
    assert queries > 10
    assert plan.images.steps == steps_per_epoch(plan.manifest, recipe)
    assert plan.images.trained == queries * (1 + 1 + 2)
    assert queries + refreshes * 7 < plan.images.mined < queries + refreshes * (10 * 6 + 7)
    speeds = Speeds(Speed(100.0, 200.0), [Speed(100.0, 200.0)] * len(plan.branches))
    seconds = plan.images.trained / 100
    seconds += (plan.num_validation_images + plan.images.mined) / 200
    assert speeds.seconds_per_epoch(plan) == pytest.approx(seconds)


def test_a_large_space_is_planned_in_seconds(tiny_city: Path, tmp_path: Path) -> None:
    names = {
        "loss.name": ["contrastive", "triplet", "circle", "ntxent", "supcon", "sare_joint"],
        "optimizer.name": ["sgd", "adam", "adamw", "radam"],
        "schedule.name": ["none", "cosine", "multistep", "plateau"],
        "attention.name": ["none", "cbam", "soa", "non_local"],
        "aggregator.name": ["gem", "netvlad", "boq", "seqpool"],
    }
    body = "; ".join(f'trial.suggest_categorical("{path}", {names[path]})' for path in names)
    settings = {**SMALL, "image_size": [64, 64], "miner.name": "none"}
    own = _write_space(tmp_path, body)
    started = time.perf_counter()
    plan = make_plan(SweepOptions(own, [str(tiny_city)], settings=settings))
    assert time.perf_counter() - started < 10
    assert [title for title, _ in plan.notes] == ["branches"]
    assert len(plan.branches) == sum(map(len, names.values()))


def test_a_space_of_few_settings_is_tried_once_and_whole(tiny_city: Path, tmp_path: Path) -> None:
    sizes = _write_space(tmp_path, 'trial.suggest_categorical("optimizer.name", ["adam", "sgd"])')
    plan = make_plan(replace(_options(tiny_city, num_trials=5), space=sizes))
    assert (plan.options.sampler, plan.options.num_trials, len(plan.given)) == ("grid", 2, 2)
    assert "grid" in dict(plan.notes)
    fewer = make_plan(replace(_options(tiny_city, num_trials=1), space=sizes))
    assert (fewer.options.sampler, fewer.options.num_trials) == ("tpe", 1)
    assert make_plan(_options(tiny_city, num_trials=50)).options.sampler == "tpe"


def test_published_settings_are_said_to_have_been_trained_longer(tiny_city: Path) -> None:
    plan = make_plan(_options(tiny_city, published_only=True, num_trials=0, scheduler="none"))
    (text,) = (text for title, text in plan.notes if title == "published")
    assert text.startswith("the studies trained ") and text.endswith(" are trained for 9")
    assert " for 10 epochs" in text
    ten = _options(tiny_city, published_only=True, num_trials=0, settings={"epochs": 10})
    assert "published" not in dict(make_plan(ten).notes)


def test_the_demo_presets_hold_for_tuples_and_places(tiny_city: Path) -> None:
    presets = {**DEMO_SETTINGS, **DEMO_TUPLE_SETTINGS, "image_size": [32, 32]}
    options = _options(tiny_city, num_trials=4, presets=presets)
    plan = make_plan(replace(options, space="mining"))
    assert {branch.recipe.mining.name for branch in plan.branches} == {"random", "partial", "full"}
    for branch in plan.branches:
        assert branch.recipe.mining.arguments()["queries_per_epoch"] == 128
    assert make_plan(options).base.mining.name == "none"
