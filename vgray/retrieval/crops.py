"""Queries in five crops each: one ranking out of five.

Source: the deep visual geo-localization benchmark (Berton et al. 2022), ``test.py``: its methods
``five_crops`` (here ``mean``), ``nearest_crop`` and ``maj_voting``. It ranks 20 images for each
crop; here they are as many as are asked for, but at least the 10 that vote, so the first of a long
ranking are those of a short one, and with 20 they are the benchmark's. Equally near images are in
the order of the database.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgray.retrieval.search import nearest_in_blocks
from vgray.retrieval.vectors import unit

Crops: TypeAlias = Literal["mean", "nearest_crop", "maj_voting"]
_VOTING = (1, 5, 10)
_WEIGHT = np.float32(0.01)  # of a vote, in squared distance; the benchmark's


def mean_of_crops(queries: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the mean (Q, D) of each query's crops (Q, C, D), L2-normalised.

    The benchmark leaves the mean as it is, which ranks alike: a query's length changes all its
    distances alike. A mean of zero stays zero.
    """
    return unit(queries.mean(axis=1, dtype=np.float32))


def rank_crops(
    blocks: Iterable[NDArray[np.floating]],
    queries: NDArray[np.floating],
    k: int,
    crops: Crops,
    *,
    threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank the ``k`` nearest descriptors of queries that are described by several crops.

    - ``mean``: by the distance from the mean of the crops;
    - ``nearest_crop``: by the distance from whichever crop is nearest;
    - ``maj_voting``: likewise, after images that are found for several crops have come nearer: for
      each of n = 1, 5 and 10, a squared distance that is among the first n of its crop is lowered
      by 0.01 * c / n, if the image is among the first n of c > 1 crops.

    Args:
        blocks: the database in order, (n, D) each.
        queries: (Q, C, D) descriptors.
        k: how many.
        crops: how.
        threads: how many threads faiss uses; all cores unless given.

    Returns:
        Rows of the database (Q, k), best first, and squared distances (Q, k) of the mean, or of
        the nearest crop before any votes; -1 and inf where the database has fewer.

    Raises:
        ValueError: the shapes do not fit, or ``k`` is less than 1.
    """
    if queries.ndim != 3:
        raise ValueError(f"expected (Q, C, D), found {queries.shape}")
    if crops == "mean":
        return nearest_in_blocks(blocks, mean_of_crops(queries), k, threads=threads)
    num_queries, num_crops, dimension = queries.shape
    wanted = max(k, *_VOTING) if crops == "maj_voting" else k
    rows, squared = nearest_in_blocks(
        blocks, queries.reshape(-1, dimension), wanted, threads=threads
    )
    rows = rows.reshape(num_queries, num_crops, wanted)
    squared = squared.reshape(rows.shape)
    voted = _after_votes(rows, squared) if crops == "maj_voting" else squared
    flat = (num_queries, num_crops * wanted)
    return _best(rows.reshape(flat), squared.reshape(flat), voted.reshape(flat), k)


def _after_votes(rows: NDArray[np.int64], squared: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distances (Q, C, K) after the votes."""
    squared = squared.copy()
    for n in _VOTING:
        first = rows[:, :, :n]
        voters = first.reshape(len(rows), -1)
        # An image is once among the first of a crop, so places are crops: (Q, C * n) each.
        counts = np.stack([(voters == column[:, None]).sum(axis=1) for column in voters.T], axis=1)
        several = (counts > 1) & (voters >= 0)
        lowered = np.where(several, _WEIGHT * (counts / n).astype(np.float32), 0)
        squared[:, :, :n] -= lowered.reshape(first.shape)
    return squared


def _best(
    rows: NDArray[np.int64], squared: NDArray[np.float32], voted: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the ``k`` different rows (Q, k) of the lowest votes among (Q, M), and how far."""
    # Each row's entries side by side, by either measure the lowest first.
    by_distance, by_votes = (np.lexsort((each, rows), axis=1) for each in (squared, voted))
    together = np.take_along_axis(rows, by_distance, axis=1)
    nearest = np.take_along_axis(squared, by_distance, axis=1)
    lowest = np.take_along_axis(voted, by_votes, axis=1)
    repeated = np.zeros(rows.shape, dtype=bool)
    repeated[:, 1:] = together[:, 1:] == together[:, :-1]
    lowest = np.where(repeated | (together < 0), np.float32(np.inf), lowest)
    order = np.lexsort((together, lowest), axis=1)[:, :k]
    none = np.isinf(np.take_along_axis(lowest, order, axis=1))
    best = np.where(none, -1, np.take_along_axis(together, order, axis=1))
    return best, np.where(none, np.float32(np.inf), np.take_along_axis(nearest, order, axis=1))
