"""Scores and differences: against recalls counted by hand."""

import numpy as np
import pytest

from vgray.reports.scoring import compare, score
from vgray.retrieval.comparison import mcnemar
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.ranking import Ranking


def _ranking(firsts: list[int]) -> Ranking:
    """Return 4 ranked images of each query, of which the one at ``first`` is near; -1: none."""
    away_m = np.full((len(firsts), 4), 100.0)
    for query, first in enumerate(firsts):
        if first >= 0:
            away_m[query, first] = 10.0
    ranked = np.tile(np.arange(4), (len(firsts), 1))
    return Ranking(ranked, away_m, away_m.min(axis=1))


def test_recall_of_one_model_with_its_interval() -> None:
    first, third = score([_ranking([0, 1, -1, 0, 2])], [1, 3], 25.0)
    assert (first.n, first.recall, first.std) == (1, 40.0, None)
    assert (first.low, first.high) == wilson_interval(2, 5)
    assert third.recall == 80.0


def test_a_recall_is_rounded_as_the_search_rounds_it() -> None:
    (found,) = score([_ranking([0] * 69 + [-1] * 171)], [1], 25.0)
    assert found.recall == 28.75


def test_recall_of_several_seeds_is_their_mean() -> None:
    seeds = [_ranking([0, 0, 0, 0]), _ranking([0, 1, 1, 1]), _ranking([0, 0, 1, 1])]
    (found,) = score(seeds, [1], 25.0)
    assert found.recall == pytest.approx((100 + 25 + 50) / 3)
    assert found.std == pytest.approx(np.std([100, 25, 50], ddof=1))
    assert (found.low, found.high) == wilson_interval(2, 4)


def test_the_distance_decides() -> None:
    assert score([_ranking([0])], [1], 9.9)[0].recall == 0.0


def test_there_is_no_recall_of_no_queries() -> None:
    with pytest.raises(ValueError, match="no queries"):
        score([_ranking([])], [1], 25.0)


def test_two_models_are_compared_on_the_same_queries() -> None:
    rng = np.random.default_rng(0)
    ours = _ranking(rng.integers(0, 2, 60).tolist())
    theirs = _ranking(rng.integers(0, 4, 60).tolist())
    first, second = compare([ours], [theirs], "B", [1, 2], 25.0)
    assert first.than == "B"
    assert first.p_value == mcnemar(ours.hits(1, 25.0), theirs.hits(1, 25.0))
    points = 100 * (ours.hits(1, 25.0).mean() - theirs.hits(1, 25.0).mean())
    assert first.points == pytest.approx(points)
    assert first.low < first.points < first.high
    assert second.points > first.points
    assert not first.certain, "not judged yet"
