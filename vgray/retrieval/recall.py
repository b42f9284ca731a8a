"""Recall@N, the measure of the field."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def first_hits(
    ranked: NDArray[np.integer], positives: Sequence[NDArray[np.integer]]
) -> NDArray[np.int64]:
    """Return for each query the rank (from 0) of its first positive, or -1 without a hit.

    Args:
        ranked: (Q, N) rows of the database, nearest first; -1 stands for none.
        positives: the Q queries' positives, rows of the database.

    Raises:
        ValueError: ``ranked`` and ``positives`` are of different numbers of queries.
    """
    ranked = np.asarray(ranked)
    if ranked.ndim != 2 or len(ranked) != len(positives):
        raise ValueError(
            f"expected ranked (Q, N) and Q positives, found {ranked.shape} and {len(positives)}"
        )
    counts = np.array([len(rows) for rows in positives], dtype=np.int64)
    if not counts.sum() or not ranked.size:
        return np.full(len(ranked), -1, dtype=np.int64)
    rows = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in positives])
    # One number for each (query, row) pair turns Q membership tests into one.
    stride = int(max(rows.max(), ranked.max())) + 1
    pairs = np.repeat(np.arange(len(positives)), counts) * stride + rows
    found = ranked.astype(np.int64) + np.arange(len(ranked))[:, None] * stride
    hits = np.isin(found, pairs) & (ranked >= 0)
    return np.where(hits.any(axis=1), hits.argmax(axis=1), -1)


def recall_at_n(
    ranked: NDArray[np.integer], positives: Sequence[NDArray[np.integer]], ns: Sequence[int]
) -> dict[int, float]:
    """Return recall@N in percent: queries with a positive among the N nearest, of all queries.

    Queries without any positive stay in the denominator, as in the deep visual geo-localization
    benchmark.

    Args:
        ranked: (Q, at least max(ns)) rows of the database, nearest first.
        positives: the Q queries' positives, rows of the database.
        ns: the values of N.

    Raises:
        ValueError: there is no query, an N is not positive, or ``ranked`` has fewer columns.
    """
    ranked = np.asarray(ranked)
    if len(ranked) == 0:
        raise ValueError("recall of no queries")
    if min(ns) < 1 or max(ns) > ranked.shape[1]:
        raise ValueError(f"N of {list(ns)}, but only {ranked.shape[1]} are ranked")
    hits = first_hits(ranked, positives)
    return {n: 100.0 * float(np.mean((hits >= 0) & (hits < n))) for n in ns}
