"""What is said of an epoch, above all of one in which nothing is learned."""

from pathlib import Path

import pytest
import torch

from vgray import Recipe
from vgray.training import TrainingData, train
from vgray.training.tally import Tally

NOTHING = {"miner.name": "pair_margin", "miner.pos_margin": 2.0, "miner.neg_margin": 0.0}
LOOSE = "loosen it, or give miner.name none"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (NOTHING, f"the miner pair_margin kept nothing in any batch; {LOOSE}"),
        (
            {**NOTHING, "miner.neg_margin": 2.0, "loss.name": "solar"},
            "the miner pair_margin kept negative pairs only, of which the loss solar makes "
            f"nothing; {LOOSE}",
        ),
        (
            {**NOTHING, "miner.pos_margin": 0.0, "loss.name": "ntxent"},
            "the miner pair_margin kept positive pairs only, of which the loss ntxent makes "
            f"nothing; {LOOSE}",
        ),
        (
            {
                "mining.name": "random",
                "miner.name": "none",
                "loss.name": "contrastive",
                "loss.pos_margin": 2.0,
                "loss.neg_margin": 0.0,
            },
            "the loss contrastive makes nothing of any tuple of mining random, as no pair or "
            "triplet violates its margin; give a stricter margin, or harder negatives",
        ),
        (
            {
                "miner.name": "multi_similarity",
                "loss.name": "contrastive",
                "loss.pos_margin": 2.0,
                "loss.neg_margin": 0.0,
            },
            "the loss contrastive makes nothing of what the miner multi_similarity kept, as no "
            "pair or triplet violates its margin; give a stricter margin, or another miner",
        ),
    ],
)
def test_an_epoch_that_teaches_nothing_is_said_once(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, settings: dict, why: str
) -> None:
    recipe = tiny.with_settings({**settings, "epochs": 2})
    first, second = train(recipe, squares, tmp_path, device="cpu")
    assert first["loss"] == second["loss"] == 0
    assert first["warning"] == f"nothing was learned in this epoch: {why}"
    assert "warning" not in second


def test_nothing_is_said_of_an_epoch_with_a_single_gradient(tiny: Recipe) -> None:
    tally = Tally(tiny.with_settings({"miner.name": "pair_margin"}))
    kept = {"positives": 0, "negatives": 3}
    descriptors = torch.zeros(4, 2)
    tally.add(0.0, 0.0, kept, descriptors, None)
    assert "negative pairs only" in tally.metrics()["warning"]
    tally.add(1.0, 0.1, {"positives": 4, "negatives": 1}, descriptors, None)
    assert tally.num_images == 8
    assert tally.metrics() == {
        "loss": 0.5,
        "num_batches": 2,
        "kept_positives": 2,
        "kept_negatives": 2,
    }
