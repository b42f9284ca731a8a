"""The recipe: validated, frozen, exact in JSON, and in step with the registries."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vgray import Recipe, UserError, recipe
from vgray.settings import flatten_settings, settings_in


def families() -> dict[str, tuple[Any, dict[str, type], set[str]]]:
    """Return of each family: its union of settings, its registry, and arguments that are added."""
    from vgray import models, training

    schedule = {"optimizer", "epochs", "steps_per_epoch"}
    return {
        "backbone": (recipe.Backbone, models.BACKBONES, set()),
        "aggregator": (recipe.Aggregator, models.AGGREGATORS, set()),
        "loss": (recipe.Loss, training.LOSSES, set()),
        "miner": (recipe.Miner, training.MINERS, set()),
        "optimizer": (recipe.Optimizer, training.OPTIMIZERS, {"params"}),
        "schedule": (recipe.Schedule, training.SCHEDULES, schedule),
    }


FAMILIES = ["backbone", "aggregator", "loss", "miner", "optimizer", "schedule"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_has_a_class_that_takes_its_settings(family: str) -> None:
    union, registry, added = families()[family]
    settings = {cls.model_fields["name"].default: cls for cls in settings_in(union)}
    assert set(settings) == set(registry)
    for name, cls in settings.items():
        arguments = cls().arguments()
        signature = inspect.signature(registry[name])
        signature.bind(**arguments, **dict.fromkeys(added))
        assert set(arguments) <= set(signature.parameters), name  # not by way of **kwargs


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_name_lists_the_known_ones(family: str) -> None:
    _, registry, _ = families()[family]
    typo = next(iter(registry))[:-1] + "x"
    with pytest.raises(UserError) as caught:
        Recipe().with_settings({f"{family}.name": typo})
    message = str(caught.value)
    assert message.startswith(f"{family}.name: found '{typo}'")
    assert all(name in message for name in registry)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer.lrr": 1}, "optimizer.lrr: no such setting"),
        ({"optimizer.momentum": 0.9}, "optimizer.momentum: no such setting"),
        ({"optimizer.lr": -1}, "optimizer.lr: found -1"),
        ({"optimizer.lr": "much"}, "optimizer.lr: found 'much'"),
        ({"optimizer.lr": float("nan")}, "optimizer.lr: found nan"),
        ({"optimizers.lr": 1}, "did you mean 'optimizer'"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"epochs": True}, "epochs: found True; give a number"),
        ({"schedule.name": "multistep", "schedule.milestones": [True]}, "found [True]; give"),
        ({"optimizer.weight_decay": False}, "optimizer.weight_decay: found False"),
        ({"epochs": 1.5}, "epochs: found 1.5"),
        ({"image_size": [64]}, "image_size"),
        ({"seed": -1}, "seed: found -1"),
        ({"backbone.crop_last": 4}, "backbone.crop_last: found 4"),
        ({"backbone.train_from": 5}, "train_from is 0 to 4"),
        ({"batch.min_images_per_place": 2}, "batch.images_per_place 4"),
        ({"evaluation.recall_at": [5, 10]}, "must contain 1"),
        ({"schedule.t_max": 5}, "schedule.t_max: no such setting"),
        ({"precision": "float16"}, "precision: found 'float16'"),
        ({"epochs.name": 3}, "'epochs' is 10"),
    ],
)
def test_what_is_refused_names_path_and_value(settings: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe().with_settings(settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipes_are_frozen_and_equal_by_value() -> None:
    one = Recipe().with_settings({"optimizer.name": "sgd", "optimizer.momentum": 0.5})
    assert one == Recipe.from_dict(one.to_dict())
    assert hash(one) == hash(Recipe.from_dict(one.to_dict()))
    with pytest.raises(ValidationError):
        one.epochs = 3  # type: ignore[misc]


def test_json_is_exact() -> None:
    made = Recipe().with_settings(
        {
            "optimizer.lr": 0.1 + 0.2,
            "schedule.name": "multistep",
            "schedule.milestones": [3, 7],
            "projection.dim": 64,
            "augmentation.colour_jitter.hue": 0.1,
        }
    )
    again = Recipe.from_dict(json.loads(made.to_json()))
    assert again == made
    assert again.optimizer.lr == 0.30000000000000004
    assert Recipe().with_settings(flatten_settings(made.to_dict())) == made


def test_a_new_name_starts_from_its_own_defaults() -> None:
    adam = Recipe().with_settings({"optimizer.lr": 5e-4, "optimizer.weight_decay": 0.1})
    sgd = adam.with_settings({"optimizer.momentum": 0.8, "optimizer.name": "sgd"})
    assert sgd.optimizer == recipe.SGD(momentum=0.8)
    assert adam.with_settings({"optimizer.name": "adam"}) == adam


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(Recipe().to_json())
    assert Recipe.from_file(file) == Recipe()
    for content, message in (("{", "not JSON"), ("[]", "found a list"), ('{"a": 1}', "a: no such")):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            Recipe.from_file(file)
    with pytest.raises(UserError, match="cannot be read"):
        Recipe.from_file(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import vgray; vgray.Recipe()", "torch"),
        ("import vgray.training, vgray.retrieval, vgray.models", "ray"),
    ],
)
def test_what_an_import_does_not_bring(code: str, absent: str) -> None:
    code = f"import sys; {code}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_front_door() -> None:
    import vgray

    assert callable(vgray.load_model)
    assert callable(vgray.load_manifest)
    assert "gem" in vgray.models.AGGREGATORS
    assert callable(vgray.retrieval.positives_within)
    assert "triplet" in vgray.training.LOSSES
    with pytest.raises(AttributeError, match="no attribute 'load_modal'"):
        _ = vgray.load_modal
