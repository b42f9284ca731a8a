"""Mining in sets with less than the recipe asks for: cut down, filled up, repeated, dropped."""

import logging

import numpy as np
import pytest
from made_cities import (
    MININGS,
    SMALL,
    Describer,
    gaps,
    in_order,
    line,
    make_city,
    mining,
    tuples_of,
)

from vgray.recipe.losses import PartialMining
from vgray.training.mining import TupleMiner


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
