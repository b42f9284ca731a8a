"""One search answers every N and distance: against positives and hits by definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.places import positives_within
from vgray.retrieval import first_hits, recall_at_n
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.ranking import Ranking, rank_split, ranking_of
from vgray.retrieval.shards import IMAGE_SCHEMA


def images(positions_m: NDArray[np.floating]):
    """Return a table of images with nothing but positions."""
    columns = {"east_m": positions_m[:, 0], "north_m": positions_m[:, 1]}
    table = IMAGE_SCHEMA.empty_table().select(list(columns))
    return table.from_pydict(columns)


def city(
    folder: Path, *, queries: tuple[int, ...] = (6, 8), zones: tuple[str, str] = ("10N", "10N")
) -> Descriptors:
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(15, 8)), "test-queries": rng.normal(size=queries)}
    return write_descriptors(
        folder / "city",
        parts,
        {part: rng.uniform(0, 60, (len(x), 2)) for part, x in parts.items()},
        columns={
            part: {"utm_zone": [zone] * len(x)}
            for (part, x), zone in zip(parts.items(), zones, strict=True)
        },
    )


# A grid, so that many distances are just those asked for, far from the origin as in UTM.
@given(seed=st.integers(0, 2**32 - 1), step_m=st.sampled_from([0.1, 1 / 3, 5.0, 12.5]))
@settings(max_examples=60, deadline=None)
def test_every_distance_and_n_as_if_asked_alone(seed: int, step_m: float) -> None:
    rng = np.random.default_rng(seed)
    num_queries, num_database, k = rng.integers(1, (12, 30, 12))
    k = min(k, num_database)
    corner_m = np.array([553_003.03, 4_175_258.88])
    at_m = corner_m + step_m * rng.integers(0, 12, (num_queries, 2))
    database_m = corner_m + step_m * rng.integers(0, 12, (num_database, 2))
    ranked = np.stack([rng.permutation(num_database)[:k] for _ in at_m])
    ranking = ranking_of(ranked, images(at_m), images(database_m))
    distances_m = [*(step_m * np.sqrt([0, 1, 2, 4, 5, 25])), *ranking.nearest_m[:3]]
    ns = list(range(1, k + 1))
    curve = ranking.curve(ns, distances_m)
    for column, distance_m in enumerate(distances_m):
        positives = positives_within(at_m, database_m, distance_m)
        hits = first_hits(ranked, positives)
        np.testing.assert_array_equal(ranking.ranks(distance_m), hits)
        recall = recall_at_n(ranked, positives, ns)
        np.testing.assert_allclose(curve[:, column], list(recall.values()))
        for n in ns:
            np.testing.assert_array_equal(ranking.hits(n, distance_m), (hits >= 0) & (hits < n))
        without = sum(not len(rows) for rows in positives)
        assert ranking.num_without_positive(distance_m) == without


def test_nearest_is_of_the_whole_database_and_panoramas_count_once() -> None:
    rng = np.random.default_rng(0)
    at_m = rng.uniform(0, 500, (1500, 2))  # more than are looked at at once
    database_m = np.repeat(rng.uniform(0, 500, (40, 2)), 12, axis=0)
    ranking = ranking_of(np.zeros((1500, 1), np.int64), images(at_m), images(database_m))
    metres = np.sqrt(((at_m[:, None] - database_m[None]) ** 2).sum(axis=2))
    np.testing.assert_array_equal(ranking.nearest_m, metres.min(axis=1))
    np.testing.assert_array_equal(ranking.away_m[:, 0], metres[:, 0])


def test_images_without_a_position_are_away_from_everything() -> None:
    at_m = np.array([[0.0, 0.0], [np.nan, np.nan], [5.0, 0.0]])
    database_m = np.array([[np.nan, np.nan], [3.0, 4.0]])
    ranking = ranking_of(np.array([[0, 1]] * 3), images(at_m), images(database_m))
    assert np.isnan(ranking.away_m).tolist() == [[True, False], [True, True], [True, False]]
    assert ranking.nearest_m.tolist() == [5.0, np.inf, pytest.approx(np.sqrt(20))]
    assert ranking.ranks(5).tolist() == [1, -1, 1]
    assert ranking.curve([1, 2], [5]).tolist() == [[0], [pytest.approx(200 / 3)]]
    assert ranking.num_without_positive(1e9) == 1
    unlabelled = ranking_of(np.array([[0], [0]]), images(at_m[1:2].repeat(2, 0)), images(at_m[1:2]))
    assert np.isnan(unlabelled.away_m).all() and np.isinf(unlabelled.nearest_m).all()
    assert unlabelled.curve([1], [1e9]).tolist() == [[0]]


def test_rows_that_do_not_exist_are_infinitely_far() -> None:
    ranking = ranking_of(np.array([[-1, 0]]), images(np.zeros((1, 2))), images(np.ones((1, 2))))
    assert ranking.away_m.tolist() == [[np.inf, pytest.approx(np.sqrt(2))]]
    assert ranking.ranks(2).tolist() == [1]
    nothing = ranking_of(np.array([[-1]]), images(np.zeros((1, 2))), images(np.ones((0, 2))))
    assert nothing.away_m.tolist() == [[np.inf]] and nothing.nearest_m.tolist() == [np.inf]


def test_n_beyond_what_is_ranked() -> None:
    ranked = np.array([[0, 1]])
    three, two = (
        ranking_of(ranked, images(np.zeros((1, 2))), images(np.ones((n, 2)))) for n in (3, 2)
    )
    assert two.hits(25, 2).tolist() == [True] and two.curve([2, 25], [2]).tolist() == [[100], [100]]
    for n in (0, 3):
        with pytest.raises(ValueError, match="only 2 are ranked"):
            three.hits(n, 2)
        with pytest.raises(ValueError, match="only 2 are ranked"):
            three.curve([1, n], [2])
    with pytest.raises(ValueError, match="no queries"):
        Ranking(np.empty((0, 1), np.int64), np.empty((0, 1)), np.empty(0)).curve([1], [2])
    with pytest.raises(ValueError, match=r"expected \(1, K\)"):
        ranking_of(ranked.repeat(2, 0), images(np.zeros((1, 2))), images(np.ones((2, 2))))


def test_a_split_is_ranked(tmp_path: Path) -> None:
    source = city(tmp_path)
    seen = []
    ranking = rank_split(source, "test", 4, progress=lambda *counts: seen.append(counts))
    database, queries = source.load("test", "database"), source.load("test", "queries")
    np.testing.assert_array_equal(
        ranking.ranked, np.argsort(-(queries @ database.T), axis=1, kind="stable")[:, :4]
    )
    assert seen == [(15, 15)] and not ranking.whole
    assert rank_split(source, "test", 99, threads=1).ranked.shape == (6, 15)


def test_queries_in_crops_are_ranked(tmp_path: Path) -> None:
    source = city(tmp_path, queries=(6, 5, 8))
    mean, nearest = (
        rank_split(source, "test", 15, crops=crops).ranked for crops in ("mean", "nearest_crop")
    )
    crops, database = source.load("test", "queries"), source.load("test", "database")
    similar = crops @ database.T
    np.testing.assert_array_equal(mean, np.argsort(-similar.mean(axis=1), axis=1))
    np.testing.assert_array_equal(nearest, np.argsort(-similar.max(axis=1), axis=1))


def test_nothing_to_retrieve_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the test split has no queries.*name another split"):
        rank_split(city(tmp_path, queries=(0, 8)), "test", 4)


def test_two_zones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 UTM zones"):
        rank_split(city(tmp_path, zones=("10N", "11N")), "test", 4)


@pytest.mark.photos
def test_a_real_city_agrees_with_positives_within(reference: Path) -> None:
    import csv
    import gzip

    with gzip.open(reference / "sf_xs_val_images.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    at_m = {
        role: np.array([row["file_name"].split("@")[1:3] for row in rows if row["role"] == role])
        for role in ("database", "queries")
    }
    queries, database = (images(at_m[role].astype(float)) for role in ("queries", "database"))
    assert (queries.num_rows, database.num_rows) == (7993, 8015)
    ranked = np.random.default_rng(0).integers(0, 8015, (7993, 100))
    ranking = ranking_of(ranked, queries, database)
    curve = ranking.curve((1, 5, 10, 20, 25, 100), range(1, 101))
    assert curve.shape == (6, 100) and (np.diff(curve, axis=1) >= 0).all()
    for distance_m in (10.0, 25.0):
        positives = positives_within(
            *(x.astype(float) for x in (at_m["queries"], at_m["database"])), distance_m
        )
        np.testing.assert_array_equal(ranking.ranks(distance_m), first_hits(ranked, positives))
        assert ranking.num_without_positive(distance_m) == sum(not len(rows) for rows in positives)
