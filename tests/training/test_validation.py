"""Recall of descriptors, against counting by hand."""

import numpy as np
import pytest

from vgray.training.validation import score


def test_recall_interval_and_ranks() -> None:
    database = np.eye(4, dtype=np.float32)
    queries = np.array([[1, 0.1, 0, 0], [0.2, 0, 1, 0.5], [0, 0.3, 0.2, 1]], dtype=np.float32)
    positives = [np.array([0]), np.array([3]), np.array([], dtype=np.int64)]
    metrics, ranks = score(database, queries, positives, recall_at=(1, 2), threads=1)
    assert ranks.tolist() == [0, 1, -1]
    assert metrics["recall@1"] == pytest.approx(100 / 3)
    assert metrics["recall@2"] == pytest.approx(200 / 3)
    assert metrics["num_queries"] == 3
    assert 0 < metrics["recall@1_low"] < 100 / 3 < metrics["recall@1_high"] < 100


def test_a_small_database_is_ranked_as_a_whole() -> None:
    descriptors = np.eye(2, dtype=np.float32)
    metrics, ranks = score(descriptors, descriptors[::-1], [np.array([0])] * 2, recall_at=(1, 20))
    assert ranks.tolist() == [1, 0]
    assert (metrics["recall@1"], metrics["recall@20"]) == (50, 100)
