"""Five crops of a query: one ranking, against a loop that does it by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vgray.retrieval.crops import Crops, mean_of_crops, rank_crops


def by_hand(
    database: NDArray[np.float32], queries: NDArray[np.float32], k: int, crops: Crops
) -> list[list[int]]:
    ranked = []
    for query in queries.astype(np.float64):
        if crops == "mean":
            query = query.mean(axis=0, keepdims=True)
        lists = []
        for crop in query:
            squared = ((database - crop) ** 2).sum(axis=1)
            nearest = np.argsort(squared, kind="stable")[:20]
            lists.append([[squared[row], int(row)] for row in nearest])
        if crops == "maj_voting":
            for n in (1, 5, 10):
                found = [row for crop in lists for _, row in crop[:n]]
                for crop in lists:
                    for pair in crop[:n]:
                        if found.count(pair[1]) > 1:
                            pair[0] -= 0.01 * found.count(pair[1]) / n
        best: list[int] = []
        for _, row in sorted(pair for crop in lists for pair in map(tuple, crop)):
            if row not in best:
                best.append(row)
        ranked.append(best[:k])
    return ranked


def made(crops_differ: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    database = rng.normal(size=(60, 8))
    queries = rng.normal(size=(12, 1, 8)) + crops_differ * rng.normal(size=(12, 5, 8))
    return tuple(
        (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
        for x in (database, queries)
    )


@pytest.mark.parametrize("crops", ["mean", "nearest_crop", "maj_voting"])
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("crops_differ", [0.0, 0.1, 1.0])
def test_equals_the_loop(crops: Crops, k: int, crops_differ: float) -> None:
    database, queries = made(crops_differ)
    blocks = [database[:17], database[17:41], database[41:]]
    ranked = rank_crops(blocks, queries, k, crops)[0]
    assert ranked.tolist() == by_hand(database, queries, k, crops)


def test_votes_and_crops_matter() -> None:
    database, queries = made(0.3)
    rankings = {
        crops: rank_crops([database], queries, 20, crops)[0].tolist()
        for crops in ("mean", "nearest_crop", "maj_voting")
    }
    assert len({str(ranked) for ranked in rankings.values()}) == 3


@pytest.mark.parametrize("crops", ["nearest_crop", "maj_voting"])
def test_the_first_of_a_long_ranking_are_a_short_one(crops: Crops) -> None:
    database, queries = made(0.3)
    whole = rank_crops([database], queries, 60, crops)[0]
    assert (np.sort(whole, axis=1) == np.arange(60)).all()
    for k in (1, 7, 30):
        assert (rank_crops([database], queries, k, crops)[0] == whole[:, :k]).all()


@pytest.mark.parametrize("crops", ["mean", "nearest_crop", "maj_voting"])
def test_a_small_database_is_ranked_as_a_whole(crops: Crops) -> None:
    database, queries = made(0.3)
    ranked = rank_crops([database[:3]], queries, 5, crops)[0]
    assert (np.sort(ranked[:, :3], axis=1) == [0, 1, 2]).all()
    assert (ranked[:, 3:] == -1).all()


def test_the_mean_has_length_one() -> None:
    _, queries = made(1.0)
    np.testing.assert_allclose(np.linalg.norm(mean_of_crops(queries), axis=1), 1, atol=1e-6)
    opposite = np.array([[[1.0, 0.0], [-1.0, 0.0]]])
    assert mean_of_crops(opposite).tolist() == [[0.0, 0.0]]


def test_queries_without_crops_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(Q, C, D\)"):
        rank_crops([np.zeros((3, 4))], np.zeros((2, 4)), 1, "mean")


@pytest.mark.parametrize("crops", ["mean", "nearest_crop", "maj_voting"])
def test_the_distance_is_that_before_the_votes(crops: Crops) -> None:
    database, queries = made(0.3)
    rows, squared = rank_crops([database], queries, 20, crops)
    views = mean_of_crops(queries)[:, None] if crops == "mean" else queries
    away = ((views[:, None] - database[rows][:, :, None]) ** 2).sum(axis=-1).min(axis=-1)
    np.testing.assert_allclose(squared, away, atol=1e-5)
    rows, squared = rank_crops([database[:3]], queries, 5, crops)
    assert np.isinf(squared[rows < 0]).all() and (rows < 0).any()
