"""What an epoch is said to describe against what a miner describes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from vgray import Recipe
from vgray.orchestration.epoch_images import images_per_epoch
from vgray.places import TrainSplit, load_training_data
from vgray.training.mining import TupleMiner


@pytest.mark.parametrize("name", ["random", "partial", "full", "msls_weighted"])
@pytest.mark.parametrize("refresh", [7, 1000])
@pytest.mark.parametrize("pool", [3, 1000])
def test_no_more_is_described_than_is_foreseen(
    tiny_city: Path, name: str, refresh: int, pool: int
) -> None:
    settings = {
        "miner.name": "none",
        "mining.name": name,
        "mining.cache_refresh_rate": refresh,
        "mining.negatives": 2,
        "mining.train_positive_distance_m": 20.0,
    }
    if name != "random":
        settings["mining.pool_size"] = pool
    recipe = Recipe().with_settings(settings)
    table = load_training_data([str(tiny_city)])
    at_night = [path.replace("@@.jpg", "@night@.jpg") for path in table["path"].to_pylist()]
    table = table.set_column(table.column_names.index("path"), "path", pa.array(at_night))
    train = TrainSplit.of(table)
    described = 0

    def describe(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        nonlocal described
        described += len(rows)
        return np.random.default_rng(0).standard_normal((len(rows), 4)).astype(np.float32)

    (images,) = images_per_epoch(table, [recipe])
    miner = TupleMiner(recipe.mining, train, seed=0)
    for epoch in (1, 2, 3):
        described = 0
        list(miner.epoch(epoch, describe))
        assert described == miner.metrics()["mining_described"]
        assert described <= images.mined <= 3 * described
