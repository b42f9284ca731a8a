"""The trainer: it learns, and whatever interrupts it, it ends with the same numbers."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vgray import Recipe, UserError
from vgray.models import load_model
from vgray.training import (
    TrainingData,
    TrainingDiverged,
    best_checkpoint,
    run_folder,
    train,
)
from vgray.training import trainer as trainer_module
from vgray.training.losses import MinedLoss

MEASURED = {
    "seconds",
    "train_seconds",
    "images_per_s",
    "peak_memory_mb",
    "seconds_to_first_step",
    "mining_seconds",
}
TUPLES = {
    "miner.name": "none",
    "loss.name": "weak_triplet",
    "mining.name": "full",
    "mining.negatives": 3,
    "mining.pool_size": 10,
    "mining.queries_per_epoch": 24,
    "mining.cache_refresh_rate": 16,
}


def numbers(history: list[dict]) -> list[dict]:
    """Return the metrics without what depends on the clock."""
    return [{k: v for k, v in metrics.items() if k not in MEASURED} for metrics in history]


def epochs_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith("epoch-")}


@pytest.fixture
def trained(tmp_path: Path, tiny: Recipe, squares: TrainingData) -> tuple[Path, list[dict]]:
    folder = tmp_path / "trained"
    return folder, list(train(tiny, squares, folder, device="cpu"))


def test_metrics_and_checkpoints_of_a_training(
    trained: tuple[Path, list[dict]], tiny: Recipe
) -> None:
    folder, history = trained
    assert [metrics["epoch"] for metrics in history] == [1, 2, 3, 4]
    for metrics in history:
        assert metrics["num_batches"] == 3
        assert metrics["num_queries"] == 10
        assert metrics["recall@1_low"] <= metrics["recall@1"] <= metrics["recall@1_high"]
        assert metrics["recall@1"] <= metrics["recall@5"] <= metrics["recall@20"] == 100
        assert metrics["lr"] == tiny.optimizer.lr
        assert metrics["peak_memory_mb"] > 0
        assert metrics["threads"] == 1
        assert metrics["kept_positives"] > 0 and metrics["kept_negatives"] > 0
        assert all(isinstance(value, int | float) for value in metrics.values())
    assert "seconds_to_first_step" in history[0]
    best = max(history, key=lambda m: (m["recall@1"], -m["epoch"]))["epoch"]
    assert epochs_in(folder) == {"epoch-0003", "epoch-0004", f"epoch-{best:04d}"}
    assert best_checkpoint(folder) == folder / f"epoch-{best:04d}"
    assert load_model(best_checkpoint(folder)).recipe == tiny
    ranks = np.load(best_checkpoint(folder) / "ranks.npy")
    assert ranks.shape == (10,)
    assert 100 * np.mean(ranks == 0) == history[best - 1]["recall@1"]
    saved = json.loads((folder / "epoch-0004" / "metrics.json").read_text())
    assert saved["history"] == history


def test_training_lowers_the_loss(tmp_path: Path, tiny: Recipe, squares: TrainingData) -> None:
    recipe = tiny.with_settings({"optimizer.lr": 1e-3, "epochs": 6})
    history = list(train(recipe, squares, tmp_path, device="cpu", evaluate_untrained=True))
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert "recall@1_untrained" in history[0]
    assert "recall@1_untrained" not in history[1]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer.name": "sgd", "optimizer.lr": 0.01, "schedule.name": "plateau"},
        {
            "optimizer.name": "radam",
            "schedule.name": "cosine",
            "schedule.per": "step",
            "schedule.warmup_steps": 4,
            "augmentation": {"random_crop": {}, "colour_jitter": {}, "rand_augment": {}},
        },
        {**TUPLES, "augmentation.images": "queries", "augmentation.flip": {}},
    ],
)
def test_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, settings: dict
) -> None:
    recipe = tiny.with_settings(settings)
    whole = list(train(recipe, squares, tmp_path / "whole", device="cpu"))

    killed = train(recipe, squares, tmp_path / "killed", device="cpu")
    first = [next(killed), next(killed)]
    killed.close()
    torch.manual_seed(999)  # the process lives on and draws numbers
    again = list(train(recipe, squares, tmp_path / "killed", device="cpu"))

    assert again[:2] == first  # the same dicts, to the clock's last digit
    assert numbers(again) == numbers(whole)
    weights = [
        load_file(tmp_path / name / "epoch-0004" / "model.safetensors")
        for name in ("whole", "killed")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_killed_process_has_what_it_yielded(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, trained: tuple[Path, list[dict]]
) -> None:
    (tmp_path / "recipe.json").write_text(tiny.to_json())
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from conftest import make_data\n"
        "from vgray import Recipe\n"
        "from vgray.training import train\n"
        "folder = Path(sys.argv[1])\n"
        "recipe = Recipe.from_file(folder / 'recipe.json')\n"
        "run = train(recipe, make_data(), folder / 'killed', device='cpu', threads=1)\n"
        "for metrics in run:\n"
        "    if metrics['epoch'] == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path), here], check=False)
    assert ended.returncode == -9
    again = list(train(tiny, squares, tmp_path / "killed", device="cpu"))
    assert numbers(again) == numbers(trained[1])


@pytest.mark.parametrize("damage", ["cut", "changed", "no metrics", "no state", "half-written"])
def test_damaged_newest_checkpoint_costs_one_epoch(
    trained: tuple[Path, list[dict]], tiny: Recipe, squares: TrainingData, damage: str
) -> None:
    folder, history = trained
    newest = folder / "epoch-0004"
    model = newest / "model.safetensors"
    if damage == "cut":
        model.write_bytes(model.read_bytes()[:-100])
    elif damage == "changed":
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
    elif damage == "no metrics":
        (newest / "metrics.json").unlink()
    elif damage == "no state":
        (newest / "training_state.pt").unlink()
    else:
        newest.rename(folder / ".tmp-epoch-0004-1")
    again = list(train(tiny, squares, folder, device="cpu"))
    assert again[:3] == history[:3]
    assert numbers(again) == numbers(history)
    assert not list(folder.glob(".tmp-*"))
    assert load_model(folder / "epoch-0004").recipe == tiny


def test_with_every_checkpoint_damaged_it_starts_again(
    trained: tuple[Path, list[dict]], tiny: Recipe, squares: TrainingData
) -> None:
    folder, history = trained
    for name in epochs_in(folder):
        (folder / name / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint"):
        best_checkpoint(folder)
    assert numbers(list(train(tiny, squares, folder, device="cpu"))) == numbers(history)


def test_a_folder_of_another_training_is_refused(
    tmp_path: Path, tiny: Recipe, squares: TrainingData
) -> None:
    begun = train(tiny, squares, tmp_path, device="cpu")
    next(begun)
    begun.close()
    other = tiny.with_settings({"optimizer.lr": 0.5})
    with pytest.raises(UserError, match=r"optimizer\.lr was 0\.0001, now 0\.5"):
        next(train(other, squares, tmp_path, device="cpu"))
    changed = TrainingData(**{**vars(squares), "fingerprint": "another"})
    with pytest.raises(UserError, match="other data"):
        next(train(tiny, changed, tmp_path, device="cpu"))
    # `auto` goes on in the precision that was settled when training began.
    next(train(tiny.with_settings({"precision": "auto"}), squares, tmp_path, device="cpu"))


def test_a_training_on_tuples_tells_of_its_mining(
    tmp_path: Path, tiny: Recipe, squares: TrainingData
) -> None:
    recipe = tiny.with_settings({**TUPLES, "epochs": 2, "optimizer.lr": 1e-3})
    first, second = train(recipe, squares, tmp_path, device="cpu")
    assert second["loss"] < first["loss"]
    for metrics in (first, second):
        assert metrics["num_batches"] == 4 + 2  # of 16 and 8 queries, 4 at a time
        assert metrics["num_tuples"] == 24
        assert metrics["dropped_queries"] == 0
        assert 0 <= metrics["violating_tuples"] <= 100
        assert 0 < metrics["mining_seconds"] < metrics["seconds"]
        assert 10 <= metrics["mining_pool"] <= 10 + 3
        assert 2 * 20 < metrics["mining_described"] <= 24 + 2 * 72
        assert not any(key.startswith("kept") for key in metrics)
        assert "note" not in metrics


def test_what_is_cut_down_to_the_data_is_said_once(
    tmp_path: Path, tiny: Recipe, squares: TrainingData
) -> None:
    recipe = tiny.with_settings({**TUPLES, "mining.pool_size": 1000, "epochs": 2})
    begun = train(recipe, squares, tmp_path, device="cpu")
    assert next(begun)["note"] == "cut down to the data: pool_size 1000 to 72"
    begun.close()
    first, second = train(recipe, squares, tmp_path, device="cpu")
    assert "note" in first and "note" not in second


@pytest.mark.parametrize("loss", ["multi_similarity", "solar", "hphn"])
def test_every_kind_of_loss_trains_on_tuples(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, loss: str
) -> None:
    recipe = tiny.with_settings(
        {**TUPLES, "mining.name": "partial", "mining.positives": 2, "loss.name": loss, "epochs": 1}
    )
    (metrics,) = train(recipe, squares, tmp_path, device="cpu")
    assert metrics["loss"] > 0


def test_the_seed_decides(tmp_path: Path, tiny: Recipe, squares: TrainingData) -> None:
    recipe = tiny.with_settings({"epochs": 1, "augmentation": {"random_crop": {}, "flip": {}}})
    one, again, other = (
        numbers(list(train(recipe.with_settings({"seed": seed}), squares, tmp_path / name)))
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again
    assert one[0]["loss"] != other[0]["loss"]


def test_training_starts_from_the_weights_of_a_checkpoint(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, trained: tuple[Path, list[dict]]
) -> None:
    start = best_checkpoint(trained[0])
    recipe = tiny.with_settings({"init_from": str(start), "epochs": 1})
    (metrics,) = train(recipe, squares, tmp_path / "on", evaluate_untrained=True)
    assert metrics["epoch"] == 1
    ranks = np.load(start / "ranks.npy")
    assert metrics["recall@1_untrained"] == 100 * np.mean(ranks == 0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_divergence_ends_training_at_once(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, optimizer: str
) -> None:
    recipe = tiny.with_settings(
        {"optimizer.name": optimizer, "optimizer.lr": 1.0, "projection": {"dim": 8}}
    )
    run = train(recipe, squares, tmp_path, device="cpu")
    good = trainer_module.compute_loss

    def bad(*args: Any) -> MinedLoss:
        mined = good(*args)
        return mined._replace(value=mined.value * float("nan"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "compute_loss", bad)
        with pytest.raises(TrainingDiverged) as caught:
            next(run)
    message = str(caught.value)
    assert message.startswith("epoch 1, step 1: the loss is nan")
    assert f"optimizer {optimizer}, optimizer.lr 1" in message
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_non_finite_gradient_or_descriptor_is_divergence(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny, squares, tmp_path, device="cpu")
    monkeypatch.setattr(
        trainer_module.Trainer, "_gradient_size", lambda self: torch.tensor(float("inf"))
    )
    with pytest.raises(TrainingDiverged, match="a gradient is not finite"):
        next(run)
    monkeypatch.undo()

    class Broken(torch.optim.SGD):
        def step(self, closure: None = None) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data.fill_(float("nan"))

    monkeypatch.setitem(
        __import__("vgray.training", fromlist=["OPTIMIZERS"]).OPTIMIZERS, "sgd", Broken
    )
    recipe = tiny.with_settings({"optimizer.name": "sgd", "batch.places": 24})  # one batch
    with pytest.raises(TrainingDiverged, match="a descriptor is not finite"):
        next(train(recipe, squares, tmp_path, device="cpu"))


def test_batches_that_do_not_fit_the_data(
    tmp_path: Path, tiny: Recipe, squares: TrainingData
) -> None:
    with pytest.raises(UserError, match=r"batch\.min_images_per_place"):
        recipe = tiny.with_settings({"batch.min_images_per_place": 6})
        next(train(recipe, squares, tmp_path, device="cpu"))
    with pytest.raises(UserError, match="nothing in the network learns"):
        recipe = tiny.with_settings({"backbone.train_from": 3, "aggregator.name": "avg"})
        next(train(recipe, squares, tmp_path, device="cpu"))
    with pytest.raises(ValueError, match="images of"):
        next(train(tiny.with_settings({"image_size": [64, 64]}), squares, tmp_path, device="cpu"))
    with pytest.raises(ValueError, match="positives within"):
        recipe = tiny.with_settings({"evaluation.distance_m": 10})
        next(train(recipe, squares, tmp_path, device="cpu"))


def test_memory_threads_and_progress(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = []
    build = trainer_module.Network

    def remember(recipe: Recipe, **options: bool) -> torch.nn.Module:
        network = build(recipe, **options)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(trainer_module, "Network", remember)
    steps: list[tuple[int, int, int, int]] = []
    before = torch.get_num_threads()
    gc.disable()  # a trial that follows at once must not wait for the collector
    try:
        run = train(
            tiny, squares, tmp_path, device="cpu", threads=1, progress=lambda *s: steps.append(s)
        )
        next(run)
        assert torch.get_num_threads() == 1
        run.close()
        assert networks[0]() is None
    finally:
        gc.enable()
    assert torch.get_num_threads() == before
    assert steps == [(1, 1, 3, 32), (1, 2, 3, 64), (1, 3, 3, 96)]


def test_bfloat16_trains_and_its_checkpoint_says_so(
    tmp_path: Path, tiny: Recipe, squares: TrainingData
) -> None:
    recipe = tiny.with_settings({"precision": "bfloat16", "epochs": 1})
    (metrics,) = train(recipe, squares, tmp_path, device="cpu")
    assert np.isfinite(metrics["loss"])
    assert load_model(best_checkpoint(tmp_path)).recipe.precision == "bfloat16"


@pytest.mark.gpu
def test_training_on_a_gpu(tmp_path: Path, tiny: Recipe, squares: TrainingData) -> None:
    recipe = tiny.with_settings({"precision": "auto", "augmentation": {"colour_jitter": {}}})
    history = list(train(recipe, squares, tmp_path, device="cuda"))
    assert len(history) == 4
    assert torch.cuda.memory_allocated() < 20e6
    load_model(best_checkpoint(tmp_path), "cuda")


def test_one_process_at_a_time_trains_in_a_folder(
    squares: TrainingData, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "LOCK_TIMEOUT_S", 0.1)
    run = train(tiny, squares, tmp_path)
    next(run)
    with pytest.raises(OSError, match="another process trains in this folder"):
        next(train(tiny, squares, tmp_path))
    run.close()
    next(train(tiny, squares, tmp_path))


def test_places_that_are_all_near_are_said(
    squares: TrainingData, tiny: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"batch\.min_distance_m: no two places .* 99999 m apart"):
        next(train(tiny.with_settings({"batch.min_distance_m": 99999}), squares, tmp_path))
