"""The line that is printed of an epoch."""

from vgray import Recipe
from vgray.training.epochs import epoch_line

METRICS = {
    "epoch": 2,
    "loss": 0.5,
    "lr": 1e-4,
    "recall@1": 50.0,
    "recall@5": 60.0,
    "recall@10": 70.0,
    "recall@20": 80.0,
    "recall@1_low": 40.0,
    "recall@1_high": 60.0,
    "images_per_s": 12.0,
    "seconds": 3.0,
}


def test_mining_is_told_of_where_there_is_some() -> None:
    recipe = Recipe().with_settings({"epochs": 4, "evaluation.recall_at": [1, 5, 10, 20]})
    line = epoch_line(METRICS, recipe)
    assert line == (
        "epoch 2/4: loss 0.5000, lr 0.0001, recall @1 50.0 @5 60.0 @10 70.0 @20 80.0 "
        "(@1 in [40.0, 60.0]), 12 images/s, 3.0 s"
    )
    mined = {"mining_seconds": 1.0, "mining_described": 300, "violating_tuples": 20.0}
    random = epoch_line({**METRICS, **mined, "mining_pool": 0.0}, recipe)
    assert random == f"{line}, mining 1.0 s, 300 images described, 20 % of tuples violating"
    partial = epoch_line({**METRICS, **mined, "mining_pool": 100.0}, recipe)
    assert partial == random.replace("1.0 s, 300", "1.0 s in pools of 100, 300")
