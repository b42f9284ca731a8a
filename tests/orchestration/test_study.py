"""The study is the record of a sweep: what it is told, and what a sweep is resumed from."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from vgray.orchestration import study as studies
from vgray.orchestration.report import epoch_report, failure_report, reported_metrics
from vgray.orchestration.rungs import default_grace, expected_epochs, rungs
from vgray.orchestration.scheduler import StudyASHA
from vgray.orchestration.search import StudySearch, record_epoch, tell_what_was_ending
from vgray.orchestration.spaces import load_space
from vgray.recipe import Recipe

EPOCHS = 9
SPACE = load_space("optimizers")
BASE = Recipe(epochs=EPOCHS).with_settings(SPACE.base)


def _search(study: optuna.Study, num_to_run: int = 100, trials: Path = Path()) -> StudySearch:
    return StudySearch(study, SPACE, BASE, num_to_run=num_to_run, seed=3, trials=trials)


def _report(epoch: int, recall: float, number: int = 0) -> dict[str, Any]:
    report = epoch_report(number, {"epoch": epoch, "recall@1": recall, "loss": 1.0 / epoch})
    return {**report, "trial_id": "tune's own", "time_total_s": 1.0}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def test_optuna_is_told_how_each_trial_ended(journal: Path) -> None:
    study = studies.open_study(journal)
    search = _search(study)
    for name in ("to the end", "stopped", "diverged", "lost"):
        search.suggest(name)
    for epoch in range(1, EPOCHS):
        search.on_trial_result("to the end", _report(epoch, 10.0 * epoch))
    search.on_trial_complete("to the end", _report(EPOCHS, 50.0))
    search.on_trial_result("stopped", _report(1, 5.0))
    search.on_trial_complete("stopped", _report(2, 6.0))
    search.on_trial_result("diverged", _report(1, 7.0))
    search.on_trial_complete("diverged", failure_report(2, 1, "the loss is nan"))
    search.on_trial_complete("lost", error=True)

    done, stopped, diverged, lost = studies.open_study(journal).trials
    assert (done.state, done.value) == (TrialState.COMPLETE, 80.0)
    assert done.intermediate_values[EPOCHS] == 50.0
    assert stopped.state == TrialState.PRUNED
    assert stopped.intermediate_values == {1: 5.0, 2: 6.0}
    assert diverged.state == lost.state == TrialState.FAIL
    assert diverged.user_attrs[studies.FAILURE] == "the loss is nan"
    assert diverged.intermediate_values == {1: 7.0}
    assert done.user_attrs["epoch 2"] == {"epoch": 2, "recall@1": 20.0, "loss": 0.5}


def test_nan_never_becomes_the_best(journal: Path) -> None:
    study = studies.open_study(journal)
    search = _search(study)
    search.suggest("a")
    search.on_trial_result("a", _report(1, math.nan))
    search.on_trial_complete("a", failure_report(0, 1, "the loss is nan"))
    assert study.trials[0].intermediate_values == {}
    assert study.trials[0].state == TrialState.FAIL


def test_an_interrupted_trial_comes_again_with_its_number_and_recipe(journal: Path) -> None:
    search = _search(studies.open_study(journal))
    first = [search.suggest(str(i)) for i in range(3)]
    search.on_trial_result("1", _report(1, 30.0))
    search.on_trial_complete("0", _report(EPOCHS, 20.0))

    study = studies.open_study(journal)
    again = _search(study)
    assert [again.suggest(f"again {i}") for i in range(2)] == first[1:]
    assert again.suggest("new")["number"] == 3
    # The trial tells its first epoch again, which the study knows, and goes on.
    again.on_trial_result("again 0", _report(1, 30.0))
    again.on_trial_result("again 0", _report(2, 35.0))
    assert study.trials[1].intermediate_values == {1: 30.0, 2: 35.0}
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        *[TrialState.RUNNING] * 3,
    ]


def test_a_trial_asked_but_not_configured_is_configured_on_resuming(journal: Path) -> None:
    studies.open_study(journal).ask()  # killed right behind this
    config = _search(studies.open_study(journal)).suggest("a")
    assert config["number"] == 0
    Recipe.from_dict(config["recipe"])


def test_given_settings_come_first_once_and_exactly(journal: Path) -> None:
    for _ in range(3):
        studies.enqueue_given(studies.open_study(journal), SPACE.published[:4])
    study = studies.open_study(journal)
    search = _search(study)
    for i, known in enumerate(SPACE.published[:4]):
        config = search.suggest(str(i))
        assert known.items() <= config["settings"].items()
    assert len(study.trials) == 4
    search.suggest("drawn")
    assert studies.KNOWN not in study.trials[4].user_attrs


def test_a_resumed_search_does_not_draw_its_first_settings_again(
    journal: Path, tmp_path: Path
) -> None:
    undisturbed = _search(studies.open_study(tmp_path / "other.journal"))
    expected = [undisturbed.suggest(str(i))["settings"] for i in range(6)]
    drawn = []
    for i in range(6):  # a new process for each
        search = _search(studies.open_study(journal))
        search._queue.clear()
        drawn.append(search.suggest(str(i))["settings"])
    assert drawn == expected
    assert len({str(settings) for settings in drawn}) == 6


def test_what_a_killed_process_left_half_written_is_mended(journal: Path) -> None:
    search = _search(studies.open_study(journal))
    search.suggest("a")
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    journal.with_name("study.journal.lock").symlink_to(journal)
    for i in range(2):
        search = _search(studies.open_study(journal))
        search._queue.clear()
        assert search.suggest(str(i))["number"] == i + 1


def test_no_more_is_suggested_than_is_to_be_run(journal: Path) -> None:
    search = _search(studies.open_study(journal), num_to_run=1)
    assert isinstance(search.suggest("a"), dict)
    assert search.suggest("b") == "FINISHED"


def test_settings_that_cannot_be_drawn_are_a_failed_trial(journal: Path) -> None:
    def fails_at_first(trial: Any) -> None:
        SPACE.suggests[0](trial)
        if len(study.trials) == 1:
            raise ZeroDivisionError("division by zero")

    study = studies.open_study(journal)
    space = replace(SPACE, suggests=[fails_at_first])
    search = StudySearch(study, space, BASE, num_to_run=2, seed=0, trials=Path())
    assert search.suggest("a")["number"] == 1
    assert study.trials[0].state == TrialState.FAIL
    assert "ZeroDivisionError" in study.trials[0].user_attrs[studies.FAILURE]


def test_a_lost_trial_says_what_was_the_matter(journal: Path, tmp_path: Path) -> None:
    study = studies.open_study(journal)
    search = _search(study, trials=tmp_path)
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000" / "failure.txt").write_text("Traceback\nOSError: [Errno 28] No space left\n")
    for name in ("a", "b"):
        search.suggest(name)
        search.on_trial_complete(name, error=True)
    failures = [trial.user_attrs[studies.FAILURE] for trial in study.trials]
    assert failures[0].endswith("OSError: [Errno 28] No space left")
    assert failures[1].endswith("killed, or its machine was lost")


def test_failed_trials_are_retried_under_their_folder(journal: Path) -> None:
    study = studies.open_study(journal)
    search = _search(study)
    configs = [search.suggest(str(i)) for i in range(3)]
    search.on_trial_complete("0", _report(EPOCHS, 20.0))
    search.on_trial_complete("1", failure_report(1, 0, "no"))
    search.on_trial_complete("2", _report(1, 10.0))
    assert studies.num_unfinished(study, 3) == 0
    assert studies.enqueue_retries(study) == [1]
    assert studies.num_unfinished(study, 3) == 1

    study = studies.open_study(journal)
    search = _search(study)
    config = search.suggest("again")
    assert config["folder"] == configs[1]["folder"]
    assert config["recipe"] == configs[1]["recipe"]
    assert study.trials[3].params == study.trials[1].params != {}
    search.on_trial_complete("again", _report(EPOCHS, 30.0))
    assert [trial.number for trial in studies.latest_trials(study)] == [0, 3, 2]
    assert studies.num_unfinished(study, 3) == 0
    assert studies.num_unfinished(study, 5) == 2
    assert studies.enqueue_retries(study) == []


def test_unfinished_counts_running_and_new_trials(journal: Path) -> None:
    study = studies.open_study(journal)
    studies.enqueue_given(study, SPACE.published[:2])
    assert studies.num_unfinished(study, 5) == 5
    search = _search(study)
    search.suggest("a")
    assert studies.num_unfinished(study, 5) == 5
    search.on_trial_complete("a", _report(EPOCHS, 1.0))
    assert studies.num_unfinished(study, 5) == 4
    assert studies.num_unfinished(study, 1) == 0


def test_rungs_and_cost() -> None:
    assert default_grace(6) == 2
    assert default_grace(10, warmup_epochs=5) == 5
    assert default_grace(2, warmup_epochs=5) == 2
    assert default_grace(1) == 1
    assert rungs(9, 1, 3.0) == [1, 3]
    assert rungs(10, 3, 3.0) == [3, 9]
    assert rungs(3, 3, 3.0) == []
    assert expected_epochs(9, [], 3.0) == 9
    assert expected_epochs(9, [3], 3.0) == pytest.approx(3 + 6 / 3)


def _recorded(scheduler: StudyASHA) -> list[tuple[float, dict[int, float]]]:
    return [(rung, dict(recorded)) for rung, recorded in scheduler._brackets[0]._rungs]


def test_rungs_are_restored_from_the_study(journal: Path) -> None:
    """Killed anywhere, ASHA goes on as if nothing had happened."""
    study = studies.open_study(journal)
    search = _search(study)
    scheduler = StudyASHA(study, epochs=EPOCHS, grace=1, reduction=3.0)
    stopped = {}
    for number, last in enumerate([40.0, 10.0, 60.0, 50.0]):
        name = str(number)
        config = search.suggest(name)
        trial = SimpleNamespace(config=config, trial_id=f"tune's {number}")
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, EPOCHS + 1):
            result = _report(epoch, last * epoch / EPOCHS, number)
            if scheduler.on_trial_result(None, trial, result) == "STOP":
                stopped[number] = epoch
                scheduler.on_trial_complete(None, trial, result)
                search.on_trial_complete(name, result)
                break
            search.on_trial_result(name, result)
        restored = StudyASHA(studies.open_study(journal), epochs=EPOCHS, grace=1, reduction=3.0)
        assert _recorded(restored) == _recorded(scheduler)
    assert stopped == {0: EPOCHS, 1: 1, 2: EPOCHS, 3: 3}


def test_trials_at_work_are_in_the_rungs_of_a_resumed_sweep(journal: Path) -> None:
    """Two trials pass a rung and the sweep is killed: on resuming neither is compared again."""
    study = studies.open_study(journal)
    search, scheduler = _search(study), StudyASHA(study, epochs=EPOCHS, grace=1, reduction=3.0)
    for number, recall in enumerate([50.0, 60.0]):
        trial = SimpleNamespace(config=search.suggest(str(number)), trial_id=f"tune's {number}")
        scheduler.on_trial_add(None, trial)
        assert scheduler.on_trial_result(None, trial, _report(1, recall)) == "CONTINUE"
        search.on_trial_result(str(number), _report(1, recall))

    study = studies.open_study(journal)
    restored = StudyASHA(study, epochs=EPOCHS, grace=1, reduction=3.0)
    assert _recorded(restored) == _recorded(scheduler)
    search = _search(study)
    trials = [SimpleNamespace(config=search.suggest(f"again {i}"), trial_id="x") for i in range(2)]
    for trial, recall in ((trials[1], 60.0), (trials[0], 50.0)):
        restored.on_trial_add(None, trial)
        assert restored.on_trial_result(None, trial, _report(1, recall)) == "CONTINUE"


def test_a_decision_that_was_not_recorded_is_made_again(journal: Path) -> None:
    """Killed between the decision to stop a trial and the record of it, it is stopped again."""
    study = studies.open_study(journal)
    search = _search(study)
    search.suggest("good")
    search.on_trial_complete("good", _report(1, 90.0))
    search.suggest("poor")

    study = studies.open_study(journal)
    scheduler = StudyASHA(study, epochs=EPOCHS, grace=1, reduction=3.0)
    trial = SimpleNamespace(config=_search(study).suggest("again"), trial_id="new")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, _report(1, 10.0)) == "STOP"


@pytest.mark.parametrize("reported", [False, True])
def test_an_end_that_was_not_told_is_told_on_resuming(journal: Path, reported: bool) -> None:
    """Killed between the record of the end and Optuna's being told, a trial does not go on."""
    study = studies.open_study(journal)
    search = _search(study)
    for name, epoch in (("stopped", 2), ("finished", EPOCHS)):
        search.suggest(name)
        search.on_trial_result(name, _report(1, 10.0))
        trial = search._ot_trials[name]
        last = reported_metrics(_report(epoch, 20.0))
        trial.set_user_attr(studies.ENDING, last)
        if reported:
            record_epoch(study, trial, last)

    study = studies.open_study(journal)
    tell_what_was_ending(study)
    stopped, finished = study.trials
    assert (stopped.state, finished.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert stopped.intermediate_values == {1: 10.0, 2: 20.0}
    assert finished.value == 20.0


def test_a_failed_trial_is_stopped_and_leaves_no_mark_in_the_rungs(journal: Path) -> None:
    study = studies.open_study(journal)
    scheduler = StudyASHA(study, epochs=EPOCHS, grace=1, reduction=3.0)
    trial = SimpleNamespace(config={"number": 0}, trial_id="a")
    scheduler.on_trial_add(None, trial)
    failure = failure_report(0, 1, "the loss is nan")
    assert scheduler.on_trial_result(None, trial, failure) == "STOP"
    scheduler.on_trial_complete(None, trial, failure)
    assert all(not recorded for _, recorded in scheduler._brackets[0]._rungs)
