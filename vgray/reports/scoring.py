"""From retrieved images to the numbers of a report: recalls, differences and what they mean."""

from collections.abc import Sequence
from statistics import stdev

import numpy as np
from numpy.typing import NDArray

from vgray.reports.results import Difference, Score
from vgray.retrieval.comparison import compare_repeats
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.ranking import Ranking

RECALL_AT = (1, 5, 10, 20, 25)


def score(rankings: Sequence[Ranking], ns: Sequence[int], distance_m: float) -> list[Score]:
    """Return recall@N of a method on one test set, for each N.

    Args:
        rankings: of each seed's model.
        ns: the values of N.
        distance_m: within how many metres an image is a positive.

    Returns:
        The mean over the seeds with the Wilson interval of as many hits, rounded to whole queries,
        and the standard deviation over the seeds.

    Raises:
        ValueError: there is no ranking or no query, or fewer than N images are ranked.
    """
    scores = []
    for n in ns:
        hits = _hits(rankings, n, distance_m)
        if not hits.size:
            raise ValueError("recall of no queries")
        # In this order, as elsewhere: of equal recalls not one shall be printed as 28.7, one 28.8.
        recalls = 100 * hits.sum(axis=1) / hits.shape[1]
        low, high = wilson_interval(round(float(hits.sum(axis=1).mean())), hits.shape[1])
        std = stdev(recalls.tolist()) if len(recalls) > 1 else None
        scores.append(Score(n, float(recalls.mean()), low, high, std))
    return scores


def compare(
    ours: Sequence[Ranking],
    theirs: Sequence[Ranking],
    than: str,
    ns: Sequence[int],
    distance_m: float,
) -> list[Difference]:
    """Return how far one method lies above another on the same queries, for each N.

    The test is that of :func:`vgray.retrieval.comparison.compare_repeats`: with one seed each,
    McNemar's exact test.

    Args:
        ours: the rankings of each of the method's seeds.
        theirs: the same of the other method.
        than: the other method's name.
        ns: the values of N.
        distance_m: within how many metres an image is a positive.

    Raises:
        ValueError: the two are not of as many queries, or fewer than N images are ranked.
    """
    found = []
    for n in ns:
        result = compare_repeats(_hits(ours, n, distance_m), _hits(theirs, n, distance_m))
        found.append(
            Difference(
                n,
                than,
                result.difference,
                result.low,
                result.high,
                result.p_value,
            )
        )
    return found


def _hits(rankings: Sequence[Ranking], n: int, distance_m: float) -> NDArray[np.bool_]:
    """Return (R, Q) whether each of R models hits each query."""
    return np.array([ranking.hits(n, distance_m) for ranking in rankings])
