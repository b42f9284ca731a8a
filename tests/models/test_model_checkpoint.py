"""Checkpoints: exact, whole or absent, and never a pickle."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

import vgray
from vgray import Recipe, UserError
from vgray.models import Network, checkpoint, save_checkpoint
from vgray.models.checkpoint import load_model


@pytest.fixture
def network() -> Network:
    return Network(
        Recipe.from_dict(
            {
                "image_size": [32, 32],
                "backbone": {"name": "resnet18", "weights": "none", "crop_last": 2},
                "projection": {"dim": 4},
            }
        )
    )


def test_a_loaded_model_is_the_saved_one(tmp_path: Path, network: Network) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    network(images)  # moves the statistics
    folder = save_checkpoint(tmp_path / "model", network, {"recall@1": 50.0}, {"epoch": 3})
    assert {file.name for file in folder.iterdir()} == {
        "model.safetensors", "recipe.json", "metrics.json", "training_state.pt",
    }  # fmt: skip
    loaded = vgray.load_model(folder, device="cpu")
    assert not loaded.training
    assert loaded.recipe == network.recipe
    assert torch.equal(loaded.describe(images), network.describe(images))
    assert json.loads((folder / "metrics.json").read_text())["recall@1"] == 50.0
    state = torch.load(folder / "training_state.pt", weights_only=True)
    assert state == {"epoch": 3}


def test_loading_downloads_nothing(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.recipe = network.recipe.with_settings({"backbone.weights": "pretrained"})
    folder = save_checkpoint(tmp_path / "model", network, {})
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    monkeypatch.setattr(torch, "load", None)  # nor is a pickle read
    assert load_model(folder).recipe.backbone.weights == "pretrained"


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json", "metrics.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed"])
def test_damage_is_one_line_that_names_the_file(
    tmp_path: Path, network: Network, name: str, damage: str
) -> None:
    folder = save_checkpoint(tmp_path / "model", network, {"recall@1": 1.0})
    file = folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(content[:-20])
    else:
        file.write_bytes(content.replace(b":", b";", 3))
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_other_mistakes(tmp_path: Path, network: Network) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_model(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"metrics\.json is missing"):
        load_model(tmp_path / "empty")
    network.recipe = network.recipe.with_settings({"projection.dim": 5})
    folder = save_checkpoint(tmp_path / "model", network, {})
    with pytest.raises(UserError, match="does not fit"):
        load_model(folder)


def test_a_checkpoint_made_before_there_were_other_networks_loads(
    tmp_path: Path, network: Network
) -> None:
    folder = save_checkpoint(tmp_path / "model", network, {})
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    recipe = json.loads((folder / "recipe.json").read_text())
    for family in ("attention", "multi_scale"):
        del recipe[family]
    del recipe["backbone"]["update_frozen_statistics"]
    recipe["backbone"]["weights"] = "imagenet"
    (folder / "recipe.json").write_text(json.dumps(recipe))
    metrics = json.loads((folder / "metrics.json").read_text())
    digest = hashlib.sha256((folder / "recipe.json").read_bytes()).hexdigest()
    metrics["sha256"]["recipe.json"] = digest
    (folder / "metrics.json").write_text(json.dumps(metrics))
    loaded = load_model(folder, "cpu")
    assert loaded.recipe.backbone.weights == "pretrained"
    assert torch.equal(loaded.describe(images), network.describe(images))


def test_a_model_needs_no_training_state(tmp_path: Path, network: Network) -> None:
    folder = save_checkpoint(tmp_path / "model", network, {}, {"epoch": 1})
    (folder / "training_state.pt").unlink()
    load_model(folder)


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_checkpoint(tmp_path / "model", network, {"n": 1})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(folder, network, {"n": 2})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load_model(folder)
    save_checkpoint(folder, network, {"n": 2})
    assert json.loads((folder / "metrics.json").read_text())["n"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_bfloat16_model_runs_in_float32_where_there_is_no_bfloat16(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.recipe = network.recipe.with_settings({"precision": "bfloat16"})
    folder = save_checkpoint(tmp_path / "model", network, {})
    for has in (True, False):
        monkeypatch.setattr(checkpoint, "has_bfloat16", lambda device, has=has: has)
        assert load_model(folder, "cpu").half_precision is has
