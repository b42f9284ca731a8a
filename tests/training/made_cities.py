"""Made-up cities to mine in, and descriptors that are random."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vgray.places.train_split import TrainSplit
from vgray.places.tuples import described_per_epoch, find_candidates
from vgray.recipe.losses import (
    FullMining,
    Mining,
    MslsWeightedMining,
    NoMining,
    PartialMining,
    RandomMining,
)
from vgray.training.mining import TupleMiner

MININGS = {
    "random": RandomMining,
    "partial": PartialMining,
    "full": FullMining,
    "msls_weighted": MslsWeightedMining,
}
SMALL = {"negatives": 5, "tuples_per_batch": 4, "queries_per_epoch": 20, "cache_refresh_rate": 8}


def mining(name: str, **settings: float) -> Mining:
    if name == "random":
        settings.pop("pool_size", None)
    return MININGS[name](**{**SMALL, **settings})  # type: ignore[return-value, arg-type]


def make_city(
    seed: int = 0, queries: int = 40, database: int = 60, side_m: float = 100
) -> TrainSplit:
    """Return the data with another training split: images anywhere in a square, in any order."""
    rng = np.random.default_rng(seed)
    size = queries + database
    is_query = rng.permutation(size) < queries
    return TrainSplit(
        rows=np.arange(size),
        place_ids=np.arange(size),
        positions_m=rng.uniform(0, side_m, (size, 2)),
        is_query=is_query,
        is_database=~is_query,
        is_night=is_query & (rng.random(size) < 0.5),
        is_sideways=is_query,
    )


def line(queries: list[float], database: list[float]) -> TrainSplit:
    """Return the data with a training split along a road."""
    east = np.array([*queries, *database])
    size = len(east)
    is_query = np.arange(size) < len(queries)
    return TrainSplit(
        rows=np.arange(size),
        place_ids=np.arange(size),
        positions_m=np.stack([east, np.zeros(size)], axis=1),
        is_query=is_query,
        is_database=~is_query,
        is_night=is_query,
        is_sideways=is_query,
    )


def most_described(data: TrainSplit, made: Mining) -> int:
    assert not isinstance(made, NoMining)
    candidates = find_candidates(
        data.positions_m,
        data.is_query,
        data.is_database,
        positive_distance_m=made.train_positive_distance_m,
        soft_distance_m=made.soft_positive_distance_m,
    )
    return described_per_epoch(candidates, made)


class Describer:
    """Random descriptors, others in every refresh, and what was asked for."""

    def __init__(self, size: int, seed: int = 0, changes: bool = True) -> None:
        self.rng = np.random.default_rng([99, seed])
        self.size, self.changes = size, changes
        self.calls: list[NDArray[np.int64]] = []
        self.table = self.made()

    def made(self) -> NDArray[np.float32]:
        return self.rng.standard_normal((self.size, 8)).astype(np.float32)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        self.calls.append(rows)
        if self.changes:
            self.table = self.made()
        return self.table[rows]

    def distances(self, query: int, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        return np.linalg.norm(self.table[rows].astype(np.float64) - self.table[query], axis=1)


def tuples_of(miner: TupleMiner, epoch: int, describe: Describer) -> Iterator[NDArray[np.int64]]:
    """Yield each tuple while the table is still that of its refresh."""
    size = 1 + miner.positives + miner.negatives + miner.others
    for batch in miner.epoch(epoch, describe):
        yield from batch.reshape(-1, size)


def gaps(data: TrainSplit, one: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the metres from an image to others."""
    return np.linalg.norm(data.positions_m[others] - data.positions_m[one], axis=1)


def in_order(rows: NDArray[np.int64], distances: NDArray[np.floating]) -> list[int]:
    return rows[np.argsort(distances, kind="stable")].tolist()
