"""The Optuna study of a sweep: the one record of which trials exist and how each of them ended.

It lives in the run folder as Optuna's own append-only journal, written before anything depends on
it. A sweep is resumed from it alone; Ray Tune's state is never read back.
"""

import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from vgray.orchestration.spaces import SearchSpace, parameter_name
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


def enqueue_published(study: optuna.Study, space: SearchSpace, count: int) -> None:
    """Put the first ``count`` published settings in front of what the sampler draws.

    Safe to repeat: settings that are in the study already stay where they are.
    """
    there = [trial.user_attrs.get(KNOWN) for trial in study.get_trials(deepcopy=False)]
    for setting in space.published[:count]:
        known = json.loads(json.dumps(dict(setting)))  # as the journal has it
        if known not in there:
            params = {parameter_name(path, known): value for path, value in known.items()}
            study.enqueue_trial(params, user_attrs={KNOWN: known})


def configure(
    study: optuna.Study, trial: optuna.Trial, space: SearchSpace, base: Recipe, seed: int
) -> Recipe:
    """Draw the trial's recipe, or return the one that it has since before an interruption.

    The sampler is seeded by ``seed`` and the trial's number, so that a resumed sweep does not draw
    the numbers of its beginning again.
    """
    attributes: Mapping[str, Any] = trial.user_attrs
    if RECIPE in attributes:
        if RETRY_OF in attributes and not trial.params:
            # Optuna takes the values that the failed trial had, so that it learns from this one.
            space.draw(trial, attributes[SETTINGS])
        return Recipe.from_dict(attributes[RECIPE])
    study.sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + trial.number) % 2**32)
    settings = space.draw(trial, attributes.get(KNOWN, {}))
    recipe = space.recipe(base, settings)
    trial.set_user_attr(SETTINGS, settings)
    trial.set_user_attr(RECIPE, recipe.to_dict())
    return recipe


def resume_trial(study: optuna.Study, frozen: FrozenTrial) -> optuna.Trial:
    """Return the live object of a trial that the study holds as running."""
    return optuna.Trial(study, frozen._trial_id)


def enqueue_retries(study: optuna.Study) -> list[int]:
    """Enqueue every failed trial again, with its recipe; returns the numbers of the failed ones.

    The failed trial stays in the study as it ended. Its successor shares its folder, and so goes
    on from its last checkpoint.
    """
    failed = [trial for trial in latest_trials(study) if trial.state == TrialState.FAIL]
    for trial in failed:
        kept = {key: trial.user_attrs[key] for key in (RECIPE, SETTINGS) if key in trial.user_attrs}
        study.enqueue_trial(trial.params, user_attrs={**kept, RETRY_OF: folder_number(trial)})
    return [trial.number for trial in failed]


def latest_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the study's trials in order, without the failed ones that were tried again."""
    latest = {folder_number(trial): trial for trial in study.get_trials(deepcopy=False)}
    return [latest[number] for number in sorted(latest)]


def num_unfinished(study: optuna.Study, num_trials: int) -> int:
    """Return how many trials a sweep of ``num_trials`` has still to run.

    These are the running ones (of an interrupted sweep), the retries, and those not begun.
    """
    trials = latest_trials(study)
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
