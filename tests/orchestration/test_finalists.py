"""Finalists: which settings are repeated, and what a sweep that is killed anywhere goes on with."""

from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState, create_trial
from played_sweep import BASE, EPOCHS, SPACE, play, recall, sweep

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import (
    choose_finalists,
    missing_repeats,
    num_finalists_left,
    unfinished_finalists,
)
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.scheduler import StudyASHA
from vgray.orchestration.search import StudySearch
from vgray.orchestration.standings import rank_finalists


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [])
    return run


def _left(study: optuna.Study) -> int:
    return studies.num_unfinished(study, 5) + num_finalists_left(study, 5, 2, 2)


def _finalists(study: optuna.Study) -> list[tuple[int, int, TrialState]]:
    return [
        (trial.user_attrs["finalist_of"], trial.user_attrs["recipe"]["seed"], trial.state)
        for trial in studies.latest_trials(study)
        if "finalist_of" in trial.user_attrs
    ]


def test_those_with_the_highest_recall_are_chosen_and_failed_ones_never(run: RunFolder) -> None:
    study = play(run, count=0)
    trials = studies.search_trials(study)
    assert [trial.state.name for trial in trials] == [
        "COMPLETE", "PRUNED", "COMPLETE", "FAIL", "COMPLETE",
    ]  # fmt: skip
    assert [trial.number for trial in choose_finalists(trials, 2)] == [2, 0]
    assert [trial.number for trial in choose_finalists(trials, 9)] == [2, 0, 1, 4]
    assert choose_finalists(trials, 0) == []


def test_equal_recipes_are_repeated_once(run: RunFolder) -> None:
    study = play(run, count=0)
    again = study.trials[2]
    last = {"epoch": 2, "recall@1": 72.0}
    study.add_trial(create_trial(value=72.0, user_attrs=again.user_attrs | {"epoch 2": last}))
    assert [trial.number for trial in choose_finalists(studies.search_trials(study), 2)] == [5, 0]


def test_the_best_are_repeated_with_other_seeds_one_seed_after_another(run: RunFolder) -> None:
    study = play(run)
    finished = TrialState.COMPLETE
    assert _finalists(study) == [
        (2, 6, finished), (0, 6, finished), (2, 7, finished), (0, 7, finished),
    ]  # fmt: skip
    for trial in study.trials[5:]:
        of = study.trials[trial.user_attrs["finalist_of"]].user_attrs
        assert trial.user_attrs["settings"] == of["settings"]
        seed = trial.user_attrs["recipe"]["seed"]
        assert trial.user_attrs["recipe"] == {**of["recipe"], "seed": seed}
    assert _left(study) == 0


def test_seeds_begin_anew_behind_the_last(run: RunFolder) -> None:
    study = play(run, count=0)
    attributes = study.trials[2].user_attrs
    recipe = {**attributes["recipe"], "seed": 2**32 - 2}
    last = {"epoch": 2, "recall@1": 99.0}
    study.add_trial(
        create_trial(value=99.0, user_attrs={**attributes, "recipe": recipe, "epoch 2": last})
    )
    assert [each.seed for each in missing_repeats(study, 1, 3)] == [2**32 - 1, 0, 1]


def test_neither_the_sampler_nor_asha_learns_from_finalists(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Spy(optuna.samplers.TPESampler):
        def sample_independent(self, study: Any, *arguments: Any) -> Any:
            seen.append(len(study.get_trials()))
            return super().sample_independent(study, *arguments)

    study = play(run)
    other = RunFolder.named(tmp_path, "without-finalists")
    other.create({"options": {}}, [])
    without = play(other, count=0)
    assert all(not trial.params for trial in study.trials[5:])
    schedulers = [StudyASHA(s, epochs=EPOCHS, grace=1, reduction=2.0) for s in (study, without)]
    rungs = [[dict(r) for _, r in each._brackets[0]._rungs] for each in schedulers]
    assert rungs[0] == rungs[1] != []
    monkeypatch.setattr(studies, "build_sampler", lambda name, seed: Spy(seed=seed))
    search = StudySearch(study, SPACE, BASE, num_to_run=1, seed=3, trials=run.trials)
    search.suggest("more")
    assert study.trials[-1].number == 9
    assert set(seen) == {6}, "5 of the search and the new one, of 10 in the study"


def test_trials_of_an_earlier_run_are_none_of_this_one(run: RunFolder) -> None:
    study = studies.open_study(run.journal)
    study.add_trial(create_trial(value=99.0, user_attrs={studies.WARM_START: "runs/old#7"}))
    assert studies.latest_trials(study) == []
    assert studies.num_unfinished(study, 5) == 5
    config = StudySearch(study, SPACE, BASE, num_to_run=1, seed=3, trials=run.trials).suggest("a")
    assert isinstance(config, dict)
    assert (config["number"], config["folder"]) == (1, "0001")


def _table(run: RunFolder) -> list[dict[str, Any]]:
    run.write_tables(studies.open_study(run.journal), running=False)
    return pq.read_table(run.path / "trials.parquet").to_pylist()


@pytest.mark.slow
def test_killed_at_any_step_a_sweep_ends_as_one_left_in_peace(
    run: RunFolder, tmp_path: Path
) -> None:
    num_steps = sum(1 for _ in sweep(run))
    undisturbed = _table(run)
    assert [row["phase"] for row in undisturbed] == ["search"] * 5 + ["finalist"] * 4
    assert num_steps > 20
    for killed_after in range(1, num_steps):
        other = RunFolder.named(tmp_path, f"killed-{killed_after}")
        other.create({"options": {}}, [])
        steps = sweep(other)
        for _ in range(killed_after):
            next(steps)
        study = studies.open_study(other.journal)
        assert _left(study) > 0 or killed_after == num_steps - 1
        play(other)
        assert _table(other) == undisturbed


def test_what_was_begun_of_finalists_waits_while_the_search_is_extended(run: RunFolder) -> None:
    steps = sweep(run)
    while len(_finalists(study := studies.open_study(run.journal))) < 2:
        next(steps)
    interrupted = study.trials[6]
    assert interrupted.state == TrialState.RUNNING
    search = StudySearch(study, SPACE, BASE, num_to_run=1, seed=3, trials=run.trials)
    config = search.suggest("more")
    assert isinstance(config, dict)
    assert (config["number"], config["finalist_of"]) == (7, None)
    assert [trial.number for trial in unfinished_finalists(study)] == [6]


def test_an_extended_search_has_its_best_determined_anew(run: RunFolder) -> None:
    play(run)

    def recall_of(config: dict[str, Any]) -> float | None:
        return 65.0 if config["number"] == 9 else recall(config)

    study = play(run, num_trials=6, recall_of=recall_of)
    new = [each[:2] for each in _finalists(study)[4:]]
    assert new == [(9, 6), (9, 7)], "trial 2 is among the best as before, trial 0 no more"
    study = play(run, num_trials=6, count=3, repeats=3, recall_of=recall_of)
    assert [each[:2] for each in _finalists(study)[6:]] == [(2, 8), (9, 8), (0, 8)]


def test_a_failed_repeat_is_left_out_and_tried_again_when_asked(run: RunFolder) -> None:
    def recall_of(config: dict[str, Any]) -> float | None:
        is_the_one = (config["finalist_of"], config["recipe"]["seed"]) == (0, 7)
        return None if is_the_one else recall(config)

    study = play(run, recall_of=recall_of)
    assert _left(study) == 0
    first, second = rank_finalists(studies.latest_trials(study))
    assert (first.trial.number, first.recalls, first.num_failed) == (0, [75.0], 1)
    assert (second.mean, second.num_failed) == (63.75, 0)
    assert studies.enqueue_retries(study) == [3, 8]
    # Resumed without the option, or retried and killed at once, both are there to be done.
    assert _left(study) == 2 + 0
    study = play(run)
    assert _left(study) == 0
    retry = study.trials[-1]
    assert retry.user_attrs["retry_of"] == 8
    assert retry.user_attrs["recipe"] == study.trials[8].user_attrs["recipe"]
    assert not retry.params
    assert [each.mean for each in rank_finalists(studies.latest_trials(study))] == [66.25, 63.75]
