"""Recall of described models on the queries of a split, and of one model against another."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.retrieval.comparison import Comparison, compare_repeats
from vgray.retrieval.crops import Crops
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.ranking import Ranking, ranking_of
from vgray.retrieval.sources import Source
from vgray.retrieval.split_search import labelled_images, search_split

NUM_RANKED = 100
"""Images kept of each query's ranking, or the largest N asked for: enough to ask for others."""
CURVE_M = tuple(range(1, 101))
"""The distances of a curve, in metres."""


@dataclass(frozen=True)
class Recall:
    """Recall@N of some queries."""

    n: int
    num_hits: int
    num_queries: int
    recall: float
    """Percent of the queries, those without a positive among them."""
    low: float
    high: float
    """The 95 % Wilson interval."""


@dataclass(frozen=True)
class Evaluation:
    """A model's ranking of one split, to be asked for any N, distance and part of the queries."""

    ranking: Ranking
    queries: pa.Table
    """(Q rows) with the columns of a folder of descriptors."""
    num_database: int
    first_paths: tuple[str | None, ...]
    """(Q,) the nearest image of each query; None where the model had no numbers for the query."""

    @property
    def num_queries(self) -> int:
        """How many queries there are, those without a positive among them."""
        return len(self.first_paths)

    def recall(self, n: int, distance_m: float, among: NDArray[np.bool_] | None = None) -> Recall:
        """Return recall@N.

        Args:
            n: how many of the nearest images are looked at.
            distance_m: within how many metres an image is a positive.
            among: (Q,) the queries that count; all unless given.

        Raises:
            ValueError: so many were not ranked.
        """
        hits = self.ranking.hits(n, distance_m)
        hits = hits if among is None else hits[among]
        num_hits, num_queries = int(hits.sum()), len(hits)
        recall = 100 * num_hits / num_queries if num_queries else 0.0
        return Recall(n, num_hits, num_queries, recall, *wilson_interval(num_hits, num_queries))


def evaluate(
    source: Source,
    split: str,
    *,
    max_n: int = NUM_RANKED,
    crops: Crops = "mean",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank the database of a split for each of its queries.

    Args:
        source: descriptors of the split.
        split: which.
        max_n: the largest N that recall@N will be asked for.
        crops: how queries in five crops are ranked.
        threads: how many threads faiss uses; all cores unless given.
        progress: called with how many database images are searched, and of how many.

    Raises:
        UserError: the split has no queries or no database, its images have no positions, or they
            lie in several UTM zones.
    """
    images = labelled_images(source, split)
    k = max(max_n, NUM_RANKED)
    ranked, _ = search_split(
        source, split, images, k, crops=crops, threads=threads, progress=progress
    )
    first = pa.array(ranked[:, 0], mask=ranked[:, 0] < 0)
    first_paths = images.database["path"].take(first).to_pylist()
    ranking = ranking_of(ranked, *images)
    return Evaluation(ranking, images.queries, images.database.num_rows, tuple(first_paths))


def compare(first: Evaluation, second: Evaluation, n: int, distance_m: float) -> Comparison:
    """Return how far recall@N of the first lies above that of the second, on the same queries.

    Both are single trainings: the noise of seeds is not in it, and p is McNemar's.
    """
    hits = (each.ranking.hits(n, distance_m)[None] for each in (first, second))
    return compare_repeats(*hits)
