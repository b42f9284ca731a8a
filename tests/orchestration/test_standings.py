"""Where finalists stand: by the mean of their repeats, told apart from chance."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from played_sweep import play, recall, sweep

from vgray.orchestration import study as studies
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.standings import compare_two_best, rank_finalists, verdict


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [])
    return run


def test_only_settings_whose_repeats_have_ended_are_ranked(run: RunFolder) -> None:
    steps = sweep(run)
    ranked = []
    for _ in steps:
        study = studies.open_study(run.journal)
        ranked.append([s.trial.number for s in rank_finalists(studies.latest_trials(study), 2)])
    assert ranked[-1] == [0, 2]
    assert [2] in ranked, "of which the last repeat ends first"
    assert [0] not in ranked


def test_of_a_setting_all_of_whose_repeats_failed_nothing_is_said(run: RunFolder) -> None:
    study = play(run, recall_of=lambda c: None if c["finalist_of"] == 0 else recall(c))
    assert [s.trial.number for s in rank_finalists(studies.latest_trials(study), 2)] == [2]
    best = run.write_tables(study, running=False, repeats=2)
    assert best is not None
    assert best.trial.user_attrs["finalist_of"] == 2


def test_the_best_is_the_setting_with_the_highest_mean(run: RunFolder) -> None:
    study = play(run)
    best = run.write_tables(study, running=False, repeats=2)
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
    while len((study := studies.open_study(run.journal)).trials) < 8:
        next(steps)
    best = run.write_tables(study, running=False, repeats=2)
    assert best is not None
    assert best.trial.number == 1, "stopped, with 90; its repeats would tell"


def test_the_final_table_is_kept(run: RunFolder) -> None:
    study = play(run)
    standings = run.write_finalists(study, repeats=2)
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
    sentence = verdict(run.write_finalists(study, repeats=2))
    assert sentence is not None
    assert sentence.startswith("the first is better than the second by 33.8 points [")


def test_without_ranks_the_lead_is_not_judged(run: RunFolder) -> None:
    study = play(run)
    next(run.trials.glob("0005/epoch-0002")).joinpath("ranks.npy").write_text("cut short")
    standings = run.write_finalists(study, repeats=2)
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
    assert compare_two_best(studies.search_trials(study)[:1], run.ranks) is None
    assert compare_two_best(studies.search_trials(study), lambda trial: None) is None
