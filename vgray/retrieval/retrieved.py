"""The images that were retrieved for each query, as a table; no positions are needed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vgray.retrieval.crops import Crops
from vgray.retrieval.sources import Source
from vgray.retrieval.split_search import search_split, split_images


@dataclass(frozen=True)
class Retrieved:
    """What was found for the queries of a split."""

    table: pa.Table
    """``query``, ``rank`` from 1, ``path`` and ``similarity``, by query and rank."""
    num_queries: int
    """Those among them for which nothing was found."""
    num_ranked: int
    """Images found of each query, but for those without any."""
    num_without: int
    """Queries for which nothing was found, as the model had no numbers for them."""


def retrieve(
    source: Source,
    split: str,
    k: int,
    *,
    crops: Crops = "mean",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Retrieved:
    """Find the k nearest images of each query.

    The similarity is the cosine, as descriptors are of length 1; of queries in crops that of their
    mean, or of the most similar crop where the crops are ranked each by itself. Votes change the
    order of the images, not their similarity.

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
    images = split_images(source, split)
    ranked, squared = search_split(
        source, split, images, k, crops=crops, threads=threads, progress=progress
    )
    query, rank = np.nonzero(ranked >= 0)
    queries, database = (table["path"].combine_chunks() for table in images)
    table = pa.table(
        {
            "query": queries.take(pa.array(query)),
            "rank": pa.array(rank + 1, pa.int32()),
            "path": database.take(pa.array(ranked[query, rank])),
            "similarity": pa.array(1 - squared[query, rank] / 2),
        }
    )
    num_without = int((ranked[:, 0] < 0).sum())
    return Retrieved(table, len(ranked), ranked.shape[1], num_without)
