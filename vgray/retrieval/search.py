"""Exact nearest neighbours, also in a database that does not fit in memory.

faiss finds the candidates by |x|² + |y|² - 2xy, one matrix product, whose last bits depend on where
in the database a descriptor stands. So their distances are computed anew, each pair by itself
(3 % of the time): two equal descriptors are then equally far, ties go by the order of the
database, and the result is the same whatever blocks the database comes in. Inner products would
round as much, and rank otherwise where descriptors are not of the very same length, as in float16.

Candidates are looked for among descriptors less their mean, which leaves the distances as they are:
those of a model to which all images look alike would differ in nothing but those last bits.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgray.retrieval.library import faiss_with
from vgray.retrieval.vectors import mean_of_finite

_BLOCK_VALUES = 2**25  # 128 MiB as float32: large enough that merging the blocks takes no time
_PAIRS = 2**22  # measured at once where everything has to be measured
_SPARE = 8  # candidates beyond k, which tell how near those may be that were not found
_GPU_MOST = 2048  # neighbours of a query, by faiss
_NONE = np.uint64(2**64 - 1)


def rows_of_a_block(dimension: int) -> int:
    """Return how many descriptors a block of the database should have."""
    return max(256, _BLOCK_VALUES // dimension)


def nearest(
    database: NDArray[np.floating],
    queries: NDArray[np.floating],
    k: int,
    *,
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Rank the ``k`` nearest database descriptors of each query by Euclidean distance.

    The search is exact, on float32; of equally near ones the first in the database is first. On
    descriptors of length 1, as the network makes them, the order is that of cosine similarity.

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
    rows = rows_of_a_block(database.shape[1])
    blocks = (database[start : start + rows] for start in range(0, len(database), rows))
    return nearest_in_blocks(blocks, queries, k, threads=threads)[0]


def nearest_in_blocks(
    blocks: Iterable[NDArray[np.floating]],
    queries: NDArray[np.floating],
    k: int,
    *,
    threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank the ``k`` nearest descriptors of a database that is read block by block.

    As :func:`nearest`, on a GPU if faiss has one. In memory are a block, the queries and some
    arrays of (Q, k).

    Args:
        blocks: the database in order, (n, d) each, of ``rows_of_a_block`` rows or so.
        queries: (Q, d) descriptors.
        k: how many.
        threads: how many threads faiss uses; all cores unless given.

    Returns:
        Rows of the database (Q, k) and squared distances (Q, k), nearest first; -1 and inf where
        the database has fewer than ``k`` at a finite distance.

    Raises:
        ValueError: the dimensions differ, or ``k`` is less than 1.
    """
    if queries.ndim != 2 or k < 1:
        raise ValueError(f"expected (Q, d) and k of 1 or more, found {queries.shape} and {k}")
    with faiss_with(threads) as faiss:
        search = _Search(faiss, np.ascontiguousarray(queries, dtype=np.float32), k)
        for block in blocks:
            if block.ndim != 2 or block.shape[1] != queries.shape[1]:
                raise ValueError(f"expected (n, {queries.shape[1]}), found {block.shape}")
            if len(block) and len(queries):
                search.add(np.ascontiguousarray(block, dtype=np.float32))
    return search.result()


class _Search:
    """The best so far of each query, as keys: squared distance above, row below.

    As bits, floats of one sign are ordered as numbers are, so sorting keys sorts by distance and
    then by row.
    """

    def __init__(self, faiss: Any, queries: NDArray[np.float32], k: int) -> None:
        self._faiss = faiss
        self._queries = queries
        self._k = k
        self._best = np.full((len(queries), k), _NONE, dtype=np.uint64)
        self._num_rows = 0
        self._origin: NDArray[np.float32] | None = None
        self._centred = queries
        self._longest = 0.0
        self._slack = 0.0
        self._gpu = faiss.StandardGpuResources() if faiss.get_num_gpus() else None

    def add(self, block: NDArray[np.float32]) -> None:
        """Take in the next rows of the database."""
        everything = np.arange(len(self._queries))
        wanted = self._k + _SPARE
        if wanted < len(block):
            self._best, unsure = self._search(block, wanted)
            everything = np.flatnonzero(unsure)
        # Such queries are rare, unless many descriptors are the same.
        at_once = max(1, _PAIRS // len(block))
        for start in range(0, len(everything), at_once):
            query = everything[start : start + at_once]
            self._best[query] = self._merged(query, self._measure_all(block, query))
        self._num_rows += len(block)

    def _search(
        self, block: NDArray[np.float32], wanted: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Return the new best, but the old where (Q,) rows not found might belong to the best."""
        if self._origin is None:
            self._origin = mean_of_finite(block)
            self._centred = self._queries - self._origin
            self._longest = _squared_length(self._centred)
        centred = block - self._origin
        # How far the matrix product may be off is measured below, but never on every pair.
        longest = self._longest + _squared_length(centred)
        rounding = float(np.finfo(np.float32).eps) * np.sqrt(block.shape[1]) * longest
        self._slack = max(self._slack, rounding)
        roughly, rows = self._candidates(centred, wanted)
        worst = _distances(self._best[:, -1])
        promising = (rows >= 0) & (roughly <= worst[:, None] + self._slack)
        query, column = np.nonzero(promising)
        found = rows[query, column]
        exact = self._measure(block, query, found)
        off = np.abs(exact - roughly[promising])
        self._slack = max(self._slack, 4 * float(off[np.isfinite(off)].max(initial=0)))
        keys = np.full(rows.shape, _NONE, dtype=np.uint64)
        keys[query, column] = self._keys(exact, found)
        merged = self._merged(slice(None), keys)
        unsure = (rows[:, -1] >= 0) & (
            roughly[:, -1] <= _distances(merged[:, -1]) + np.float32(self._slack)
        )
        merged[unsure] = self._best[unsure]
        return merged, unsure

    def _candidates(
        self, block: NDArray[np.float32], wanted: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if self._gpu is not None and wanted <= _GPU_MOST:
            found = self._faiss.knn_gpu(self._gpu, self._centred, block, wanted)
        else:
            found = self._faiss.knn(self._centred, block, wanted)
        roughly: NDArray[np.float32] = found[0]
        rows: NDArray[np.int64] = found[1]
        return roughly, rows

    def _measure_all(
        self, block: NDArray[np.float32], query: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        rows = np.tile(np.arange(len(block)), len(query))
        exact = self._measure(block, np.repeat(query, len(block)), rows)
        return self._keys(exact, rows).reshape(len(query), len(block))

    def _measure(
        self, block: NDArray[np.float32], query: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the squared distances (n,) of pairs of query and row."""
        exact = np.empty(len(rows), dtype=np.float32)
        ours, theirs = np.ascontiguousarray(query), np.ascontiguousarray(rows)
        pointer = self._faiss.swig_ptr
        self._faiss.pairwise_indexed_L2sqr(
            block.shape[1],
            len(rows),
            pointer(self._queries),
            pointer(ours),
            pointer(block),
            pointer(theirs),
            pointer(exact),
        )
        return exact

    def _keys(self, exact: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        distances = exact.view(np.uint32).astype(np.uint64) << np.uint64(32)
        keys = distances | (rows + self._num_rows).astype(np.uint64)
        return np.where(np.isfinite(exact), keys, _NONE)

    def _merged(
        self, query: slice | NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        together = np.concatenate([self._best[query], keys], axis=1)
        together.partition(self._k - 1, axis=1)
        best: NDArray[np.uint64] = np.sort(together[:, : self._k], axis=1)
        return best

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and squared distances, (Q, k) each."""
        rows = (self._best & np.uint64(2**32 - 1)).astype(np.int64)
        return np.where(self._best == _NONE, -1, rows), _distances(self._best)


def _distances(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    distances = (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
    return np.where(keys == _NONE, np.float32(np.inf), distances)


def _squared_length(x: NDArray[np.float32]) -> float:
    """Return that of the longest row of finite length."""
    lengths = np.einsum("ij,ij->i", x, x)
    return float(lengths[np.isfinite(lengths)].max(initial=0.0))
