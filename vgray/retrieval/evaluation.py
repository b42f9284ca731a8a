"""Recall of described models on the queries of a split, and of one model against another."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.retrieval.comparison import Comparison, compare_repeats
from vgray.retrieval.crops import Crops
from vgray.retrieval.descriptors import Descriptors, part_name
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.ranking import Ranking, rank_split
from vgray.retrieval.sources import Source

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
    first_paths: tuple[str, ...]
    """(Q,) the nearest image of each query."""

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
        UserError: the split has no queries or no database, or its images have no positions.
    """
    # Of a million images, what is not asked for would be half a gigabyte.
    database = source.images(split, "database").select(["path", "east_m", "north_m"])
    queries = source.images(split, "queries")
    require_positions(database, f"database images of the {split} split")
    require_positions(queries, f"queries of the {split} split")
    k = max(max_n, NUM_RANKED)
    ranking = rank_split(source, split, k, crops=crops, threads=threads, progress=progress)
    first = database["path"].take(pa.array(ranking.ranked[:, 0]))
    return Evaluation(ranking, queries, database.num_rows, tuple(first.to_pylist()))


def compare(first: Evaluation, second: Evaluation, n: int, distance_m: float) -> Comparison:
    """Return how far recall@N of the first lies above that of the second, on the same queries.

    Both are single trainings: the noise of seeds is not in it, and p is McNemar's.
    """
    hits = (each.ranking.hits(n, distance_m)[None] for each in (first, second))
    return compare_repeats(*hits)


def require_positions(images: pa.Table, what: str) -> None:
    """Refuse images without positions, of which no recall is known.

    Raises:
        UserError: some have none.
    """
    positions = np.column_stack([images[name].to_numpy() for name in ("east_m", "north_m")])
    known = np.isfinite(positions).all(axis=1)
    if not known.all():
        raise UserError(
            f"{int((~known).sum()):,} of {len(known):,} {what} have no position, such as "
            f"{images['path'][int(np.argmin(known))].as_py()}; without positions there is no "
            "recall: --no-labels only retrieves"
        )


def require_same_images(described: Mapping[str, Descriptors], split: str) -> None:
    """Refuse folders that are not of the same images: their recalls cannot be compared.

    Where the data lies does not matter, so that folders of two machines can be compared.

    Args:
        described: folders by the names under which they are shown.
        split: which is compared.

    Raises:
        UserError: they are of different data, or one skipped images that another described.
    """
    (first_name, first), *others = described.items()
    for name, other in others:
        if other.description.fingerprint != first.description.fingerprint:
            raise UserError(
                f"descriptors of different datasets: {first_name} is of {first.description.data} "
                f"and {name} of {other.description.data} (their fingerprints differ); evaluate "
                "them one at a time, or extract both from one dataset"
            )
        for role in ("queries", "database"):
            _require_same_part((first_name, first), (name, other), split, role)


def _require_same_part(
    first: tuple[str, Descriptors], second: tuple[str, Descriptors], split: str, role: str
) -> None:
    part = part_name(split, role)
    tables = [descriptors.images(split, role) for _, descriptors in (first, second)]
    if all(
        table.num_rows == descriptors.description.parts[part]
        for table, (_, descriptors) in zip(tables, (first, second), strict=True)
    ):
        return  # nothing was skipped, and the fingerprint says that the data is the same
    found = [Counter(_keys(table)) for table in tables]
    if found[0] == found[1]:
        return
    missing = [found[1 - which] - found[which] for which in (0, 1)]
    which = 0 if missing[0] else 1
    lacking, having = (first, second) if which == 0 else (second, first)
    example = next(iter(missing[which]))[0]
    raise UserError(
        f"{lacking[0]} lacks {missing[which].total():,} of the {part} images "
        f"that {having[0]} has, such as {example}: they could not be read then (skipped.csv in "
        f"{lacking[1].folder}); make them readable and extract {lacking[0]} anew, or evaluate the "
        "two one at a time"
    )


def _keys(images: pa.Table) -> Sequence[tuple[str, float, float]]:
    """Return what identifies an image wherever its data set lies."""
    names = ["/".join(path.rsplit("/", 2)[-2:]) for path in images["path"].to_pylist()]
    return list(
        zip(names, images["east_m"].to_pylist(), images["north_m"].to_pylist(), strict=True)
    )
