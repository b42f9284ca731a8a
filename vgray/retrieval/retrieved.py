"""The images that were retrieved for each query, as a table; no positions are needed."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.retrieval.crops import Crops, mean_of_crops
from vgray.retrieval.ranking import rank_split
from vgray.retrieval.search import rows_of_a_block
from vgray.retrieval.sources import Source

_VALUES = 2**24  # of the pairs that are compared at once


def retrieved(
    source: Source,
    split: str,
    k: int,
    *,
    crops: Crops = "mean",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Return ``query``, ``rank`` from 1, ``path`` and ``similarity`` of the k nearest images.

    The similarity is the cosine, of queries in crops that of their mean, or of the most similar
    crop where the crops are ranked each by itself. Votes change the order of the images, not their
    similarity.

    Args:
        source: descriptors of the split.
        split: whose database and queries.
        k: how many images, or all if the database has fewer.
        crops: how queries in five crops are ranked.
        threads: how many threads faiss uses; all cores unless given.
        progress: called with how many database images are searched, and of how many.

    Raises:
        UserError: the split has no queries or no database.
    """
    ranking = rank_split(source, split, k, crops=crops, threads=threads, progress=progress)
    ranked = ranking.ranked
    similarity = _similarity(source, split, ranked, crops)
    queries, database = (
        source.images(split, role)["path"].combine_chunks() for role in ("queries", "database")
    )
    query, rank = np.nonzero(ranked >= 0)
    return pa.table(
        {
            "query": queries.take(pa.array(query)),
            "rank": pa.array(rank + 1, pa.int32()),
            "path": database.take(pa.array(ranked[query, rank])),
            "similarity": pa.array(similarity[query, rank]),
        }
    )


def _similarity(
    source: Source, split: str, ranked: NDArray[np.int64], crops: Crops
) -> NDArray[np.float32]:
    """Return the similarity (Q, K) of each query and its ranked images."""
    described = source.load(split, "queries")
    if described.ndim == 3 and crops == "mean":
        described = mean_of_crops(described)
    views = _unit(described.reshape(len(described), -1, source.dimension))
    similarity = np.full(ranked.shape, np.nan, dtype=np.float32)
    at_once = max(1, _VALUES // (views.shape[1] * source.dimension))
    start = 0
    for block in source.blocks(split, "database", rows_of_a_block(source.dimension)):
        here = np.argwhere((ranked >= start) & (ranked < start + len(block)))
        for first in range(0, len(here), at_once):
            query, rank = here[first : first + at_once].T
            images = _unit(block[ranked[query, rank] - start])
            similarity[query, rank] = np.einsum("pvd,pd->pv", views[query], images).max(axis=1)
        start += len(block)
    return similarity


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    # Zeros have no direction; they stay zeros.
    length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    unit: NDArray[np.float32] = (vectors / length).astype(np.float32)
    return unit
