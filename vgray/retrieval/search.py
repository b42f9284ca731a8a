"""Exact nearest neighbours."""

import numpy as np
from numpy.typing import NDArray

from vgray.retrieval.library import faiss_with

_BLOCK = 4096  # queries at once; faiss itself goes through the database in blocks


def nearest(
    database: NDArray[np.floating],
    queries: NDArray[np.floating],
    k: int,
    *,
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Rank the ``k`` nearest database descriptors of each query by Euclidean distance.

    The search is exact, by faiss on float32. On descriptors of length 1, as the network makes
    them, the order is that of cosine similarity.

    Args:
        database: (D, d) descriptors.
        queries: (Q, d) descriptors.
        k: how many, at most D.
        threads: how many threads faiss uses; all cores unless given.

    Returns:
        (Q, k) rows of the database, nearest first.

    Raises:
        ValueError: the dimensions differ, or ``k`` is not within 1 to D.
    """
    if database.ndim != 2 or queries.ndim != 2 or database.shape[1] != queries.shape[1]:
        raise ValueError(f"expected (D, d) and (Q, d), found {database.shape} and {queries.shape}")
    if not 1 <= k <= len(database):
        raise ValueError(f"k is {k}; the database has {len(database)} descriptors")
    database = np.ascontiguousarray(database, dtype=np.float32)
    ranked = np.empty((len(queries), k), dtype=np.int64)
    with faiss_with(threads) as faiss:
        for start in range(0, len(queries), _BLOCK):
            block = np.ascontiguousarray(queries[start : start + _BLOCK], dtype=np.float32)
            ranked[start : start + _BLOCK] = faiss.knn(block, database, k)[1]
    return ranked
