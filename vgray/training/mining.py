"""Tuples of a query, its positives and its negatives, chosen by what the network makes of them."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgray.places.positives import positives_within
from vgray.places.train_split import TrainSplit
from vgray.places.tuples import draw_outside, find_candidates, query_weights, refresh_sizes
from vgray.recipe.losses import FullMining, Mining, MslsWeightedMining, NoMining, RandomMining
from vgray.training.process import limited_threads

logger = logging.getLogger(__name__)

Rows: TypeAlias = NDArray[np.int64]

Describe: TypeAlias = Callable[[Rows], NDArray[np.float32]]
"""From rows (n,) of the training split to their descriptors (n, D) by the network as it is now."""

_BLOCK = 2**24  # distances held at once: 64 MB


@dataclass
class _Tally:
    """What there is to say of an epoch."""

    seconds: float = 0.0
    pools: list[int] = field(default_factory=list)  # the size of each
    described: int = 0
    num_tuples: int = 0


class TupleMiner:
    """Mines the tuples of every epoch: random, partial, full, or msls_weighted.

    An epoch is cut into refreshes. Each draws queries, describes them, their positives and a pool
    of the database by the network as it is then, and chooses for every query

    - the positives whose descriptors are nearest to its own, the first again where there are fewer;
    - the negatives whose descriptors are nearest, of a pool without its soft positives: one for
      the whole refresh (``partial``, ``msls_weighted``), or one of its own and the negatives chosen
      when it was last drawn (``full``). What the pool lacks is drawn at random, with ``random``
      all of them;
    - if asked for, another database image that shows neither the query's place nor that of one of
      its negatives, at random.

    Source: deep-visual-geo-localization-benchmark; the further negative is SOE-Net's. What the
    recipe asks for beyond what the data has is cut down to it, negatives to the most that any query
    has; a query with fewer has its own again, the hardest first.

    Args:
        settings: the recipe's mining.
        split: what tuples are made of.
        others: further negatives of each tuple, 0 or 1.
        seed: with the numbers of epoch and refresh it decides all that is random.
        threads: for the distances; torch's unless given.

    Attributes:
        positives, negatives, others: how many of each a tuple has, after its query.
        num_queries: that can be drawn.
        num_dropped: queries without a positive or without a negative, which are not.
        num_batches: in every epoch.

    Raises:
        UserError: there is nothing to make tuples of, see :func:`find_candidates`, or nothing that
            ``msls_weighted`` could go by.
        ValueError: ``settings`` are those of no mining, or ``others`` is neither 0 nor 1.
    """

    def __init__(
        self,
        settings: Mining,
        split: TrainSplit,
        *,
        others: int = 0,
        seed: int,
        threads: int | None = None,
    ) -> None:
        if isinstance(settings, NoMining) or others not in (0, 1):
            raise ValueError(f"no tuples of mining {settings.name} and {others} others")
        self._settings, self._seed, self._threads = settings, seed, threads
        self._positions_m = split.positions_m
        self._candidates = candidates = find_candidates(
            split.positions_m,
            split.is_query,
            split.is_database,
            positive_distance_m=settings.train_positive_distance_m,
            soft_distance_m=settings.soft_positive_distance_m,
        )
        self.num_queries = len(candidates.query_rows)
        self.num_dropped = candidates.num_without_positive + candidates.num_without_negative
        database = len(candidates.database_rows)
        most = max(database - len(soft) for soft in candidates.soft_positives)
        self.positives, self.others = settings.positives, others
        self.negatives = max(1, min(settings.negatives, most - others))
        self._refreshes = refresh_sizes(settings, self.num_queries)
        self.num_batches = sum(-(-n // settings.tuples_per_batch) for n in self._refreshes)
        wanted = 0 if isinstance(settings, RandomMining) else settings.pool_size
        self._pool_size = min(wanted, database)
        self._weights: NDArray[np.float64] | None = None
        if isinstance(settings, MslsWeightedMining):
            rows = candidates.query_rows
            self._weights = query_weights(split.is_night[rows], split.is_sideways[rows])
        # Of each query: the negatives it had last, as indices into the database; -1 before that.
        self._last = np.full((self.num_queries, self.negatives), -1, dtype=np.int64)
        self._tally = _Tally()
        logger.info(
            "tuples of %d queries and %d database images; left out: %d queries with no positive "
            "within %g m, %d with no negative beyond %g m",
            self.num_queries,
            database,
            candidates.num_without_positive,
            settings.train_positive_distance_m,
            candidates.num_without_negative,
            settings.soft_positive_distance_m,
        )

    def describe_cut(self) -> str:
        """Return, in a sentence, what is asked for beyond what the data has; "" if nothing is."""
        asked = self._settings.arguments()
        used = {
            "negatives": self.negatives,
            "queries_per_epoch": sum(self._refreshes),
            "cache_refresh_rate": self._refreshes[0],
            "pool_size": self._pool_size,
        }
        cut = [f"{key} {asked[key]} to {n}" for key, n in used.items() if n < asked.get(key, 0)]
        database = len(self._candidates.database_rows)
        soft = self._candidates.soft_positives
        few = sum(database - len(near) < self.negatives for near in soft)
        said = [f"cut down to the data: {', '.join(cut)}"] if cut else []
        if few:
            said.append(f"queries that repeat negatives, having fewer than {self.negatives}: {few}")
        return "; ".join(said)

    def epoch(self, epoch: int, describe: Describe) -> Iterator[Rows]:
        """Mine an epoch's tuples, those of a refresh when its first batch is asked for.

        Args:
            epoch: its number.
            describe: called once in each refresh, with the rows that it needs, ascending.

        Yields:
            (B * (1 + positives + negatives + others),) rows of the training split, those of a tuple
            side by side in this order. B is ``tuples_per_batch``, less at the end of a refresh.
        """
        self._tally = _Tally()
        for refresh, count in enumerate(self._refreshes):
            started = perf_counter()
            rng = np.random.default_rng([self._seed, epoch, refresh])
            tuples = self._mine(rng, count, describe)
            self._tally.num_tuples += count
            self._tally.seconds += perf_counter() - started
            for first in range(0, count, self._settings.tuples_per_batch):
                yield tuples[first : first + self._settings.tuples_per_batch].reshape(-1)

    def metrics(self) -> dict[str, float]:
        """Return what there is to say of the last epoch.

        ``num_tuples``, ``dropped_queries``, ``mining_seconds`` (with describing),
        ``mining_described`` (images, each time that they are), and ``mining_pool``: the database
        images of which a query's negatives are chosen by descriptor, on average; 0 for random.

        Raises:
            ValueError: there was no epoch.
        """
        tally = self._tally
        if not tally.num_tuples:
            raise ValueError("no epoch was mined")
        return {
            "num_tuples": tally.num_tuples,
            "dropped_queries": self.num_dropped,
            "mining_seconds": tally.seconds,
            "mining_described": tally.described,
            "mining_pool": float(np.mean(tally.pools)),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epoch depends on beside its number: the negatives of the last."""
        if isinstance(self._settings, FullMining):
            return {"last_negatives": torch.from_numpy(self._last.copy())}
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; ValueError if it is of other data or another mining."""
        mine = {key: value.shape for key, value in self.state_dict().items()}
        found = {key: value.shape for key, value in state.items()}
        if mine != found:
            raise ValueError(f"expected the state {mine}, found {found}")
        if state:
            self._last = state["last_negatives"].cpu().numpy().copy()

    def _mine(self, rng: np.random.Generator, count: int, describe: Describe) -> Rows:
        """Return the tuples (count, size) of a refresh."""
        queries = rng.choice(self.num_queries, count, replace=False, p=self._weights)
        positives = [self._candidates.positives[query] for query in queries]
        pools = self._pools(rng, queries)
        described = np.unique(np.concatenate([*positives, *pools]))
        query_rows = self._candidates.query_rows[queries]
        database_rows = self._candidates.database_rows
        rows = np.union1d(query_rows, database_rows[described])
        self._tally.described += len(rows)
        descriptors = torch.from_numpy(describe(rows))
        column_of = np.searchsorted(rows, database_rows)  # of those that are described
        chosen = np.empty((count, self.positives + self.negatives), dtype=np.int64)
        places = np.searchsorted(rows, query_rows)
        for i, near in enumerate(self._distances(descriptors, places)):
            best = _nearest(near[column_of[positives[i]]], positives[i], self.positives)
            hardest = _nearest(near[column_of[pools[i]]], pools[i], self.negatives)
            chosen[i, : self.positives] = best[0]
            chosen[i, : len(best)] = best
            chosen[i, self.positives :] = self._filled_up(rng, queries[i], hardest)
        negatives = chosen[:, self.positives :]
        self._last[queries] = negatives
        if self.others:
            others = self._others(rng, queries, negatives)
            chosen = np.concatenate([chosen, others[:, None]], axis=1)
        return np.concatenate([query_rows[:, None], database_rows[chosen]], axis=1)

    def _pools(self, rng: np.random.Generator, queries: Rows) -> list[Rows]:
        """Return, for each query, the database images of which the hardest are its negatives."""
        soft = [self._candidates.soft_positives[query] for query in queries]
        database = len(self._candidates.database_rows)
        if not isinstance(self._settings, FullMining):
            shared = np.sort(rng.choice(database, self._pool_size, replace=False))
            self._tally.pools.append(len(shared))
            return [shared[~np.isin(shared, near)] for near in soft]
        pools = []
        for query, near in zip(queries, soft, strict=True):
            last = self._last[query]
            pool = draw_outside(rng, database, near, self._pool_size)
            pools.append(np.union1d(pool, last[last >= 0]))
            self._tally.pools.append(len(pools[-1]))
        return pools

    def _distances(self, descriptors: Tensor, places: Rows) -> Iterator[NDArray[np.float32]]:
        """Yield, for each query, what its squared distance to all (n, D) is, but for a constant."""
        squares = torch.linalg.vector_norm(descriptors, dim=1).square()
        step = max(1, _BLOCK // len(descriptors))
        for start in range(0, len(places), step):
            block = descriptors[torch.from_numpy(places[start : start + step])]
            with limited_threads(self._threads):
                distances = torch.addmm(squares, block, descriptors.T, alpha=-2)
            yield from distances.numpy()

    def _filled_up(self, rng: np.random.Generator, query: int, hardest: Rows) -> Rows:
        """Return as many negatives as a tuple has, those that are missing at random.

        Where the query has no more, its own again from the first.
        """
        missing = self.negatives - len(hardest)
        if not missing:
            return hardest
        excluded = np.concatenate([self._candidates.soft_positives[query], hardest])
        database = len(self._candidates.database_rows)
        more = draw_outside(rng, database, excluded, missing)
        return np.resize(np.concatenate([hardest, more]), self.negatives)

    def _others(self, rng: np.random.Generator, queries: Rows, negatives: Rows) -> Rows:
        """Return, for each query, a database image of a place that its tuple does not show.

        Where there is none, another negative that is not in the tuple; at last any negative.
        """
        at_m = self._positions_m[self._candidates.database_rows]
        distinct, number = np.unique(negatives, return_inverse=True)
        near = positives_within(at_m[distinct], at_m, self._settings.soft_positive_distance_m)
        drawn = np.empty(len(queries), dtype=np.int64)
        for i, query in enumerate(queries):
            soft = self._candidates.soft_positives[query]
            around = [near[n] for n in number.reshape(negatives.shape)[i]]
            for excluded in ([soft, *around], [soft, negatives[i]], [soft]):
                other = draw_outside(rng, len(at_m), np.unique(np.concatenate(excluded)), 1)
                if len(other):
                    break
            drawn[i] = other[0]
        return drawn


def _nearest(distances: NDArray[np.float32], images: Rows, count: int) -> Rows:
    """Return the ``count`` nearest of images (n,), or all if there are fewer."""
    return images[np.argsort(distances, kind="stable")[:count]]
