"""Batches of places and of tuples, as the trainer takes them."""

import numpy as np
import pytest

from vgray import Recipe, UserError
from vgray.training import TrainingData
from vgray.training.batches import build_batches, tuple_batch
from vgray.training.losses import TupleShape

TUPLES = {"miner.name": "none", "mining.name": "random", "mining.negatives": 3}


def no_descriptors(rows: np.ndarray) -> np.ndarray:
    raise AssertionError("places are drawn without descriptors")


def random_descriptors(rows: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(rows), 8)).astype(np.float32)


def test_batches_of_places(squares: TrainingData, tiny: Recipe) -> None:
    batches = build_batches(tiny, squares)
    count, found = batches.epoch(1, no_descriptors)
    batch, *others = found
    assert count == batches.num_batches == 1 + len(others) == 3
    assert batch.shape is None and batch.queries is None
    places = squares.train.place_ids[batch.rows].tolist()
    assert batch.labels.tolist() == batch.groups.tolist() == places
    assert np.unique(batch.labels, return_counts=True)[1].tolist() == [4] * 8
    assert batches.metrics() == {}
    assert batches.describe_cut() == ""


def test_too_few_places_for_a_batch_are_said(squares: TrainingData, tiny: Recipe) -> None:
    with pytest.raises(UserError, match=r"batch.places: found 25, but the data has 24 places"):
        build_batches(tiny.with_settings({"batch.places": 25}), squares)
    far = tiny.with_settings({"batch.min_distance_m": 1e6})
    with pytest.raises(UserError, match=r"batch.min_distance_m: no two places"):
        build_batches(far, squares)


def test_batches_of_tuples(squares: TrainingData, tiny: Recipe) -> None:
    batches = build_batches(tiny.with_settings(TUPLES), squares)
    count, found = batches.epoch(1, random_descriptors)
    of_epoch = list(found)
    assert len(of_epoch) == count == batches.num_batches == 12  # 48 queries, 4 at a time
    for batch in of_epoch:
        assert batch.shape == TupleShape(1, 3, 0)
        tuples = batch.rows.reshape(-1, 5)
        assert squares.train.is_query[tuples[:, 0]].all()
        assert squares.train.is_database[tuples[:, 1:]].all()
        places = squares.train.place_ids[tuples]
        assert (places[:, 0] == places[:, 1]).all()
        assert (places[:, :1] != places[:, 2:]).all()
    assert batches.metrics()["num_tuples"] == 48
    assert batches.describe_cut().startswith("cut down to the data: queries_per_epoch 5000 to 48")


def test_hphn_has_one_more_negative(squares: TrainingData, tiny: Recipe) -> None:
    recipe = tiny.with_settings({**TUPLES, "loss.name": "hphn", "mining.positives": 2})
    batch = next(build_batches(recipe, squares).epoch(1, random_descriptors)[1])
    assert batch.shape == TupleShape(2, 3, 1)
    assert len(batch.rows) == 4 * 7


def test_labels_and_groups_of_tuples() -> None:
    batch = tuple_batch(np.arange(10), TupleShape(positives=2, negatives=2, others=0))
    assert batch.groups.tolist() == [0] * 5 + [1] * 5
    assert batch.queries is not None
    assert np.flatnonzero(batch.queries).tolist() == [0, 5]
    assert batch.labels[:3].tolist() == [0] * 3
    assert batch.labels[5:8].tolist() == [1] * 3
    assert len(set(batch.labels.tolist())) == 2 + 4
