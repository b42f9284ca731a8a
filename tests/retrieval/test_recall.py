"""Recall against a loop that says what it means."""

import numpy as np
import pytest

from vgray.retrieval import first_hits, recall_at_n, wilson_interval


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_queries, num_database = 40, 30
    ranked = np.stack([rng.permutation(num_database)[:20] for _ in range(num_queries)])
    positives = [
        np.sort(rng.choice(num_database, rng.integers(0, 4), replace=False))
        for _ in range(num_queries)
    ]
    hits = first_hits(ranked, positives)
    for query in range(num_queries):
        found = [n for n, row in enumerate(ranked[query]) if row in set(positives[query])]
        assert hits[query] == (found[0] if found else -1)
    recall = recall_at_n(ranked, positives, [1, 5, 20])
    for n, value in recall.items():
        hit = [bool(np.isin(ranked[q, :n], positives[q]).any()) for q in range(num_queries)]
        assert value == pytest.approx(100 * sum(hit) / num_queries)


def test_queries_without_a_positive_stay_in_the_denominator() -> None:
    ranked = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    positives = [np.array([0]), np.array([0]), np.array([], dtype=int), np.array([], dtype=int)]
    assert recall_at_n(ranked, positives, [1, 2]) == {1: 25.0, 2: 50.0}
    nothing = [np.array([], dtype=int)] * 4
    assert recall_at_n(ranked, nothing, [1]) == {1: 0.0}


def test_rows_that_do_not_exist_are_no_hits() -> None:
    # -1 is how faiss says that it found nothing; it must not reach into the query before.
    ranked = np.array([[1, -1], [-1, -1]])
    positives = [np.array([0, 2]), np.array([2])]
    assert first_hits(ranked, positives).tolist() == [-1, -1]
    ranked = np.array([[9, 0], [0, 9]])
    assert first_hits(ranked, positives).tolist() == [1, -1]


def test_what_is_refused() -> None:
    ranked = np.zeros((2, 3), dtype=int)
    positives = [np.array([0])] * 2
    for ns in ([4], [0], [1, 10]):
        with pytest.raises(ValueError, match="are ranked"):
            recall_at_n(ranked, positives, ns)
    with pytest.raises(ValueError, match="Q positives"):
        first_hits(ranked, positives[:1])
    with pytest.raises(ValueError, match="no queries"):
        recall_at_n(ranked[:0], [], [1])


def test_wilson_interval() -> None:
    # Newcombe 1998, Table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson_interval(81, 263) == pytest.approx((25.53, 36.62), abs=0.01)
    assert wilson_interval(15, 148) == pytest.approx((6.24, 16.05), abs=0.01)
    assert wilson_interval(0, 20) == pytest.approx((0, 16.11), abs=0.01)
    assert wilson_interval(1, 29) == pytest.approx((0.61, 17.18), abs=0.01)
    assert wilson_interval(0, 0) == (0.0, 100.0)
    assert wilson_interval(7, 7)[1] == 100.0
    low, high = wilson_interval(50, 100, confidence=0.5)
    assert 46 < low < 50 < high < 54
    for hits, total, confidence in ((-1, 5, 0.9), (6, 5, 0.9), (1, 5, 1.0)):
        with pytest.raises(ValueError):
            wilson_interval(hits, total, confidence)
