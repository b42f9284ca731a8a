"""Mined tuples against brute force, in made-up cities whose descriptors are random."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
from vgray.training import TrainingData
from vgray.training import mining as mining_module
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


@pytest.mark.parametrize("name", MININGS)
@pytest.mark.parametrize("positives", [1, 3])
def test_positives_are_the_nearest_and_negatives_the_hardest(name: str, positives: int) -> None:
    data = make_city()
    # With a pool as large as the database, both kinds of pool are all of it.
    miner = TupleMiner(mining(name, pool_size=60, positives=positives), data, seed=3)
    describe = Describer(100)
    database = np.flatnonzero(data.is_database)
    seen = repeated = 0
    for query, *rest in tuples_of(miner, 1, describe):
        assert data.is_query[query]
        near = database[gaps(data, query, database) <= 10]
        best = in_order(near, describe.distances(query, near))[:positives]
        repeated += len(best) < positives
        assert rest[:positives] == best + best[:1] * (positives - len(best))
        far = database[gaps(data, query, database) > 25]
        negatives = rest[positives:]
        assert set(negatives) <= set(far.tolist())
        if name != "random":
            assert negatives == in_order(far, describe.distances(query, far))[:5]
        seen += 1
    assert seen == 20
    assert len(describe.calls) == 3
    assert repeated > 0 or positives == 1
    assert miner.metrics()["num_tuples"] == 20


@pytest.mark.parametrize("name", ["partial", "msls_weighted"])
def test_all_queries_of_a_refresh_share_a_pool(name: str) -> None:
    data = make_city()
    miner = TupleMiner(mining(name, pool_size=25, queries_per_epoch=8, negatives=4), data, seed=1)
    describe = Describer(100)
    tuples = list(tuples_of(miner, 1, describe))
    (described,) = describe.calls
    assert miner.negatives == 4
    pool = np.unique([row for one in tuples for row in one[2:]])
    assert 5 < len(pool) <= 25
    assert set(pool.tolist()) <= set(described.tolist())
    for query, _, *negatives in tuples:
        far = pool[gaps(data, query, pool) > 25]
        assert negatives == in_order(far, describe.distances(query, far))[:4]


def test_a_pool_without_enough_negatives_is_filled_up() -> None:
    data = make_city()
    miner = TupleMiner(mining("partial", pool_size=2), data, seed=1)
    describe = Describer(100)
    described = 0
    for query, _, *negatives in tuples_of(miner, 1, describe):
        assert len(set(negatives)) == 5
        assert (gaps(data, query, np.array(negatives)) > 25).all()
        described += np.isin(negatives, describe.calls[-1]).sum() < 5
    assert described > 0  # others than those of the pool, so not described


def test_random_negatives_are_any_and_not_described() -> None:
    data = make_city()
    miner = TupleMiner(mining("random"), data, seed=1)
    describe = Describer(100)
    tuples = [one for epoch in range(1, 31) for one in tuples_of(miner, epoch, describe)]
    database = np.flatnonzero(data.is_database)
    for query in np.unique([one[0] for one in tuples]):
        used = {row for one in tuples if one[0] == query for row in one[2:]}
        far = database[gaps(data, query, database) > 25].tolist()
        assert used <= set(far)
        assert len(used) > len(far) / 2
    queries = sum(
        len(np.intersect1d(rows, np.flatnonzero(data.is_query))) for rows in describe.calls
    )
    assert queries == len(tuples)
    most = max(len(rows) for rows in describe.calls)
    assert most < 8 + 30  # the queries and their positives


@pytest.mark.parametrize("changes", [False, True])
def test_full_mining_remembers_the_hardest(changes: bool) -> None:
    data = make_city()
    settings = mining("full", pool_size=6, queries_per_epoch=100, cache_refresh_rate=100)
    miner = TupleMiner(settings, data, seed=1)
    describe = Describer(100, changes=changes)
    before: dict[int, set[int]] = {}
    kept = 0
    for epoch in range(1, 100):
        for query, _, *negatives in tuples_of(miner, epoch, describe):
            # Of what it had and what it has now, it has the hardest.
            union = np.array(sorted(before.get(query, set()) | set(negatives)))
            assert negatives == in_order(union, describe.distances(query, union))[:5]
            kept += bool(before.get(query, set()) & set(negatives))
            before[query] = set(negatives)
    assert len(before) == miner.num_queries
    assert kept > 0
    if not changes:  # so by and by they are the hardest of the database
        database = np.flatnonzero(data.is_database)
        for query, negatives in before.items():
            far = database[gaps(data, query, database) > 25]
            assert negatives == set(in_order(far, describe.distances(query, far))[:5])


@pytest.mark.parametrize("name", MININGS)
def test_an_interrupted_training_goes_on_with_the_same_tuples(name: str) -> None:
    data = make_city()
    made = mining(name, pool_size=10)

    def epochs(miner: TupleMiner, *numbers: int) -> list[list[int]]:
        describe = Describer(100, changes=False)
        return [one.tolist() for n in numbers for one in tuples_of(miner, n, describe)]

    whole = epochs(TupleMiner(made, data, others=1, seed=1), 1, 2, 3)
    first = TupleMiner(made, data, others=1, seed=1)
    assert epochs(first, 1, 2) == whole[:40]
    second = TupleMiner(made, data, others=1, seed=1)
    second.load_state_dict(first.state_dict())
    assert epochs(second, 3) == whole[40:]
    forgetful = TupleMiner(made, data, others=1, seed=1)
    assert (epochs(forgetful, 3) == whole[40:]) == (name != "full")
    assert epochs(TupleMiner(made, data, others=1, seed=2), 1) != whole[:20]
    assert whole[:20] != whole[20:40]


def test_state_is_loaded_from_a_file_and_of_the_same_mining(tmp_path: object) -> None:
    data = make_city()
    miner = TupleMiner(mining("full"), data, seed=0)
    list(miner.epoch(1, Describer(100)))
    torch.save(miner.state_dict(), f"{tmp_path}/state.pt")
    state = torch.load(f"{tmp_path}/state.pt", weights_only=True)
    other = TupleMiner(mining("full"), data, seed=0)
    other.load_state_dict(state)
    assert torch.equal(other.state_dict()["last_negatives"], miner.state_dict()["last_negatives"])
    for wrong in (mining("partial"), mining("full", negatives=4)):
        with pytest.raises(ValueError, match="expected the state"):
            TupleMiner(wrong, data, seed=0).load_state_dict(state)


def test_images_are_described_when_the_refresh_begins() -> None:
    miner = TupleMiner(mining("partial"), make_city(), seed=0)
    describe = Describer(100)
    calls = [len(describe.calls) for _ in miner.epoch(1, describe)]
    assert calls == [1, 1, 2, 2, 3]  # 8 queries, 8, and the 4 that are left, 4 in a batch
    assert miner.num_batches == 5
    assert [len(batch) for batch in miner.epoch(2, describe)] == [4 * 7] * 5


def test_a_refresh_ends_with_a_smaller_batch() -> None:
    miner = TupleMiner(mining("full", tuples_per_batch=3), make_city(), seed=0)
    sizes = [len(batch) // 7 for batch in miner.epoch(1, Describer(100))]
    assert sizes == [3, 3, 2, 3, 3, 2, 3, 1]
    assert miner.num_batches == len(sizes)


def test_rare_queries_are_drawn_more_often() -> None:
    data = make_city()
    rare = np.flatnonzero(data.is_query)[:4]
    data = replace(
        data, is_night=np.isin(np.arange(100), rare), is_sideways=np.zeros(100, dtype=bool)
    )

    def share(name: str) -> float:
        miner = TupleMiner(mining(name, queries_per_epoch=1, pool_size=9), data, seed=0)
        describe = Describer(100)
        drawn = [one[0] for n in range(300) for one in tuples_of(miner, n, describe)]
        return float(np.isin(drawn, rare).mean())

    kept = TupleMiner(mining("partial"), data, seed=0).num_queries
    assert share("partial") == pytest.approx(4 / kept, abs=0.06)
    night = 4 * (1 + kept / 4)
    assert share("msls_weighted") == pytest.approx(night / (night + kept - 4), abs=0.1)


def test_the_other_shows_neither_the_query_nor_a_negative() -> None:
    data = make_city(side_m=300, queries=100, database=200)
    miner = TupleMiner(mining("partial", soft_positive_distance_m=30), data, others=1, seed=0)
    others = []
    for one in tuples_of(miner, 1, Describer(300)):
        *rest, other = one
        assert data.is_database[other]
        query, negatives = rest[0], rest[2:]
        assert (gaps(data, other, np.array([query, *negatives])) > 30).all()
        others.append(other)
    assert len(set(others)) > 10


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


@pytest.mark.parametrize(("others", "negatives"), [(0, 3), (1, 2)])
@pytest.mark.parametrize("name", MININGS)
def test_what_is_larger_than_the_data_is_cut_down(
    name: str,
    others: int,
    negatives: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = line([0, 1, 100, 500], [0, 5, 100, 101, 200])
    with caplog.at_level(logging.INFO):
        miner = TupleMiner(MININGS[name](), data, others=others, seed=0)  # type: ignore[arg-type]
    assert (miner.num_queries, miner.num_dropped, miner.num_batches) == (3, 1, 1)
    assert miner.negatives == negatives
    (message,) = caplog.messages
    assert "1 queries with no positive within 10 m" in message
    pool = "" if name == "random" else ", pool_size 1000 to 5"
    assert miner.describe_cut() == (
        f"cut down to the data: negatives 10 to {negatives}, queries_per_epoch 5000 to 3, "
        f"cache_refresh_rate 1000 to 3{pool}"
    )
    (batch,) = miner.epoch(1, Describer(9))
    tuples = batch.reshape(3, -1)
    assert sorted(tuples[:, 0].tolist()) == [0, 1, 2]
    for query, _, *far in tuples.tolist():
        assert len(set(far)) == 3
        assert set(far) <= ({6, 7, 8} if query < 2 else {4, 5, 8})
    assert miner.metrics()["dropped_queries"] == 1


@pytest.mark.parametrize("name", MININGS)
def test_what_fits_the_data_is_not_cut(name: str) -> None:
    data = make_city()
    sizes = {"pool_size": 9, "queries_per_epoch": 5, "cache_refresh_rate": 5}
    miner = TupleMiner(mining(name, **sizes), data, seed=0)
    assert miner.negatives == SMALL["negatives"]
    assert miner.describe_cut() == ""


@pytest.mark.parametrize("name", MININGS)
def test_a_query_with_few_negatives_repeats_its_own_and_cuts_no_other(name: str) -> None:
    # All but one of the database are near the first query; none but one near the others.
    data = line([0, 500, 500], [0, 5, 6, 7, 8, 500])
    miner = TupleMiner(mining(name, negatives=9, pool_size=6), data, seed=0)
    assert miner.negatives == 5
    assert "negatives 9 to 5" in miner.describe_cut()
    assert miner.describe_cut().endswith("queries that repeat negatives, having fewer than 5: 1")
    describe = Describer(9)
    found = {query: rest for query, _, *rest in tuples_of(miner, 1, describe)}
    assert found.keys() == {0, 1, 2}
    assert found[0] == [8] * 5
    assert sorted(found[1]) == sorted(found[2]) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("name", ["partial", "full", "msls_weighted"])
def test_repeated_negatives_begin_with_the_hardest(name: str) -> None:
    data = line([0, 500], [0, 5, 6, 500, 501])
    miner = TupleMiner(mining(name, negatives=3, pool_size=5), data, seed=0)
    describe = Describer(7)
    found = {query: rest for query, _, *rest in tuples_of(miner, 1, describe)}
    first, second = in_order(np.array([5, 6]), describe.distances(0, np.array([5, 6])))
    assert found[0] == [first, second, first]
    three = np.array([2, 3, 4])
    assert found[1] == in_order(three, describe.distances(1, three))


@pytest.mark.parametrize(
    ("name", "most"), [("random", 6), ("partial", 11), ("full", 27), ("msls_weighted", 11)]
)
def test_described_images_are_foreseen(name: str, most: int) -> None:
    data = line([0, 100, 200], [*range(0, 9000, 100)])
    made = mining(name, pool_size=5, negatives=2)
    miner = TupleMiner(made, data, seed=0)
    assert most_described(data, made) == most
    describe = Describer(93)
    for epoch in (1, 2, 3):
        list(miner.epoch(epoch, describe))
    sizes = [len(rows) for rows in describe.calls]
    assert max(sizes) <= most
    assert max(sizes) > most - 5  # some are drawn twice


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_city()

    def tuples() -> list[list[int]]:
        miner = TupleMiner(mining("full"), data, seed=0, threads=1)
        return [batch.tolist() for batch in miner.epoch(1, Describer(100))]

    whole = tuples()
    monkeypatch.setattr(mining_module, "_BLOCK", 200)  # two or three queries at once
    assert tuples() == whole


def test_a_tuple_with_a_single_negative_repeats_it() -> None:
    data = line([0], [0, 100])
    miner = TupleMiner(PartialMining(), data, others=1, seed=0)
    (batch,) = miner.epoch(1, Describer(3))
    assert batch.tolist() == [0, 1, 2, 2]


def test_the_other_need_not_be_far_where_nothing_is() -> None:
    data = line([0], [0, 100, 101, 102])
    miner = TupleMiner(PartialMining(negatives=2), data, others=1, seed=0)
    (batch,) = miner.epoch(1, Describer(5))
    assert sorted(batch[2:].tolist()) == [2, 3, 4]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(list(MININGS)),
    others=st.integers(0, 1),
    positives=st.integers(1, 3),
    negatives=st.integers(1, 12),
    pool=st.integers(1, 80),
)
def test_invariants(
    seed: int,
    name: str,
    others: int,
    positives: int,
    negatives: int,
    pool: int,
) -> None:
    data = make_city(seed, queries=15, database=30, side_m=60)
    made = mining(name, positives=positives, negatives=negatives, pool_size=pool)
    miner = TupleMiner(made, data, others=others, seed=seed)
    describe = Describer(45, seed)
    seen = 0
    for epoch in (1, 2):
        for query, *rest in tuples_of(miner, epoch, describe):
            assert data.is_query[query]
            assert data.is_database[rest].all()
            assert (gaps(data, query, np.array(rest[:positives])) <= 10).all()
            far = rest[positives:]
            assert (gaps(data, query, np.array(far)) > 25).all()
            chosen = far[: miner.negatives]
            assert len(chosen) == miner.negatives <= negatives
            there_are = (gaps(data, query, np.flatnonzero(data.is_database)) > 25).sum()
            assert len(set(chosen)) == min(miner.negatives, there_are)
            seen += 1
    metrics = miner.metrics()
    assert seen == 2 * metrics["num_tuples"] == 2 * min(20, miner.num_queries)
    assert metrics["dropped_queries"] == 15 - miner.num_queries
    sizes = [len(rows) for rows in describe.calls]
    last = sizes[len(sizes) // 2 :]
    assert metrics["mining_described"] == sum(last) <= most_described(data, made)
    expected = {"random": 0, "partial": min(pool, 30), "msls_weighted": min(pool, 30)}
    if name in expected:
        assert metrics["mining_pool"] == expected[name]
    else:
        assert 0 < metrics["mining_pool"] <= min(pool + miner.negatives, 30)
    assert metrics["mining_seconds"] > 0


def test_the_pool_of_full_mining_is_that_of_a_query() -> None:
    # Each of 40 places has a query, of whose 39 negatives 6 are drawn and 2 remembered.
    data = line([*range(0, 4000, 100)], [*range(0, 4000, 100)])
    sizes_of = {"pool_size": 6, "negatives": 2, "queries_per_epoch": 40, "cache_refresh_rate": 40}
    miner = TupleMiner(mining("full", **sizes_of), data, seed=0)
    sizes = []
    for epoch in (1, 2):
        list(miner.epoch(epoch, Describer(80)))
        sizes.append(miner.metrics()["mining_pool"])
    assert sizes[0] == 6
    assert 7 < sizes[1] < 8  # some of the remembered are drawn again


def test_refuses(squares: TrainingData) -> None:
    with pytest.raises(ValueError, match="no tuples of mining none"):
        TupleMiner(NoMining(), squares.train, seed=0)
    with pytest.raises(ValueError, match="2 others"):
        TupleMiner(RandomMining(), squares.train, others=2, seed=0)
    with pytest.raises(ValueError, match="no epoch"):
        TupleMiner(RandomMining(), squares.train, seed=0).metrics()
