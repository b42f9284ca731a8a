"""Mined tuples against brute force, in made-up cities whose descriptors are random."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_cities import (
    MININGS,
    Describer,
    gaps,
    in_order,
    make_city,
    mining,
    most_described,
    tuples_of,
)

from vgray.recipe.losses import NoMining, RandomMining
from vgray.training import TrainingData
from vgray.training.mining import TupleMiner


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


def test_refuses(squares: TrainingData) -> None:
    with pytest.raises(ValueError, match="no tuples of mining none"):
        TupleMiner(NoMining(), squares.train, seed=0)
    with pytest.raises(ValueError, match="2 others"):
        TupleMiner(RandomMining(), squares.train, others=2, seed=0)
    with pytest.raises(ValueError, match="no epoch"):
        TupleMiner(RandomMining(), squares.train, seed=0).metrics()
