"""Where the finalists stand: by the mean of their repeats, and whether that is more than chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import (
    Choice,
    choose_finalists,
    is_finalist,
    repeat_seeds,
    seed_of,
)
from vgray.orchestration.records import BestTrial, best_epoch, best_trial
from vgray.orchestration.report import EPOCH, METRIC
from vgray.retrieval import Comparison, compare_repeats
from vgray.retrieval.comparison import describe_p

RanksOf = Callable[[FrozenTrial], NDArray[np.integer] | None]
"""(Q,) rank of each query's first positive at the trial's best epoch; None if they are not kept."""


@dataclass(frozen=True)
class Standing:
    """Where a setting stands among the finalists."""

    trial: FrozenTrial
    """Of the search, whose setting it is."""
    repeats: list[FrozenTrial]
    """The finished ones, in order."""
    num_failed: int
    behind: Comparison | None = None
    """How far the first setting is ahead of this one; None of the first, or if it is not known."""

    @property
    def num_repeats(self) -> int:
        """By how many repeats it is ranked, with those that failed: the same for all settings."""
        return len(self.repeats) + self.num_failed

    @property
    def recalls(self) -> list[float]:
        """Recall@1 of each repeat at its best epoch, in percent."""
        return [(best_epoch(trial) or {})[METRIC] for trial in self.repeats]

    @property
    def mean(self) -> float:
        """The mean of the recalls. That of the search is not in it: it was selected by it."""
        return mean(self.recalls)

    @property
    def std(self) -> float | None:
        """The standard deviation of the recalls; None of a single one."""
        return stdev(self.recalls) if len(self.repeats) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "trial": self.trial.number,
            "settings": self.trial.user_attrs[studies.SETTINGS],
            "mean": self.mean,
            "std": self.std,
            "min": min(self.recalls),
            "max": max(self.recalls),
            "repeats": [_repeat_row(trial) for trial in self.repeats],
            "failed": self.num_failed,
            "behind_first": vars(self.behind) if self.behind else None,
        }


def rank_finalists(trials: Sequence[FrozenTrial]) -> list[Standing]:
    """Return the settings by the mean recall@1 of their repeats, the highest first.

    All are ranked by the same number of repeats, so by the same seeds: those that every finalist
    has ended. What is ranked stays so while more finalists or more repeats of them are trained: a
    new finalist comes in with the last of its repeats, and a further repeat counts when all that
    are ranked have ended theirs. Only when everything that was asked for has ended, a former
    finalist drops out that has fewer repeats.

    Repeats that failed are left out of the mean. A setting of which all failed is not ranked.

    Args:
        trials: the sweep's latest.
    """
    of: dict[int, list[FrozenTrial]] = {}
    for trial in filter(is_finalist, trials):
        of.setdefault(trial.user_attrs[studies.FINALIST_OF], []).append(trial)
    firsts = [trial for trial in trials if trial.number in of]
    num_ended = {first.number: _num_ended(first, of[first.number]) for first in firsts}
    num_ranked = _num_ranked(trials, num_ended)
    standings = []
    for first in firsts:
        if num_ended[first.number] >= num_ranked:
            with_seed = {seed_of(trial): trial for trial in of[first.number]}
            repeats = [with_seed[seed] for seed in repeat_seeds(first, num_ranked)]
            finished = [trial for trial in repeats if trial.state == TrialState.COMPLETE]
            if finished:
                standings.append(Standing(first, finished, num_ranked - len(finished)))
    return sorted(standings, key=lambda each: (-each.mean, -max(each.recalls)))


def best_of_sweep(trials: Sequence[FrozenTrial]) -> BestTrial | None:
    """Return the best repeat of the first setting; without any, the best trial of the search.

    Args:
        trials: the sweep's latest.
    """
    standings = rank_finalists(trials)
    if standings:
        return best_trial(standings[0].repeats)
    return best_trial([trial for trial in trials if not is_finalist(trial)])


def compare_with_first(standings: Sequence[Standing], ranks_of: RanksOf) -> list[Standing]:
    """Return the settings with how far the first is ahead of each of the others.

    That the first was chosen as the highest of several is not accounted for.

    Args:
        standings: the highest first.
        ranks_of: returns the ranks of a trial's best epoch.
    """
    if len(standings) < 2:
        return list(standings)
    hits = [_hits(each.repeats, ranks_of) for each in standings]
    compared = [standings[0]]
    for standing, others in zip(standings[1:], hits[1:], strict=True):
        first = hits[0]
        if first is not None and others is not None and first.shape[1] == others.shape[1]:
            standing = replace(standing, behind=compare_repeats(first, others))
        compared.append(standing)
    return compared


def compare_two_best(trials: Sequence[FrozenTrial], ranks_of: RanksOf) -> Standing | None:
    """Return the second best setting of a search, with how far the best is ahead of it.

    Args:
        trials: of the search, which has ended.
        ranks_of: returns the ranks of a trial's best epoch.

    Returns:
        None without a second setting, or if the ranks are not kept.
    """
    pair = [Standing(trial, [trial], 0) for trial in choose_finalists(trials, 2)]
    second = compare_with_first(pair, ranks_of)[-1] if len(pair) == 2 else None
    return second if second and second.behind else None


def verdict(standings: Sequence[Standing]) -> str | None:
    """Return in a sentence whether the first setting is better than the second; None of one."""
    if len(standings) < 2:
        return None
    first, second = standings[:2]
    if second.behind is None:
        return (
            f"first and second differ by {first.mean - second.mean:.1f} points; without the "
            "ranks of their queries it is not known whether that is chance"
        )
    counts = sorted({len(first.repeats), len(second.repeats)})
    seeds = " and ".join(map(str, counts))
    queries = (best_epoch(first.repeats[0]) or {}).get("num_queries")
    of = f"{queries} queries, {seeds} seed{'s'[: counts != [1]]} each"
    if counts == [1]:
        of += ", so the noise of the seeds is not in it"
    if second.behind.is_certain:
        return f"the first is better than the second by {describe_difference(second.behind)}; {of}"
    return (
        f"first and second cannot be told apart (difference {describe_difference(second.behind)}); "
        f"{of}"
    )


def describe_difference(comparison: Comparison) -> str:
    """Return ``1.2 points [-2.0, 4.4], p 0.41``."""
    between = f"[{comparison.low:.1f}, {comparison.high:.1f}]"
    p = describe_p(comparison.p_value)
    return f"{comparison.difference:.1f} points {between}, {p}"


def _num_ended(first: FrozenTrial, repeats: Sequence[FrozenTrial]) -> int:
    """Return how many repeats have ended of a setting, counted up to the first that has not."""
    # One that failed and is tried again has ended once, and its setting was ranked without it.
    ended = {
        seed_of(trial)
        for trial in repeats
        if trial.state.is_finished() or studies.RETRY_OF in trial.user_attrs
    }
    return sum(1 for _ in takewhile(ended.__contains__, repeat_seeds(first, len(ended))))


def _num_ranked(trials: Sequence[FrozenTrial], num_ended: Mapping[int, int]) -> int:
    """Return by how many repeats the settings are ranked; ``num_ended`` is of each, by number."""
    ranked_by = 0
    for trial in filter(is_finalist, trials):
        choice = Choice(**trial.user_attrs[studies.AMONG])
        common = min(num_ended.get(number, 0) for number in choice.settings)
        common = min(common, choice.repeats)
        ranked = [ended for ended in num_ended.values() if ended >= ranked_by > 0]
        drops_none = common > ranked_by and all(ended >= common for ended in ranked)
        if drops_none or common == choice.repeats:
            ranked_by = common
    return ranked_by


def _hits(trials: Sequence[FrozenTrial], ranks_of: RanksOf) -> NDArray[np.bool_] | None:
    """Return (R, Q) whether the nearest image to each query is a positive, if all are known."""
    ranks = [ranks_of(trial) for trial in trials]
    known = [each == 0 for each in ranks if each is not None]
    if len(known) < len(ranks) or len({len(each) for each in known}) != 1:
        return None
    return np.stack(known)


def _repeat_row(trial: FrozenTrial) -> dict[str, Any]:
    best = best_epoch(trial) or {}
    return {
        "trial": trial.number,
        "seed": seed_of(trial),
        "epoch": best[EPOCH],
        METRIC: best[METRIC],
    }
