"""A plan: everything that is settled before a sweep starts."""

from pathlib import Path
from typing import Any

import pytest

from vgray.errors import UserError
from vgray.orchestration.plan import SweepOptions, make_plan

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
    assert (plan.grace, plan.steps_per_epoch) == (3, 6)  # 21 places in batches of 4
    warmup = {"schedule.name": "cosine", "schedule.warmup_steps": 30}
    assert make_plan(_options(tiny_city, settings=warmup)).grace == 5
    assert make_plan(_options(tiny_city, grace=8)).options.grace == 8


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
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgray.orchestration.plan.open_store", None)
    with pytest.raises(UserError, match="has changed since the run began"):
        make_plan(_options(tiny_city), known_fingerprint="another")


def test_another_set_to_validate_on(tiny_city: Path, tmp_path: Path) -> None:
    train_only = tmp_path / "train_only"
    (train_only / "images").mkdir(parents=True)
    (train_only / "images" / "train").symlink_to(tiny_city / "images" / "train")
    with pytest.raises(UserError, match="--val DATA"):
        make_plan(_options(train_only))
    plan = make_plan(_options(train_only, val=str(tiny_city)))
    assert set(plan.manifest["split"].to_pylist()) == {"train", "val"}
