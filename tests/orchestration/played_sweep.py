"""A sweep with finalists that is played without Ray: what its trials reach is written down here."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import missing_repeats
from vgray.orchestration.report import epoch_report, failure_report
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.search import FinalistSearch, StudySearch, tell_what_was_ending
from vgray.orchestration.spaces import load_space
from vgray.recipe import Recipe

EPOCHS = 2
SPACE = load_space("optimizers")
BASE = Recipe(epochs=EPOCHS, seed=5).with_settings(SPACE.base)
QUERIES = 40
# Of the search: the third is the best, the second is stopped, the fourth fails.
SEARCHED = {0: 60.0, 1: 55.0, 2: 70.0, 3: 95.0, 4: 50.0}
# Of the repeats, by the trial of the search and the seed: the one behind in the search is ahead.
REPEATED = {(2, 6): 62.5, (2, 7): 65.0, (0, 6): 75.0, (0, 7): 57.5}


def recall(config: dict[str, Any]) -> float | None:
    """Return what a trial reaches; None if it fails."""
    if config["finalist_of"] is None:
        return SEARCHED.get(config["number"], 10.0) if config["number"] != 3 else None
    return REPEATED.get((config["finalist_of"], config["recipe"]["seed"]), 20.0)


def _epochs_of(
    run: RunFolder, search: StudySearch, recall_of: Callable[[dict[str, Any]], float | None]
) -> Iterator[None]:
    """Play one trial after another; between any two steps the sweep may be killed."""
    while isinstance(config := search.suggest("a"), dict):
        yield
        reached = recall_of(config)
        if reached is None:
            search.on_trial_complete("a", failure_report(config["number"], 0, "the loss is nan"))
            continue
        last = 1 if config["number"] == 1 else EPOCHS
        for epoch in range(1, last + 1):
            value = reached - 5 * (last - epoch)
            metrics = {"epoch": epoch, "recall@1": value, "num_queries": QUERIES, "seconds": 1.0}
            checkpoint = run.trials / config["folder"] / f"epoch-{epoch:04d}"
            checkpoint.mkdir(parents=True, exist_ok=True)
            np.save(checkpoint / "ranks.npy", _ranks(value))
            report = epoch_report(config["number"], metrics)
            if epoch < last:
                search.on_trial_result("a", report)
                yield
            else:
                search.on_trial_complete("a", report)
        yield


def _ranks(recall: float) -> Any:
    hits = round(recall * QUERIES / 100)
    return np.repeat([0, -1], [hits, QUERIES - hits]).astype(np.int32)


def sweep(
    run: RunFolder,
    num_trials: int = 5,
    count: int = 2,
    repeats: int = 2,
    recall_of: Callable[[dict[str, Any]], float | None] = recall,
) -> Iterator[None]:
    """Play a sweep from where it is, as it is run on Ray."""
    study = studies.open_study(run.journal)
    tell_what_was_ending(study)
    num_to_run = studies.num_unfinished(study, num_trials)
    search = StudySearch(study, SPACE, BASE, num_to_run=num_to_run, seed=3, trials=run.trials)
    yield from _epochs_of(run, search, recall_of)
    yield
    missing = missing_repeats(study, count, repeats)
    finals = FinalistSearch(study, SPACE, BASE, missing=missing, trials=run.trials)
    yield from _epochs_of(run, finals, recall_of)


def play(run: RunFolder, **options: Any) -> optuna.Study:
    for _ in sweep(run, **options):
        pass
    return studies.open_study(run.journal)
