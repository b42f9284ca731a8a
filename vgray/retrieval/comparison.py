"""Whether one model is better than another on the same queries, or ahead by chance."""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """How far the recall of one setting lies above that of another."""

    difference: float
    """Points of percent."""
    low: float
    high: float
    """The 95 % interval, points of percent."""
    p_value: float
    """Two-sided: how often two equal settings would lie as far apart."""

    @property
    def is_certain(self) -> bool:
        """Whether the two can be told apart, at the level of the interval."""
        return self.p_value < 1 - CONFIDENCE


def describe_p(p: float) -> str:
    """Return a p-value as it is printed: ``p 0.41``, or ``p < 0.001``."""
    return f"p {p:.2g}" if p >= 0.001 else "p < 0.001"


def mcnemar(hits_a: NDArray[np.bool_], hits_b: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value that two models hit equally often.

    Only queries that one of them hits and the other misses tell; among those each is as likely as
    the other to have hit. Source: McNemar 1947, with the binomial distribution.

    Args:
        hits_a: (Q,) whether the first model hits each query.
        hits_b: (Q,) the same for the second.

    Raises:
        ValueError: the two are not of the same queries.
    """
    hits_a, hits_b = np.asarray(hits_a, dtype=bool), np.asarray(hits_b, dtype=bool)
    if hits_a.ndim != 1 or hits_a.shape != hits_b.shape:
        raise ValueError(f"expected twice (Q,), found {hits_a.shape} and {hits_b.shape}")
    return _sign_test(int((hits_a & ~hits_b).sum()), int((~hits_a & hits_b).sum()))


def compare_repeats(hits_a: NDArray[np.bool_], hits_b: NDArray[np.bool_]) -> Comparison:
    """Compare two settings, each trained with several seeds, over the same queries.

    Two things could have come out otherwise: which queries there are, and how the seeds fell. With
    d_q the difference of a query's mean hits, the variance of the mean difference is taken as
    var(d_q) / Q + var(recall of a's seeds) / R + var(recall of b's seeds) / S, with a t
    distribution whose degrees of freedom are those of Welch and Satterthwaite. The first term has
    some of the noise of the seeds in it already, so the test is conservative: of equal settings it
    tells about 1 % apart where seeds change which queries are hit but not how many, and about 5 %,
    as intended, where they change that too.

    A setting with a single seed is given the variance of the other's seeds, and the degrees of
    freedom are those of that variance alone: Welch's would be many just when it comes out too
    small. With one seed each, the noise of the seeds is not known and not in the result: p is that
    of :func:`mcnemar`, and the interval holds 0 just when that p is 0.05 or more. It is the hull of
    two: that of Agresti and Min 2005, with half a query more of each of the four outcomes, which
    covers about 95 %; and that of Clopper and Pearson 1934 for the share of the queries that only
    one of the two hits, which agrees with p. The latter takes the number of those queries for
    known, so by itself it covers far less where few differ, or nearly all in one direction.

    Args:
        hits_a: (R, Q) whether each of R trainings of the first setting hits each query.
        hits_b: (S, Q) the same for S trainings of the second.

    Raises:
        ValueError: there is no query or no training, or the queries are not as many.
    """
    hits_a, hits_b = np.asarray(hits_a, dtype=bool), np.asarray(hits_b, dtype=bool)
    if hits_a.ndim != 2 or hits_b.ndim != 2 or hits_a.shape[1] != hits_b.shape[1]:
        raise ValueError(f"expected (R, Q) and (S, Q), found {hits_a.shape} and {hits_b.shape}")
    if not hits_a.size or not hits_b.size:
        raise ValueError(f"nothing to compare in {hits_a.shape} and {hits_b.shape}")
    if len(hits_a) == len(hits_b) == 1:
        return _compare_single(hits_a[0], hits_b[0])
    each = hits_a.mean(axis=0) - hits_b.mean(axis=0)
    mean, num_queries = float(each.mean()), len(each)
    # Sums of counts, so that what is zero is exactly zero.
    won, lost = int((each > 0).sum()), int((each < 0).sum())
    parts = _seed_variances(hits_a, hits_b)
    if num_queries > 1:
        parts.append((float(each.var(ddof=1)) / num_queries, num_queries - 1))
    error = sqrt(sum(variance for variance, _ in parts))
    if error < 1e-12 or num_queries == 1:
        # All queries say the same, so there is no spread to go by. What can still be said is how
        # large a share of queries that say otherwise would go unseen among so many.
        unseen = 1 - (1 - CONFIDENCE) ** (1 / num_queries)
        return _comparison(mean, mean - unseen, mean + unseen, _sign_test(won, lost))
    freedom = error**4 / sum(v * v / n for v, n in parts if v) if error else inf
    if min(len(hits_a), len(hits_b)) == 1 < max(len(hits_a), len(hits_b)):
        freedom = max(len(hits_a), len(hits_b)) - 1
    half = error * float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
    p_value = 2 * float(special.stdtr(freedom, -abs(mean) / error))
    return _comparison(mean, mean - half, mean + half, p_value)


def _compare_single(hits_a: NDArray[np.bool_], hits_b: NDArray[np.bool_]) -> Comparison:
    """Compare two trainings by the queries (Q,) that only one of them hits."""
    won, lost = int((hits_a & ~hits_b).sum()), int((~hits_a & hits_b).sum())
    num_queries, differing = len(hits_a), won + lost
    # Agresti and Min's.
    total = num_queries + 2
    centre = (won - lost) / total
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * sqrt(
        ((differing + 1) / total - centre**2) / total
    )
    # Clopper and Pearson's: a share of 0.5 is a difference of 0.
    tail = (1 - CONFIDENCE) / 2
    least = float(special.betaincinv(won, lost + 1, tail)) if won else 0.0
    most = float(special.betaincinv(won + 1, lost, 1 - tail)) if lost else 1.0
    low = min(centre - half, (2 * least - 1) * differing / num_queries)
    high = max(centre + half, (2 * most - 1) * differing / num_queries)
    return _comparison((won - lost) / num_queries, low, high, _sign_test(won, lost))


def _seed_variances(
    hits_a: NDArray[np.bool_], hits_b: NDArray[np.bool_]
) -> list[tuple[float, int]]:
    """Return the variance of each mean recall that is due to seeds, with its degrees of freedom."""
    known = [
        (float(hits.mean(axis=1).var(ddof=1)), len(hits))
        for hits in (hits_a, hits_b)
        if len(hits) > 1
    ]
    if len(known) == 1:
        (variance, count) = known[0]
        return [(variance * (1 / len(hits_a) + 1 / len(hits_b)), count - 1)]
    return [(variance / count, count - 1) for variance, count in known]


def _sign_test(won: int, lost: int) -> float:
    if won == lost:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(won, lost), won + lost, 0.5)))


def _comparison(mean: float, low: float, high: float, p_value: float) -> Comparison:
    return Comparison(100 * mean, 100 * max(low, -1.0), 100 * min(high, 1.0), p_value)
