"""Which database images were retrieved for each query, and how far away from it they were taken.

The distances are kept, not a yes or no, so one search answers recall@N for every N and every
distance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vgray.retrieval.crops import Crops
from vgray.retrieval.sources import Source
from vgray.retrieval.split_search import labelled_images, positions_of, search_split

_QUERIES = 1024  # at once, so that what is computed on the way stays small


@dataclass(frozen=True)
class Ranking:
    """The images retrieved for Q queries, K each.

    A query or image without a position (NaN) is away from everything, so it is no positive and
    has none: recall of it is 0, and of unlabelled images no recall should be spoken of.
    """

    ranked: NDArray[np.int64]
    """(Q, K) rows of the database, nearest descriptor first; -1 stands for none."""
    away_m: NDArray[np.float64]
    """(Q, K) metres from the query to where that image was taken; inf for none, NaN if unknown."""
    nearest_m: NDArray[np.float64]
    """(Q,) metres to the closest of all database images; inf without any."""
    whole: bool = False
    """Whether the K are all of the database, which answers every N."""

    def ranks(self, distance_m: float) -> NDArray[np.int64]:
        """Return the rank (Q,), from 0, of each query's first image within a distance, or -1.

        The distance is inclusive and rounded as in :func:`vgray.places.positives_within`.
        """
        near = self.away_m <= distance_m
        if not near.size:
            return np.full(len(near), -1, dtype=np.int64)
        return np.where(near.any(axis=1), near.argmax(axis=1), -1)

    def hits(self, n: int, distance_m: float) -> NDArray[np.bool_]:
        """Return (Q,) whether one of the first ``n`` images is within a distance of the query.

        Raises:
            ValueError: fewer than ``n`` of the database's images are ranked.
        """
        self._require(n)
        hits: NDArray[np.bool_] = np.any(self.away_m[:, :n] <= distance_m, axis=1)
        return hits

    def curve(self, ns: Sequence[int], distances_m: Sequence[float]) -> NDArray[np.float64]:
        """Return recall@N in percent for every N and distance: (len(ns), len(distances_m)).

        Queries without a positive stay in the denominator.

        Raises:
            ValueError: there is no query, or fewer than N images are ranked.
        """
        num_queries, num_ranked = self.away_m.shape
        if not num_queries:
            raise ValueError("recall of no queries")
        self._require(*ns)
        # Of the first n, the one taken closest decides about every distance. What is unknown is
        # passed over, and sorted to the end.
        closest_m = np.fmin.accumulate(self.away_m, axis=1)
        curve = np.empty((len(ns), len(distances_m)), dtype=np.float64)
        for row, n in enumerate(ns):
            sorted_m = np.sort(closest_m[:, min(n, num_ranked) - 1])
            curve[row] = np.searchsorted(sorted_m, distances_m, side="right")
        percent: NDArray[np.float64] = 100.0 * curve / num_queries
        return percent

    def num_without_positive(self, distance_m: float) -> int:
        """Return how many queries have no database image within a distance."""
        return int((~(self.nearest_m <= distance_m)).sum())

    def _require(self, *ns: int) -> None:
        ranked = self.ranked.shape[1]
        if ns and (min(ns) < 1 or (max(ns) > ranked and not self.whole)):
            raise ValueError(f"N of {list(ns)}, but only {ranked} are ranked")


def rank_split(
    source: Source,
    split: str,
    k: int,
    *,
    crops: Crops = "mean",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Search a split's database for each of its queries.

    Args:
        source: the descriptors of both.
        split: whose database and queries.
        k: how many images to rank, or all if the database has fewer.
        crops: how queries that are described in five crops are ranked.
        threads: how many threads faiss uses; all cores unless given.
        progress: called with how many database images are searched, and of how many.

    Raises:
        UserError: there are no queries or no database images, some have no position, they lie in
            several UTM zones, or the descriptors are missing or damaged.
        ValueError: ``k`` is less than 1.
    """
    images = labelled_images(source, split)
    ranked, _ = search_split(
        source, split, images, k, crops=crops, threads=threads, progress=progress
    )
    return ranking_of(ranked, *images)


def ranking_of(ranked: NDArray[np.int64], queries: pa.Table, database: pa.Table) -> Ranking:
    """Say of retrieved images how far from the queries they were taken.

    Args:
        ranked: (Q, K) rows of the database, -1 for none.
        queries: (Q rows) with ``east_m`` and ``north_m``, which may be NaN.
        database: (D rows) with the same.

    Raises:
        ValueError: ``ranked`` is not (Q, K).
    """
    if ranked.ndim != 2 or len(ranked) != queries.num_rows:
        raise ValueError(f"expected ({queries.num_rows}, K), found {ranked.shape}")
    at_m, database_m = positions_of(queries), positions_of(database)
    away_m = np.full(ranked.shape, np.inf)
    if len(database_m):
        for start in range(0, len(ranked), _QUERIES):
            rows = ranked[start : start + _QUERIES]
            metres = _metres(database_m[rows], at_m[start : start + _QUERIES, None])
            away_m[start : start + _QUERIES] = np.where(rows < 0, np.inf, metres)
    whole = ranked.shape[1] >= database.num_rows
    return Ranking(ranked, away_m, _nearest_m(at_m, database_m), whole)


def _metres(database_m: NDArray[np.float64], queries_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances, rounded as ``positives_within`` rounds them, which the tests compare."""
    metres: NDArray[np.float64] = np.sqrt(((database_m - queries_m) ** 2).sum(axis=-1))
    return metres


def _nearest_m(
    queries_m: NDArray[np.float64], database_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the metres (Q,) to the closest position with a value, inf without."""
    nearest_m = np.full(len(queries_m), np.inf)
    known = np.flatnonzero(np.isfinite(queries_m).all(axis=1))
    # Panoramas are many images in one place, of which one will do.
    places_m = np.unique(database_m[np.isfinite(database_m).all(axis=1)], axis=0)
    if not len(places_m):
        return nearest_m
    tree = cKDTree(places_m)
    for start in range(0, len(known), _QUERIES):
        rows = known[start : start + _QUERIES]
        # The tree only proposes, as its last bit may differ: what is about as close is measured.
        about_m, _ = tree.query(queries_m[rows])
        found = tree.query_ball_point(queries_m[rows], about_m * (1 + 1e-9) + 1e-6)
        counts = np.fromiter(map(len, found), np.int64, len(rows))
        places = np.concatenate([np.asarray(each, dtype=np.int64) for each in found])
        metres = _metres(places_m[places], np.repeat(queries_m[rows], counts, axis=0))
        nearest_m[rows] = np.minimum.reduceat(metres, np.cumsum(counts) - counts)
    return nearest_m
