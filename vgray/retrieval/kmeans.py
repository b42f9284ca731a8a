"""Clusters of descriptors."""

import numpy as np
from numpy.typing import NDArray

from vgray.retrieval.library import faiss_with


def kmeans(
    vectors: NDArray[np.floating],
    k: int,
    *,
    iterations: int = 100,
    seed: int = 0,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Find ``k`` clusters by k-means (faiss).

    Args:
        vectors: (N, d), at least ``k`` of them.
        k: how many clusters.
        iterations: how often the centroids are moved.
        seed: of their first places.
        threads: how many threads faiss uses; all cores unless given.

    Returns:
        The centroids (k, d).

    Raises:
        ValueError: there are fewer vectors than clusters.
    """
    if not 1 <= k <= len(vectors):
        raise ValueError(f"k is {k}; there are {len(vectors)} vectors")
    with faiss_with(threads) as faiss:
        # faiss warns of fewer than 39 vectors for a cluster, which a small data set cannot help.
        model = faiss.Kmeans(
            vectors.shape[1], k, niter=iterations, seed=seed % 2**31, min_points_per_centroid=1
        )
        model.train(np.ascontiguousarray(vectors, dtype=np.float32))
        centroids: NDArray[np.float32] = model.centroids
    return centroids
