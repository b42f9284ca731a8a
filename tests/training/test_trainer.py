"""The trainer: it learns, and its metrics and checkpoints tell what it did."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from histories import epochs_in, numbers

from vgray import Recipe
from vgray.models import load_model
from vgray.training import TrainingData, best_checkpoint, train
from vgray.training import trainer as trainer_module


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
