"""What each method of a report retrieved for each query of a test set, as a table."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.reports.methods import Ranked
from vgray.retrieval.ranking import Ranking

NUM_KEPT = 5
"""Retrieved images that are named."""


def query_table(
    ranked: Sequence[Ranked], test: str, queries: pa.Table, database: pa.Table, distance_m: float
) -> pa.Table:
    """Return a row for each method, seed and query of a test set.

    Args:
        ranked: the methods and what they retrieved.
        test: the test set's name.
        queries: (Q rows) its images, in the order of the rankings.
        database: (D rows) its images, in the order of the rankings.
        distance_m: within how many metres an image is a positive.

    Returns:
        ``method``; ``seed`` of its training, null of an ensemble; ``path`` of the query; ``rank``
        of the first positive, from 1, null if there is none among those that were ranked;
        ``nearest_m``, how far away the closest image of the database was taken, null if that is
        not known; ``retrieved``, paths of the first ``NUM_KEPT`` retrieved images, and
        ``retrieved_m``, how far away those were taken; ``brightness`` of the query, from 0 to 255.
    """
    return pa.concat_tables(
        pa.table(
            {
                "method": [method] * queries.num_rows,
                "seed": pa.array([seed] * queries.num_rows, pa.int64()),
                "path": queries["path"],
                **_of_ranking(ranking, database, distance_m),
                "brightness": queries["brightness"],
            }
        )
        for each in ranked
        for method, seed, ranking in _rankings(each, test)
    )


def _rankings(ranked: Ranked, test: str) -> Iterator[tuple[str, int | None, Ranking]]:
    rankings = ranked.rankings[test]
    seeds = ranked.method.seeds if ranked.method.kind == "single" else [None] * len(rankings)
    for seed, ranking in zip(seeds, rankings, strict=True):
        yield ranked.method.name, seed, ranking


def _of_ranking(ranking: Ranking, database: pa.Table, distance_m: float) -> dict[str, pa.Array]:
    ranks = ranking.ranks(distance_m)
    first, away_m = ranking.ranked[:, :NUM_KEPT], ranking.away_m[:, :NUM_KEPT]
    there = first >= 0
    paths = database["path"].combine_chunks().take(pa.array(first[there]))
    return {
        "rank": pa.array(ranks + 1, pa.int32(), mask=ranks < 0),
        "nearest_m": pa.array(ranking.nearest_m, mask=~np.isfinite(ranking.nearest_m)),
        "retrieved": _lists(there, paths),
        "retrieved_m": _lists(there, pa.array(away_m[there])),
    }


def _lists(there: NDArray[np.bool_], values: pa.Array) -> pa.Array:
    offsets = np.concatenate([[0], there.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
