import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.tuples import Candidates, draw_outside, find_candidates, query_weights


def find(
    queries: list[tuple[float, float]],
    database: list[tuple[float, float]],
    positive_m: float = 10,
    soft_m: float = 25,
) -> Candidates:
    """Find candidates in a split that begins with an image of neither kind."""
    positions = np.array([(0, 0), *queries, *database], dtype=np.float64)
    number = np.arange(len(positions))
    is_query = (number > 0) & (number <= len(queries))
    return find_candidates(
        positions,
        is_query,
        number > len(queries),
        positive_distance_m=positive_m,
        soft_distance_m=soft_m,
    )


points = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=20)


@given(queries=points, database=points, positive=st.integers(1, 20), more=st.integers(0, 30))
def test_agrees_with_all_pairs(
    queries: list[tuple[int, int]], database: list[tuple[int, int]], positive: int, more: int
) -> None:
    def within(query: tuple[int, int], distance: int) -> list[int]:
        far = [(query[0] - other[0]) ** 2 + (query[1] - other[1]) ** 2 for other in database]
        return [index for index, squared in enumerate(far) if squared <= distance**2]

    near = [within(query, positive) for query in queries]
    soft = [within(query, positive + more) for query in queries]
    kept = [i for i in range(len(queries)) if near[i] and len(soft[i]) < len(database)]
    if not kept:
        with pytest.raises(UserError, match=r"^mining\."):
            find(queries, database, positive, positive + more)
        return
    found = find(queries, database, positive, positive + more)
    assert found.query_rows.tolist() == [1 + i for i in kept]
    assert found.database_rows.tolist() == [1 + len(queries) + i for i in range(len(database))]
    assert [rows.tolist() for rows in found.positives] == [near[i] for i in kept]
    assert [rows.tolist() for rows in found.soft_positives] == [soft[i] for i in kept]
    assert found.num_without_positive == sum(not rows for rows in near)
    assert found.num_without_positive + found.num_without_negative == len(queries) - len(kept)


def test_left_out_queries_are_counted() -> None:
    found = find([(0, 0), (500, 0), (60, 0)], [(0, 0), (60, 0), (119, 0)], 10, 60)
    assert found.query_rows.tolist() == [1]  # nothing near the second, all too near the third
    assert (found.num_without_positive, found.num_without_negative) == (1, 1)


@pytest.mark.parametrize(
    ("queries", "database", "message"),
    [
        ([], [(0, 0)], r"^mining\.name: the train split has no queries, .* give mining\.name none"),
        ([(0, 0)], [], r"^mining\.name: the train split has no database images, .* mining\.name"),
        (
            [(0, 0), (9, 9)],
            [(0, 1), (50, 0)],
            r"^mining\.train_positive_distance_m: found 0\.5, but none of the 2 .*; raise it$",
        ),
        (
            [(0, 0), (99, 0)],
            [(0, 0)],
            r"^mining\.soft_positive_distance_m: found 25, but none of the 1 .*; lower it$",
        ),
    ],
)
def test_nothing_to_make_tuples_of(
    queries: list[tuple[float, float]], database: list[tuple[float, float]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        find(queries, database, 0.5)


def test_refuses() -> None:
    one = np.ones(1, bool)
    distances = {"positive_distance_m": 10.0, "soft_distance_m": 25.0}
    with pytest.raises(ValueError, match="row 0 is query and database"):
        find_candidates(np.zeros((1, 2)), one, one, **distances)
    with pytest.raises(ValueError, match="within 5 m"):
        find([(0, 0)], [(0, 0), (99, 0)], 10, 5)


def flags(*rows: int, size: int = 10) -> NDArray[np.bool_]:
    return np.isin(np.arange(size), rows)


def test_rare_queries_weigh_more() -> None:
    weights = query_weights(flags(0, 1), flags(1, 2, 3, 4))
    expected = np.array([1 + 10 / 2, 1 + 10 / 2 + 10 / 4, *[1 + 10 / 4] * 3, *[1] * 5])
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-12)


def test_one_kind_of_rare_query_is_enough() -> None:
    weights = query_weights(flags(), flags(7))
    assert weights[7] / weights[0] == pytest.approx(11)
    assert weights.sum() == pytest.approx(1)
    with pytest.raises(UserError, match=r"mining\.name: found msls_weighted, .* give partial$"):
        query_weights(flags(), flags())


def test_draws_what_is_not_excluded() -> None:
    rng = np.random.default_rng(0)
    excluded = np.array([2, 3, 5, 7])
    drawn = [draw_outside(rng, 10, excluded, 2).tolist() for _ in range(600)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    counts = np.bincount(np.array(drawn).ravel(), minlength=10)
    assert not counts[excluded].any()
    left = counts[counts > 0]
    assert len(left) == 6
    assert left.min() > 150  # of 200 each, if all are as likely
    assert sorted(draw_outside(rng, 10, excluded, 99).tolist()) == [0, 1, 4, 6, 8, 9]
    assert draw_outside(rng, 4, np.arange(4), 1).tolist() == []
