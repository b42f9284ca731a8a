"""Where the finalists stand: by the mean of their repeats, and whether that is more than chance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import choose_finalists, is_finalist, repeat_seeds, seed_of
from vgray.orchestration.records import BestTrial, best_epoch, best_trial
from vgray.orchestration.report import EPOCH, METRIC
from vgray.retrieval import Comparison, compare_repeats

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


def rank_finalists(trials: Sequence[FrozenTrial], repeats: int) -> list[Standing]:
    """Return the settings by the mean recall@1 of their repeats, the highest first.

    A setting is ranked when all of its repeats have ended. Those that failed are left out of the
    mean, and one of which all have failed is not ranked.

    Args:
        trials: the sweep's latest.
        repeats: how often each setting is to be repeated.
    """
    of: dict[int, list[FrozenTrial]] = {}
    for trial in filter(is_finalist, trials):
        of.setdefault(trial.user_attrs[studies.FINALIST_OF], []).append(trial)
    standings = []
    for first in trials:
        found = of.get(first.number, [])
        ended = {seed_of(trial) for trial in found if trial.state.is_finished()}
        finished = [trial for trial in found if trial.state == TrialState.COMPLETE]
        if finished and ended.issuperset(repeat_seeds(first, repeats)):
            failed = sum(trial.state == TrialState.FAIL for trial in found)
            standings.append(Standing(first, sorted(finished, key=seed_of), failed))
    return sorted(standings, key=lambda each: (-each.mean, -max(each.recalls)))


def best_of_sweep(trials: Sequence[FrozenTrial], repeats: int) -> BestTrial | None:
    """Return the best repeat of the first setting; without any, the best trial of the search.

    Args:
        trials: the sweep's latest.
        repeats: how often each setting is to be repeated.
    """
    standings = rank_finalists(trials, repeats)
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
        trials: of the search.
        ranks_of: returns the ranks of a trial's best epoch.

    Returns:
        None without a second setting that has finished, or if the ranks are not kept.
    """
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pair = [Standing(trial, [trial], 0) for trial in choose_finalists(finished, 2)]
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
    p = f"p {comparison.p_value:.2g}" if comparison.p_value >= 0.001 else "p < 0.001"
    return f"{comparison.difference:.1f} points [{comparison.low:.1f}, {comparison.high:.1f}], {p}"


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
