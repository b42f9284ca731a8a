"""Exact search against a sort of all distances."""

from collections.abc import Iterator

import numpy as np
import pytest

from vgray.retrieval import nearest, positives_within, search
from vgray.retrieval.search import nearest_in_blocks


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


def test_threads_change_nothing() -> None:
    import faiss

    rng = np.random.default_rng(1)
    database, queries = rng.normal(size=(2, 200, 8))
    before = faiss.omp_get_max_threads()
    np.testing.assert_array_equal(
        nearest(database, queries, 10, threads=1), nearest(database, queries, 10)
    )
    assert faiss.omp_get_max_threads() == before


def in_blocks(database: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (database[start : start + rows] for start in range(0, len(database), rows))


def few_different(dtype: type, number: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Return descriptors of length 1 of which many are the same, so most ranks are ties."""
    rng = np.random.default_rng(2)
    database, queries = (
        rng.normal(size=(25, 33))[rng.integers(0, 25, number)],
        rng.normal(size=(40, 33)),
    )
    queries[:5] = database[:5]
    return tuple(
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype) for x in (database, queries)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("k", [1, 7, 60, 500])
@pytest.mark.parametrize("rows", [1, 13, 64, 499, 500])
def test_ties_are_in_the_order_of_the_database(dtype: type, k: int, rows: int) -> None:
    database, queries = few_different(dtype)
    ranked, squared = nearest_in_blocks(in_blocks(database, rows), queries, k)
    np.testing.assert_array_equal(ranked, brute_force(database, queries, k))
    whole, of_whole = nearest_in_blocks([database], queries, k)
    np.testing.assert_array_equal(ranked, whole)
    np.testing.assert_array_equal(squared, of_whole)  # to the last bit


def test_descriptors_that_are_all_the_same_are_in_order() -> None:
    database = np.full((3000, 16), 0.25, np.float32)
    ranked = nearest_in_blocks(in_blocks(database, 1000), database[:50], 20)[0]
    assert (ranked == np.arange(20)).all()


@pytest.mark.parametrize("rows", [50, 700, 2000])
def test_close_ranks_are_those_of_double_precision(rows: int) -> None:
    # Distances around 1e-3, of which the matrix product knows three digits.
    rng = np.random.default_rng(3)
    database = rng.normal(size=64) + 3e-3 * rng.normal(size=(2000, 64))
    database = (database / np.linalg.norm(database, axis=1, keepdims=True)).astype(np.float32)
    queries = database[::20]
    ranked, squared = nearest_in_blocks(in_blocks(database, rows), queries, 100)
    exact = ((queries[:, None].astype(np.float64) - database[ranked]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, exact, rtol=1e-6)
    assert (np.diff(exact, axis=1) >= -1e-6 * exact[:, 1:]).all()
    best = np.sort(((queries[:, None].astype(np.float64) - database[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(exact, best[:, :100], rtol=1e-6)


def test_longer_rankings_than_the_database_end_in_nothing() -> None:
    database, queries = few_different(np.float32, 30)
    ranked, squared = nearest_in_blocks(in_blocks(database, 8), queries, 40)
    np.testing.assert_array_equal(ranked[:, :30], brute_force(database, queries, 30))
    assert (ranked[:, 30:] == -1).all() and np.isinf(squared[:, 30:]).all()
    ranked, squared = nearest_in_blocks([], queries, 2)
    assert (ranked == -1).all() and np.isinf(squared).all()


def test_what_is_no_number_is_near_to_nothing() -> None:
    database, queries = few_different(np.float32)
    database, queries = database.copy(), queries.copy()
    database[::7], queries[3] = np.nan, np.inf
    kept = np.delete(np.arange(500), np.s_[::7])
    ranked, _ = nearest_in_blocks(in_blocks(database, 90), queries, 5)
    assert (ranked[3] == -1).all()
    others = np.delete(np.arange(40), 3)
    expected = kept[brute_force(database[kept], queries[others], 5)]
    np.testing.assert_array_equal(ranked[others], expected)


@pytest.mark.gpu
def test_a_gpu_finds_the_same() -> None:
    rng = np.random.default_rng(4)
    database, queries = rng.normal(size=(20_000, 512)), rng.normal(size=(300, 512))
    np.testing.assert_array_equal(
        nearest_in_blocks(in_blocks(database, 3000), queries, 50)[0],
        brute_force_by_product(database, queries, 50),
    )


def brute_force_by_product(database: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    database, queries = (x.astype(np.float32).astype(np.float64) for x in (database, queries))
    squared = (database**2).sum(axis=1) - 2 * queries @ database.T
    return np.argsort(squared, axis=1, kind="stable")[:, :k]


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
    with pytest.raises(ValueError, match=r"expected \(n, 4\), found \(3, 3\)"):
        nearest_in_blocks([database, database[:, :3]], queries, 1)
    with pytest.raises(ValueError, match="k of 1 or more"):
        nearest_in_blocks([database], queries, 0)


def test_positives_are_exported() -> None:
    (rows,) = positives_within([[0.0, 0.0]], [[0.0, 25.0], [0.0, 25.1]], 25.0)
    assert rows.tolist() == [0]


@pytest.mark.parametrize("spread", [1e-2, 1e-5])
def test_descriptors_that_lie_close_together_are_not_all_measured(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=32)
    database, queries = (
        (centre + spread * rng.normal(size=(number, 32))).astype(np.float32)
        for number in (2000, 50)
    )
    measured = []
    original = search._Search._measure_all
    monkeypatch.setattr(
        search._Search, "_measure_all", lambda *of: measured.append(of) or original(*of)
    )
    found = nearest_in_blocks(in_blocks(database, 700), queries, 10)[0]
    squared = ((queries[:, None].astype(np.float64) - database) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(found, np.argsort(squared, axis=1, kind="stable")[:, :10])
    assert not measured


def test_what_is_no_number_changes_nothing_for_the_others() -> None:
    rng = np.random.default_rng(0)
    database, queries = rng.normal(size=(500, 8)), rng.normal(size=(9, 8))
    expected = nearest_in_blocks(in_blocks(database, 100), queries, 5)[0]
    harmed = np.concatenate([queries, np.full((1, 8), np.nan)])
    with_nan = np.concatenate([database, np.full((3, 8), np.nan)])
    found, squared = nearest_in_blocks(in_blocks(with_nan, 100), harmed, 5)
    np.testing.assert_array_equal(found[:9], expected)
    assert (found[9] == -1).all() and np.isinf(squared[9]).all()
