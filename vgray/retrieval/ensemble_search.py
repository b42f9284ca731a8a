"""Which models make the best ensemble, found on the validation split alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.retrieval.comparison import describe_p, mcnemar
from vgray.retrieval.ensemble_nearest import Trial, nearest_of_each
from vgray.retrieval.ranking import ranking_of
from vgray.retrieval.same_images import require_same_images
from vgray.retrieval.sources import Source
from vgray.retrieval.split_search import labelled_images

WEIGHTS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Step:
    """A model that the search added."""

    added: str
    weight: float
    dimension: int
    """Of the ensemble with it."""
    val_recall: float
    """Recall@1 of the ensemble with it, in percent."""
    gain: float
    """Points above the ensemble before; of the first model, its recall."""
    p_value: float | None
    """Of McNemar's exact test against the ensemble before; None of the first model."""


@dataclass(frozen=True)
class Found:
    """The ensemble that a search ended with; a single model where no ensemble is better."""

    members: list[tuple[str, float]]
    """With their weights, in the order they were added; the first is the best single model."""
    steps: list[Step]
    singles: dict[str, float]
    """Recall@1 of each candidate that fits the budget alone, in percent."""
    recall: float
    """Of the ensemble, in percent."""
    gain: float
    """Points above the best single model."""
    p_value: float
    """Of McNemar's exact test against the best single model; 1 where that is what was found.

    It takes the ensemble for the only one that was tried, so it flatters.
    """
    num_tried: int
    """Single models and ensembles whose recall was compared."""
    num_queries: int
    dimension: int
    budget: int | None
    weights: list[float]
    left_out: dict[str, str]
    """Candidates that could not be members, with the reason."""

    @property
    def outcome(self) -> str:
        """What came of it, in one sentence without its full stop."""
        if len(self.members) == 1:
            tried = self.num_tried - len(self.singles)
            if not tried:
                return "a single model; no candidate could be added to it"
            return f"none of {tried} ensembles is better than the best single model on validation"
        return (
            f"{len(self.members)} members; {self.gain:.1f} points above the best single model on "
            f"validation ({describe_p(self.p_value)}, which takes no account of the "
            f"{self.num_tried} settings compared)"
        )


def search_ensemble(
    candidates: Mapping[str, Source],
    split: str,
    distance_m: float,
    *,
    weights: Sequence[float] = WEIGHTS,
    budget: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Build an ensemble by greedy forward selection, by recall@1.

    It begins with the best single model and adds, each time, the candidate and weight that raise
    recall@1 of :class:`~vgray.retrieval.ensembles.Concatenated` most, until none raises it or none
    fits. Of equal recalls the smaller dimension is taken, then the candidate given first, then the
    weight closest to 1. Source of the method: Caruana et al. 2004, here without replacement.

    The search is exact and goes through all descriptors once a step (more often where the queries'
    descriptors are above 512 MB), a block of each candidate's at a time.

    Args:
        candidates: models by name, described on the same images.
        split: the validation split.
        distance_m: within how many metres an image is a positive, inclusive. Queries without one
            stay in the denominator.
        weights: to try of each added model; the first member's is 1.
        budget: the largest dimension of the ensemble.
        threads: how many to compute with; all cores unless given.
        progress: called with how many database images of the present step are done, of how many.

    Raises:
        UserError: candidates are of different images or have queries in crops, the split has no
            queries, no database or no positions, none fits the budget, or a weight is not above 0.
        ValueError: there is no candidate or no weight.
    """
    if not candidates or not weights:
        raise ValueError("an ensemble is searched among candidates and weights")
    if not all(np.isfinite(weight) and weight > 0 for weight in weights):
        raise UserError(f"weights {list(weights)} of an ensemble: expected numbers above 0")
    left_out = _too_large(candidates, budget)
    rest = {name: source for name, source in candidates.items() if name not in left_out}
    for role in ("queries", "database"):
        require_same_images(list(rest.values()), split, role)
    queries, database = labelled_images(next(iter(rest.values())), split)
    ordered_weights = sorted(dict.fromkeys(weights), key=lambda weight: abs(log(weight)))

    members: list[Trial] = []
    steps: list[Step] = []
    singles: dict[str, float] = {}
    hits = best_single = np.zeros(queries.num_rows, dtype=bool)
    num_tried = dimension = 0
    while True:
        fitting = [
            name
            for name, source in rest.items()
            if name not in dict(members)
            and (budget is None or dimension + source.dimension <= budget)
        ]
        trials = [(name, w) for name in fitting for w in (ordered_weights if members else [1.0])]
        if not trials:
            break
        nearest = nearest_of_each(rest, members, trials, split, threads, progress)
        away_m = ranking_of(nearest.T, queries, database).away_m.T
        all_hits = away_m <= distance_m
        num_tried += len(trials)
        if not members:
            singles = {
                name: _percent(found) for (name, _), found in zip(trials, all_hits, strict=True)
            }
        # The first of equals, in the order of the trials.
        best = min(
            range(len(trials)),
            key=lambda t: (-int(all_hits[t].sum()), rest[trials[t][0]].dimension),
        )
        before, after = hits, all_hits[best]
        if members and after.sum() <= before.sum():
            break
        name, weight = trials[best]
        dimension += rest[name].dimension
        steps.append(
            Step(
                name,
                weight,
                dimension,
                _percent(after),
                _percent(after) - _percent(before),
                mcnemar(after, before) if members else None,
            )
        )
        best_single = best_single if members else after
        members.append((name, weight))
        hits = after
    return Found(
        members=members,
        steps=steps,
        singles=singles,
        recall=_percent(hits),
        gain=_percent(hits) - _percent(best_single),
        p_value=mcnemar(hits, best_single),
        num_tried=num_tried,
        num_queries=len(hits),
        dimension=dimension,
        budget=budget,
        weights=list(weights),
        left_out=left_out,
    )


def _too_large(candidates: Mapping[str, Source], budget: int | None) -> dict[str, str]:
    if budget is None:
        return {}
    left_out = {
        name: f"its {source.dimension} dimensions are above the budget of {budget}"
        for name, source in candidates.items()
        if source.dimension > budget
    }
    if len(left_out) == len(candidates):
        least = min(source.dimension for source in candidates.values())
        raise UserError(
            f"no candidate fits into an ensemble of {budget} dimensions; the smallest has {least}, "
            "so allow at least that"
        )
    return left_out


def _percent(hits: NDArray[np.bool_]) -> float:
    return 100 * int(hits.sum()) / len(hits)
