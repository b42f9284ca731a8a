"""How good the descriptors of the validation split are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgray.retrieval import first_hits, nearest, wilson_interval


def score(
    database: NDArray[np.float32],
    queries: NDArray[np.float32],
    positives: Sequence[NDArray[np.int64]],
    *,
    recall_at: Sequence[int],
    threads: int | None = None,
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Return recall in percent with its interval, and the rank of each query's first positive.

    Args:
        database: (D, d) descriptors.
        queries: (Q, d) descriptors.
        positives: of each query, rows of the database.
        recall_at: the values of N; 1 is among them.
        threads: for the search; all cores unless given.

    Returns:
        ``recall@N`` for each N, ``recall@1_low``, ``recall@1_high`` and ``num_queries``; and ranks
        (Q,) from 0, -1 where no positive is among the N nearest for the largest N.
    """
    # A database of fewer images than N is ranked as a whole.
    ranked = nearest(database, queries, min(max(recall_at), len(database)), threads=threads)
    hits = first_hits(ranked, positives)
    found = {n: int(((hits >= 0) & (hits < n)).sum()) for n in recall_at}
    low, high = wilson_interval(found[1], len(queries))
    recalls = {f"recall@{n}": 100 * found[n] / len(queries) for n in recall_at}
    interval = {"recall@1_low": low, "recall@1_high": high}
    return {**recalls, **interval, "num_queries": len(queries)}, hits
