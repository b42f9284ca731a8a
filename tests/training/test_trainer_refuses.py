"""Where the trainer stops: divergence, and what it refuses to train on or in."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vgray import Recipe, UserError
from vgray.training import TrainingData, TrainingDiverged, run_folder, train
from vgray.training import trainer as trainer_module
from vgray.training.losses import MinedLoss


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


def test_places_that_are_all_near_are_said(
    squares: TrainingData, tiny: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"batch\.min_distance_m: no two places .* 99999 m apart"):
        next(train(tiny.with_settings({"batch.min_distance_m": 99999}), squares, tmp_path))


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
