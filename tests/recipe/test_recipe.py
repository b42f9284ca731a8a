"""The recipe: validated, frozen, exact in JSON, and in step with the registries."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vgray import Recipe, UserError
from vgray.recipe import losses, networks
from vgray.recipe import training as training_settings
from vgray.recipe.training import SGD
from vgray.settings import flatten_settings, known_names, settings_in


def families() -> dict[str, tuple[Any, dict[str, type], set[str]]]:
    """Return of each family: its union of settings, its registry, and arguments that are added."""
    from vgray import models, training

    schedule = {"optimizer", "epochs", "steps_per_epoch"}
    return {
        "backbone": (networks.Backbone, models.BACKBONES, {"name", "image_size"}),
        "attention": (networks.Attention, models.ATTENTION, {"channels"}),
        "aggregator": (networks.Aggregator, models.AGGREGATORS, set()),
        "loss": (losses.Loss, training.LOSSES, set()),
        "miner": (losses.Miner, training.MINERS, set()),
        "optimizer": (training_settings.Optimizer, training.OPTIMIZERS, {"params"}),
        "schedule": (training_settings.Schedule, training.SCHEDULES, schedule),
    }


FAMILIES = ["backbone", "attention", "aggregator", "loss", "miner", "optimizer", "schedule"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_has_a_class_that_takes_its_settings(family: str) -> None:
    union, registry, added = families()[family]
    settings = {name: cls for cls in settings_in(union) for name in known_names(cls)}
    settings = {name.removesuffix("/..."): cls for name, cls in settings.items()}
    assert set(settings) == set(registry)
    for name, cls in settings.items():
        made = cls(name=name if name != "timm" else "timm/resnet18")
        signature = inspect.signature(registry[name])
        signature.bind(**made.arguments(), **dict.fromkeys(added))
        assert set(made.arguments()) <= set(signature.parameters), name  # not by way of **kwargs


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_name_lists_the_known_ones(family: str) -> None:
    _, registry, _ = families()[family]
    typo = next(name for name in registry if name != "none")[:-1] + "x"
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
        ({"backbone.train_from": 5}, "backbone.train_from: found 5, but with crop_last 1 4 blocks"),
        ({"backbone.name": "timm/"}, "backbone.name: found 'timm/'; it should match"),
        ({"backbone.final_norm": True}, "backbone.final_norm: no such setting"),
        ({"image_size": "big"}, "image_size: found 'big'; give height and width, as in 480x640"),
        ({"image_size": True}, "image_size: found True"),
        (
            {"aggregator.name": "netvlad", "aggregator.clusters_num": True},
            "clusters_num: found True",
        ),
        (
            {"aggregator.name": "netvlad", "aggregator.normalize_input": 3},
            "normalize_input: found 3",
        ),
        ({"aggregator.name": "boq", "aggregator.proj_channels": 100}, "proj_channels: found 100"),
        ({"multi_scale.name": "average", "multi_scale.p": 2}, "multi_scale.p: no such setting"),
        ({"multi_scale.name": "average", "multi_scale.scales": []}, "multi_scale.scales: found []"),
        ({"batch.min_images_per_place": 2}, "batch.images_per_place 4"),
        ({"evaluation.recall_at": [5, 10]}, "must contain 1"),
        ({"evaluation.night_below": 256}, "evaluation.night_below: found 256"),
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
    assert sgd.optimizer == SGD(momentum=0.8)
    assert adam.with_settings({"optimizer.name": "adam"}) == adam


def test_image_sizes_may_be_numbers_and_texts() -> None:
    for given, size in ((320, (320, 320)), ("320", (320, 320)), ("480x640", (480, 640))):
        recipe = Recipe().with_settings({"image_size": given})
        assert recipe.image_size == size
        assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe


def test_true_and_false_are_for_settings_that_are_true_or_false() -> None:
    recipe = Recipe().with_settings({"backbone.update_frozen_statistics": False})
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert not recipe.backbone.arguments()["update_frozen_statistics"]


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


def test_a_recipe_needs_no_torch() -> None:
    code = "import sys; import vgray; vgray.Recipe(); sys.exit('torch' in sys.modules)"
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
