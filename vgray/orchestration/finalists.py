"""Finalists: the best settings of a search, trained again to tell which of them is the best.

The recall by which a search ranks its trials is that of one seed each, and the highest of many is
high by luck too. So the best settings are trained to full length with other seeds, as trials of the
same study, and are ranked by the mean of those. What is there and what is missing follows from the
study at any time: nothing else is kept, so a sweep may be killed anywhere in between. Each keeps
which settings were then to be repeated, and how often: where more are asked for of a run that has
ended, what it found holds until they have ended too.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgray.orchestration import study as studies
from vgray.orchestration.records import best_epoch
from vgray.orchestration.report import METRIC


@dataclass(frozen=True)
class Choice:
    """What is to be repeated, and how often."""

    settings: list[int]
    """The numbers of the search's trials that have them."""
    repeats: int


@dataclass(frozen=True)
class Repeat:
    """A training that a finalist still lacks."""

    trial: FrozenTrial
    """Of the search, whose setting it has."""
    seed: int
    among: Choice


def is_finalist(trial: FrozenTrial) -> bool:
    """Return whether a trial repeats a setting of the search."""
    return studies.FINALIST_OF in trial.user_attrs


def choose_finalists(trials: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """Return the trials whose settings are to be repeated, the best first.

    They are ordered by the recall@1 of their best epoch, finished ones and those that were stopped
    alike, so the first is the best of the search. Failed ones are left out. Of equal recipes the
    best trial stands for all.

    Args:
        trials: of the search.
        count: how many settings at most.
    """
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    recalls = {trial.number: best[METRIC] for trial in ended if (best := best_epoch(trial))}
    distinct: dict[str, FrozenTrial] = {}
    known = (trial for trial in ended if trial.number in recalls)
    for trial in sorted(known, key=lambda trial: -recalls[trial.number]):
        distinct.setdefault(json.dumps(trial.user_attrs[studies.RECIPE], sort_keys=True), trial)
    return list(distinct.values())[:count]


def missing_repeats(study: optuna.Study, count: int, repeats: int) -> list[Repeat]:
    """Return what is to be trained that is not in the study, of every setting the first seed first.

    Args:
        study: the sweep's; while its search goes on, its best may still change.
        count: how many settings are repeated.
        repeats: how often each.
    """
    there = {
        (trial.user_attrs[studies.FINALIST_OF], seed_of(trial))
        for trial in studies.latest_trials(study)
        if is_finalist(trial)
    }
    chosen = choose_finalists(studies.search_trials(study), count)
    among = Choice([trial.number for trial in chosen], repeats)
    wanted = [
        Repeat(trial, seed, among)
        for seeds in zip(*(repeat_seeds(trial, repeats) for trial in chosen), strict=True)
        for trial, seed in zip(chosen, seeds, strict=True)
    ]
    return [each for each in wanted if (each.trial.number, each.seed) not in there]


def unfinished_finalists(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finalists that were interrupted, then those that wait to be tried again."""
    trials = [trial for trial in studies.latest_trials(study) if is_finalist(trial)]
    return studies.begun_and_waiting(trials)


def num_finalists_left(study: optuna.Study, num_trials: int, count: int, repeats: int) -> int:
    """Return how many finalists are still to be run; while the search goes on, as it looks now.

    Args:
        study: the sweep's.
        num_trials: of its search.
        count: how many settings are repeated.
        repeats: how often each.
    """
    left = len(unfinished_finalists(study)) + len(missing_repeats(study, count, repeats))
    if studies.num_unfinished(study, num_trials):
        chosen = choose_finalists(studies.search_trials(study), count)
        left += max(min(count, num_trials) - len(chosen), 0) * repeats
    return left


def begin_repeat(study: optuna.Study, repeat: Repeat) -> optuna.Trial:
    """Put a finalist into the study, at work; returns its live object.

    It has no parameters of Optuna's, so that a sampler does not take its setting for another one.
    """
    attributes = repeat.trial.user_attrs
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            user_attrs={
                studies.FINALIST_OF: repeat.trial.number,
                studies.AMONG: asdict(repeat.among),
                studies.SETTINGS: attributes[studies.SETTINGS],
                studies.RECIPE: {**attributes[studies.RECIPE], "seed": repeat.seed},
            },
        )
    )
    return studies.resume_trial(study, study.get_trials(deepcopy=False)[-1])


def seed_of(trial: FrozenTrial) -> int:
    """Return the seed that a trial is trained with."""
    seed: int = trial.user_attrs[studies.RECIPE]["seed"]
    return seed


def repeat_seeds(trial: FrozenTrial, repeats: int) -> list[int]:
    """Return the seeds of a setting's repeats: those behind the search's."""
    return [(seed_of(trial) + number) % 2**32 for number in range(1, repeats + 1)]
