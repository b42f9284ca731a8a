"""Training on mined tuples."""

from pathlib import Path

import pytest
from histories import TUPLES

from vgray import Recipe
from vgray.training import TrainingData, train


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
