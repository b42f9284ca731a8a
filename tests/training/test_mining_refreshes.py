"""The refreshes of an epoch: what each describes, its batches, and what is kept between them."""

import pytest
import torch
from made_cities import MININGS, Describer, line, make_city, mining, most_described, tuples_of

from vgray.training import mining as mining_module
from vgray.training.mining import TupleMiner


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


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_city()

    def tuples() -> list[list[int]]:
        miner = TupleMiner(mining("full"), data, seed=0, threads=1)
        return [batch.tolist() for batch in miner.epoch(1, Describer(100))]

    whole = tuples()
    monkeypatch.setattr(mining_module, "_BLOCK", 200)  # two or three queries at once
    assert tuples() == whole


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
