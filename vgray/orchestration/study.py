"""The Optuna study of a sweep: the one record of which trials exist and how each of them ended.

It lives in the run folder as Optuna's own append-only journal, written before anything depends on
it. A sweep is resumed from it alone; Ray Tune's state is never read back.
"""

import json
import logging
import os
import warnings
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgray.orchestration.recipe_trial import parameter_name
from vgray.orchestration.samplers import build_sampler
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe

logger = logging.getLogger(__name__)

STUDY_NAME = "vgray"

# What a trial's user attributes hold.
RECIPE = "recipe"  # the whole recipe, as JSON values
SETTINGS = "settings"  # what is varied: dotted path -> value
KNOWN = "known"  # the published setting that the trial tries, if it does
FAILURE = "failure"  # one line, of a failed trial
ENDING = "ending"  # the last epoch's metrics, of a trial that is about to be told as ended
RETRY_OF = "retry_of"  # the number of the failed trial that this one does again
FINALIST_OF = "finalist_of"  # the number of the search's trial whose setting a finalist repeats
AMONG = "among"  # of a finalist: which settings were to be repeated, how often, when it was begun
WARM_START = "warm_start"  # the trial of an earlier run that this is, there for the sampler alone


def open_study(journal: Path) -> optuna.Study:
    """Open the study in a journal file, or create it. The caller is the only one to write it.

    Two things that a killed process may have left are mended first: a lock, for which Optuna would
    wait half a minute, and a line half-written, which it would refuse once another follows it.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    _cut_unfinished_line(journal)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=STUDY_NAME,
        direction="maximize",
        load_if_exists=True,
    )


def _cut_unfinished_line(journal: Path) -> None:
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            logger.warning("%s: cut off an unfinished line", journal)
            file.truncate(whole)
            os.fsync(file.fileno())


def enqueue_given(
    study: optuna.Study,
    given: Sequence[Mapping[str, Any]],
    names: Mapping[str, Any] | None = None,
) -> None:
    """Put given settings, in order, in front of what the sampler draws.

    Safe to repeat: settings that are in the study already stay where they are.

    Args:
        study: the sweep's.
        given: dotted path -> value.
        names: the methods that hold where a setting names none (``SearchSpace.names``).
    """
    trials = study.get_trials(deepcopy=False)
    there = {_key(trial.user_attrs[KNOWN]) for trial in trials if KNOWN in trial.user_attrs}
    for setting in given:
        known = json.loads(json.dumps(dict(setting)))  # as the journal has it
        if _key(known) not in there:
            methods = {**(names or {}), **known}
            params = {parameter_name(path, methods): value for path, value in known.items()}
            study.enqueue_trial(params, user_attrs={KNOWN: known})


def _key(setting: Mapping[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True)


class _WithoutFinalists(optuna.Study):
    """The study as the sampler sees it: a setting counts once, however often it was repeated."""

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if FINALIST_OF not in trial.user_attrs]


def begin_trial(
    study: optuna.Study, frozen: FrozenTrial | None, sampler: str, seed: int
) -> optuna.Trial:
    """Return the live object of a trial of the search, which draws by the named sampler.

    The sampler is seeded by ``seed`` and the trial's number, so that a resumed sweep does not draw
    the numbers of its beginning again.

    Args:
        study: the sweep's.
        frozen: a trial that waits or was interrupted; None begins a new one.
        sampler: its name, see ``samplers``.
        seed: of the sweep.
    """
    if frozen is None:
        # Optuna would take one that waits, be it a finalist.
        study.add_trial(create_trial(state=TrialState.RUNNING))
        frozen = study.get_trials(deepcopy=False)[-1]
    seen = _WithoutFinalists(
        study.study_name,
        study._storage,
        sampler=build_sampler(sampler, (seed * 1_000_003 + frozen.number) % 2**32),
    )
    return resume_trial(seen, frozen)


def configure(trial: optuna.Trial, space: SearchSpace, base: Recipe) -> Recipe:
    """Draw the trial's recipe, or return the one that it has since before an interruption."""
    attributes: Mapping[str, Any] = trial.user_attrs
    if RECIPE in attributes:
        if RETRY_OF in attributes and FINALIST_OF not in attributes and not trial.params:
            # Optuna takes the values that the failed trial had, so that it learns from this one.
            space.draw(trial, attributes[SETTINGS])
        return Recipe.from_dict(attributes[RECIPE])
    settings = space.draw(trial, attributes.get(KNOWN, {}))
    recipe = space.recipe(base, settings)
    trial.set_user_attr(SETTINGS, settings)
    trial.set_user_attr(RECIPE, recipe.to_dict())
    return recipe


def resume_trial(study: optuna.Study, frozen: FrozenTrial) -> optuna.Trial:
    """Return the live object of a trial that the study holds as running or waiting."""
    if frozen.state == TrialState.WAITING:
        study._storage.set_trial_state_values(frozen._trial_id, state=TrialState.RUNNING)
    return optuna.Trial(study, frozen._trial_id)


def enqueue_retries(study: optuna.Study) -> list[int]:
    """Enqueue every failed trial again, with its recipe; returns the numbers of the failed ones.

    The failed trial stays in the study as it ended. Its successor shares its folder, and so goes
    on from its last checkpoint.
    """
    failed = [trial for trial in latest_trials(study) if trial.state == TrialState.FAIL]
    for trial in failed:
        kept = {
            key: trial.user_attrs[key]
            for key in (RECIPE, SETTINGS, FINALIST_OF, AMONG)
            if key in trial.user_attrs
        }
        study.enqueue_trial(trial.params, user_attrs={**kept, RETRY_OF: folder_number(trial)})
    return [trial.number for trial in failed]


def latest_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the sweep's trials in order, without the failed ones that were tried again.

    Trials of an earlier run, which only inform the sampler, are none of this one.
    """
    latest = {
        folder_number(trial): trial
        for trial in study.get_trials(deepcopy=False)
        if WARM_START not in trial.user_attrs
    }
    return [latest[number] for number in sorted(latest)]


def search_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the latest trials without the finalists."""
    return [trial for trial in latest_trials(study) if FINALIST_OF not in trial.user_attrs]


def begun_and_waiting(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return those of ``trials`` that are to be run: the interrupted ones first."""
    states = (TrialState.RUNNING, TrialState.WAITING)
    return [trial for state in states for trial in trials if trial.state == state]


def num_unfinished(study: optuna.Study, num_trials: int) -> int:
    """Return how many trials the search of a sweep of ``num_trials`` has still to run.

    These are the running ones (of an interrupted sweep), the retries, and those not begun.
    """
    trials = search_trials(study)
    is_new = [
        trial.state == TrialState.WAITING and RETRY_OF not in trial.user_attrs for trial in trials
    ]
    begun = len(trials) - sum(is_new)
    unfinished = sum(not trial.state.is_finished() for trial in trials) - sum(is_new)
    return unfinished + max(num_trials - begun, 0)


def folder_number(trial: FrozenTrial | optuna.Trial) -> int:
    """Return the number in the name of the trial's folder: its own, or the one that it retries."""
    number: int = trial.user_attrs.get(RETRY_OF, trial.number)
    return number
