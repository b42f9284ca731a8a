"""Where finalists stand: by the mean of their repeats, told apart from chance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState
from played_sweep import play, recall, sweep

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import choose_finalists
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.standings import compare_two_best, rank_finalists, verdict


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [])
    return run


def _ranked(study: optuna.Study) -> tuple[list[int], int]:
    """Return the settings that are ranked, and by how many repeats."""
    standings = rank_finalists(studies.latest_trials(study))
    counts = {each.num_repeats for each in standings}
    assert len(counts) <= 1
    return [each.trial.number for each in standings], max(counts, default=0)


def _stages(run: RunFolder, **options: Any) -> list[tuple[list[int], int]]:
    """Go on with a sweep; returns the rankings that there are in turn."""
    stages = [_ranked(studies.open_study(run.journal))]
    for _ in sweep(run, **options):
        stage = _ranked(study := studies.open_study(run.journal))
        best = run.write_tables(study, running=True)
        if stage[0]:
            kept = json.loads((run.path / "finalists.json").read_text())
            assert [each["trial"] for each in kept["finalists"]] == stage[0]
            assert kept["repeats"] == stage[1]
            assert best is not None
            assert best.trial.user_attrs["finalist_of"] == stage[0][0]
        if stage != stages[-1]:
            stages.append(stage)
    return stages


def test_settings_are_ranked_by_the_repeats_that_all_have_ended(run: RunFolder) -> None:
    assert _stages(run) == [([], 0), ([0, 2], 1), ([0, 2], 2)]


def test_more_repeats_count_once_all_have_ended_them(run: RunFolder) -> None:
    play(run)
    assert _stages(run, repeats=4) == [([0, 2], 2), ([0, 2], 3), ([0, 2], 4)]


def test_a_new_finalist_comes_in_with_its_last_repeat(run: RunFolder) -> None:
    play(run)
    assert _stages(run, count=3) == [([0, 2], 2), ([0, 2, 1], 2)]


def test_a_former_finalist_is_ranked_until_it_lacks_a_repeat(run: RunFolder) -> None:
    def recall_of(config: dict[str, Any]) -> float | None:
        return 65.0 if config["number"] == 9 else recall(config)

    play(run)
    # Trial 9 of the longer search comes in, trial 0 is no finalist any more.
    extended = _stages(run, num_trials=6, recall_of=recall_of)
    assert extended == [([0, 2], 2), ([0, 2, 9], 2)]
    # Trial 2 has ended its third repeat first; by it alone, trial 0 would drop out.
    extended = _stages(run, num_trials=6, repeats=4, recall_of=recall_of)
    assert extended == [([0, 2, 9], 2), ([2, 9], 4)]
    # It is wanted again, with the two repeats that it has.
    extended = _stages(run, num_trials=6, count=3, repeats=4, recall_of=recall_of)
    assert extended == [([2, 9], 4), ([0, 2, 9], 4)]


def test_a_failed_repeat_that_is_tried_again_takes_no_rank_away(run: RunFolder) -> None:
    def recall_of(config: dict[str, Any]) -> float | None:
        is_the_one = (config["finalist_of"], config["recipe"]["seed"]) == (0, 7)
        return None if is_the_one else recall(config)

    study = play(run, recall_of=recall_of)
    studies.enqueue_retries(study)
    assert set(map(str, _stages(run))) == {str(([0, 2], 2))}


def test_of_a_setting_all_of_whose_repeats_failed_nothing_is_said(run: RunFolder) -> None:
    study = play(run, recall_of=lambda c: None if c["finalist_of"] == 0 else recall(c))
    assert _ranked(study) == ([2], 2)
    best = run.write_tables(study, running=False)
    assert best is not None
    assert best.trial.user_attrs["finalist_of"] == 2


def test_the_best_is_the_setting_with_the_highest_mean(run: RunFolder) -> None:
    study = play(run)
    best = run.write_tables(study, running=False)
    assert best is not None
    assert best.metrics["recall@1"] == 75.0, "the better repeat of 75.0 and 57.5"
    mark = json.loads((run.best / "trial.json").read_text())
    assert mark == {"trial": 6, "epoch": 2, "finalist_of": 0}
    assert (run.best / "ranks.npy").exists()
    rows = pq.read_table(run.path / "trials.parquet").to_pylist()
    assert [(row["finalist_of"], row["seed"]) for row in rows[4:]] == [
        (None, 5), (2, 6), (0, 6), (2, 7), (0, 7),
    ]  # fmt: skip


def test_without_ended_finalists_the_best_is_that_of_the_search(run: RunFolder) -> None:
    steps = sweep(run)
    while len((study := studies.open_study(run.journal)).trials) < 7:
        next(steps)
    best = run.write_tables(study, running=False)
    assert best is not None
    assert best.trial.number == 2
    assert not (run.path / "finalists.json").exists()


def test_the_final_table_is_kept(run: RunFolder) -> None:
    study = play(run)
    standings = run.write_finalists(study)
    kept = json.loads((run.path / "finalists.json").read_text())
    first, second = kept["finalists"]
    assert (first["rank"], first["trial"], first["mean"]) == (1, 0, 66.25)
    assert (first["min"], first["max"]) == (57.5, 75.0)
    assert first["std"] == pytest.approx(np.std([75, 57.5], ddof=1))
    assert [each["seed"] for each in first["repeats"]] == [6, 7]
    assert first["behind_first"] is None
    assert second["behind_first"]["difference"] == pytest.approx(2.5)
    assert second["behind_first"]["low"] < 0 < second["behind_first"]["high"]
    assert kept["verdict"] == verdict(standings)
    assert kept["verdict"].startswith(
        "first and second cannot be told apart (difference 2.5 points"
    )
    assert kept["verdict"].endswith("; 40 queries, 2 seeds each")


def test_a_clear_lead_is_said(run: RunFolder) -> None:
    study = play(run, recall_of=lambda c: 97.5 if c["finalist_of"] == 0 else recall(c))
    sentence = verdict(run.write_finalists(study))
    assert sentence is not None
    assert sentence.startswith("the first is better than the second by 33.8 points [")


def test_without_ranks_the_lead_is_not_judged(run: RunFolder) -> None:
    study = play(run)
    next(run.trials.glob("0005/epoch-0002")).joinpath("ranks.npy").write_text("cut short")
    standings = run.write_finalists(study)
    assert standings[1].behind is None
    assert "not known whether that is chance" in str(verdict(standings))
    assert verdict(standings[:1]) is None


def test_the_two_best_of_a_search_are_compared(run: RunFolder) -> None:
    study = play(run, count=0)
    second = compare_two_best(studies.search_trials(study), run.ranks)
    assert second is not None
    assert second.behind is not None
    assert second.trial.number == 0
    # Four of 40 queries are hit by the better one alone.
    assert second.behind.p_value == pytest.approx(2 * 0.5**4)
    trials = studies.search_trials(study)
    assert compare_two_best(trials[:1], run.ranks) is None
    assert compare_two_best(trials, lambda trial: None) is None


def test_a_stopped_trial_with_the_highest_recall_is_the_best_everywhere(run: RunFolder) -> None:
    study = play(run, count=0, recall_of=lambda c: 90.0 if c["number"] == 1 else recall(c))
    trials = studies.search_trials(study)
    assert trials[1].state == TrialState.PRUNED
    best = run.write_tables(study, running=False)
    assert best is not None
    assert best.trial.number == json.loads((run.best / "trial.json").read_text())["trial"] == 1
    assert [trial.number for trial in choose_finalists(trials, 2)] == [1, 2]
    second = compare_two_best(trials, run.ranks)
    assert second is not None
    assert second.behind is not None
    assert (second.trial.number, second.behind.difference) == (2, pytest.approx(20.0))
