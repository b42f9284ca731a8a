"""Exact search against a sort of all distances."""

import numpy as np
import pytest

from vgray.retrieval import nearest, positives_within, search


def brute_force(database: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    squared = ((queries[:, None].astype(np.float64) - database[None]) ** 2).sum(-1)
    return np.argsort(squared, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("num_queries", "k"), [(0, 1), (1, 1), (7, 20), (300, 5), (30, 50)])
def test_equals_brute_force(dtype: type, num_queries: int, k: int) -> None:
    rng = np.random.default_rng(0)
    database = rng.normal(size=(50, 16)).astype(dtype)
    queries = rng.normal(size=(num_queries, 16)).astype(dtype)
    ranked = nearest(database, queries, k)
    assert ranked.dtype == np.int64
    np.testing.assert_array_equal(ranked, brute_force(database, queries, k))


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    rng = np.random.default_rng(1)
    database, queries = rng.normal(size=(2, 200, 8))
    whole = nearest(database, queries, 10)
    monkeypatch.setattr(search, "_BLOCK", 33)
    before = faiss.omp_get_max_threads()
    np.testing.assert_array_equal(nearest(database, queries, 10, threads=1), whole)
    assert faiss.omp_get_max_threads() == before


def test_views_are_searched_as_they_are() -> None:
    rng = np.random.default_rng(2)
    database, queries = rng.normal(size=(2, 40, 16)).astype(np.float32)
    np.testing.assert_array_equal(
        nearest(database[::2, ::2], queries[::3, ::2], 3),
        brute_force(database[::2, ::2], queries[::3, ::2], 3),
    )


def test_what_is_refused() -> None:
    database, queries = np.zeros((3, 4)), np.zeros((2, 4))
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k is {k}"):
            nearest(database, queries, k)
    with pytest.raises(ValueError, match="expected"):
        nearest(database, queries[:, :3], 1)
    with pytest.raises(ValueError, match="expected"):
        nearest(database, queries[0], 1)


def test_positives_are_exported() -> None:
    (rows,) = positives_within([[0.0, 0.0]], [[0.0, 25.0], [0.0, 25.1]], 25.0)
    assert rows.tolist() == [0]
