"""Which images may make a tuple: queries, and what of the database is near or far from each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.positives import positives_within
from vgray.recipe.losses import FullMining, Mining, NoMining, RandomMining


@dataclass(frozen=True, eq=False)
class Candidates:
    """Queries that can be trained on, and the database images that each may be compared with."""

    query_rows: NDArray[np.int64]
    """(Q,) rows of the split: queries with a positive and a negative."""
    database_rows: NDArray[np.int64]
    """(D,) rows of the split."""
    positives: list[NDArray[np.int64]]
    """Of each query: the indices into ``database_rows`` that are its positives."""
    soft_positives: list[NDArray[np.int64]]
    """Of each query: the indices that are not its negatives, its positives among them."""
    num_without_positive: int
    """Queries left out because no database image is near."""
    num_without_negative: int
    """Queries left out because no database image is far, of those with a positive."""


def find_candidates(
    positions_m: NDArray[np.float64],
    is_query: NDArray[np.bool_],
    is_database: NDArray[np.bool_],
    *,
    positive_distance_m: float,
    soft_distance_m: float,
) -> Candidates:
    """Find what tuples of a query, its positives and its negatives can be made of.

    Positives lie within ``positive_distance_m`` of the query, negatives farther away than
    ``soft_distance_m``; what lies between is neither. Agrees with
    deep-visual-geo-localization-benchmark, which trains on no query without a positive either.

    Args:
        positions_m: (T, 2) east and north of each image of the split.
        is_query: (T,) which are queries.
        is_database: (T,) which are of the database.
        positive_distance_m: inclusive, as the other.
        soft_distance_m: at least as much.

    Raises:
        UserError: there are no queries, no database, or no query has a positive, or none with one
            has a negative.
        ValueError: an image is both query and database, or the second distance is the smaller.
    """
    if (is_query & is_database).any():
        raise ValueError(f"row {int(np.argmax(is_query & is_database))} is query and database")
    if soft_distance_m < positive_distance_m:
        raise ValueError(f"within {soft_distance_m} m there are positives {positive_distance_m} m")
    queries, database = np.flatnonzero(is_query), np.flatnonzero(is_database)
    for rows, what in ((queries, "queries"), (database, "database images")):
        if not len(rows):
            raise UserError(
                f"mining.name: the train split has no {what}, and tuples are made of queries and "
                "database images; give mining.name none to train on places"
            )
    positives = positives_within(positions_m[queries], positions_m[database], positive_distance_m)
    soft = positives_within(positions_m[queries], positions_m[database], soft_distance_m)
    has_positive = np.array([len(rows) > 0 for rows in positives])
    if not has_positive.any():
        raise UserError(
            f"mining.train_positive_distance_m: found {positive_distance_m:g}, but none of the "
            f"{len(queries)} training queries has a database image that near; raise it"
        )
    kept = np.flatnonzero(has_positive & [len(rows) < len(database) for rows in soft])
    if not len(kept):
        raise UserError(
            f"mining.soft_positive_distance_m: found {soft_distance_m:g}, but none of the "
            f"{int(has_positive.sum())} training queries with a positive has a database image "
            "farther away, to be its negative; lower it"
        )
    return Candidates(
        query_rows=queries[kept],
        database_rows=database,
        positives=[positives[query] for query in kept],
        soft_positives=[soft[query] for query in kept],
        num_without_positive=len(queries) - int(has_positive.sum()),
        num_without_negative=int(has_positive.sum()) - len(kept),
    )


def refresh_sizes(mining: Mining, num_queries: int) -> list[int]:
    """Return how many queries each refresh of an epoch draws, of ``num_queries`` that there are.

    Raises:
        ValueError: ``mining`` is none.
    """
    if isinstance(mining, NoMining):
        raise ValueError("mining none has no refreshes")
    per_epoch = min(mining.queries_per_epoch, num_queries)
    per_refresh = min(mining.cache_refresh_rate, per_epoch)
    return [min(per_refresh, per_epoch - start) for start in range(0, per_epoch, per_refresh)]


def described_per_epoch(candidates: Candidates, mining: Mining) -> int:
    """Return how many images an epoch describes to choose its tuples, at most.

    Each refresh describes its queries, their positives and the pools of which negatives are chosen.

    Raises:
        ValueError: ``mining`` is none.
    """
    num_positives = np.sort([len(rows) for rows in candidates.positives])[::-1]
    num_distinct = len(np.unique(np.concatenate(candidates.positives)))
    total = 0
    for queries in refresh_sizes(mining, len(candidates.query_rows)):
        pools = 0 if isinstance(mining, NoMining | RandomMining) else mining.pool_size
        if isinstance(mining, FullMining):
            pools = queries * (mining.pool_size + mining.negatives)
        database = min(int(num_positives[:queries].sum()), num_distinct) + pools
        total += queries + min(database, len(candidates.database_rows))
    return total


def query_weights(
    is_night: NDArray[np.bool_], is_sideways: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return how likely each of N queries is drawn, the more so at night or looking sideways.

    In proportion to 1, plus N / (number at night) at night, plus N / (number looking sideways)
    looking sideways. Source: Mapillary Street-level Sequences (Warburg et al., CVPR 2020,
    supplement) as deep-visual-geo-localization-benchmark does it, which wants both kinds.

    Args:
        is_night: (N,) which queries were taken at night.
        is_sideways: (N,) which look sideways.

    Returns:
        (N,) probabilities, their sum 1.

    Raises:
        UserError: no query is of either kind.
    """
    if not (is_night.any() or is_sideways.any()):
        raise UserError(
            "mining.name: found msls_weighted, but no training query's file name notes night or "
            "sideways, as @...@night_sideways@.jpg does; give partial"
        )
    weights = np.ones(len(is_night), dtype=np.float64)
    for rare in (is_night, is_sideways):
        weights[rare] += len(rare) / max(1, rare.sum())
    weights /= weights.sum()
    return weights


def draw_outside(
    rng: np.random.Generator, size: int, excluded: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Draw ``count`` different numbers of 0 to ``size`` - 1, in random order.

    None is among ``excluded`` (E,). Fewer come back where fewer are left.
    """
    # So many that enough remain even if all that are excluded are drawn.
    drawn = rng.choice(size, min(size, count + len(excluded)), replace=False)
    return drawn[~np.isin(drawn, excluded)][:count]
