"""What a sweep says when it has ended: the finalists, the best, what to do next."""

import functools
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from played_sweep import play, recall
from rich.console import Console

import vgray.console
from vgray.orchestration import study as studies
from vgray.orchestration.plan import Plan, SweepOptions, make_plan
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.standings import compare_two_best
from vgray.orchestration.summary import show_outcome
from vgray.orchestration.sweep import Outcome, RunOptions


def _plan(city: Path) -> Plan:
    small = {"backbone.weights": "none", "batch.places": 4, "epochs": 9, "image_size": [64, 64]}
    return make_plan(SweepOptions(space="optimizers", data=(str(city),), presets=small))


def _row(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


def _ended(run: RunFolder, count: int, recall_of: Any, left: int = 0) -> Outcome:
    study = play(run, count=count, recall_of=recall_of)
    best = run.write_tables(study, running=False)
    if best is not None:
        best.metrics.update({f"recall@{n}": 90.0 for n in (5, 10, 20)})
        best.metrics.update({"recall@1_low": 60.0, "recall@1_high": 80.0})
    finalists = run.write_finalists(study)
    trials = studies.search_trials(study)
    return Outcome(
        best=best,
        counts={"finished": 7},
        complete=not left,
        seconds=1.0,
        first_failure=None,
        epochs_run=17,
        epochs_saved=1,
        finalists=finalists,
        finalists_left=left,
        runner_up=None if count else compare_two_best(trials, run.ranks),
    )


def _with_finalists(plan: Plan, repeats: int = 2) -> Plan:
    return replace(plan, options=replace(plan.options, finalists=2, repeats=repeats))


def _said(outcome: Outcome, plan: Plan, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    monkeypatch.setattr(vgray.console, "console", console)
    assert show_outcome(outcome, plan, run, RunOptions(time_budget_s=1.0)) == 0
    return console.export_text()


def test_the_table_of_the_finalists_ends_in_one_plain_sentence(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [])
    plan = _with_finalists(_plan(tiny_city))
    lines = _said(_ended(run, 2, recall), plan, run, monkeypatch).splitlines()
    table = lines.index(_row(lines, "rank"))
    first, second = lines[table + 1].split(), lines[table + 2].split()
    assert first[:8] == ["1", "#0", "66.2", "12.4", "75.0", "(#6)", "57.5", "(#8)"]
    assert second[:8] == ["2", "#2", "63.8", "1.8", "62.5", "(#5)", "65.0", "(#7)"]
    assert "2.5 points [" in lines[table + 2]
    assert lines[table + 3].startswith("first and second cannot be told apart (difference 2.5 ")
    assert lines[table + 4].endswith(f"python jobs/train.py --trial '{run.path}#N'")
    assert "trial 6, the best repeat of trial 0's setting, epoch 2" in _row(lines, "best:")
    assert not [line for line in lines if line.startswith("note:") or "unfinished" in line]
    assert "17 epochs, of 18 without early stopping, 1 s" in lines[table - 1]


def test_a_ranking_that_lacks_repeats_says_so(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [])
    plan = _with_finalists(_plan(tiny_city), repeats=4)
    said = _said(_ended(run, 2, recall, left=3), plan, run, monkeypatch)
    assert "\nfinalists ranked by 2 of 4 repeats so far; 3 trainings unfinished\n" in said
    assert "time is up" in said


def test_finalists_that_all_failed_are_not_suggested_again(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [])
    plan = _with_finalists(_plan(tiny_city))

    def recall_of(config: dict[str, Any]) -> float | None:
        return recall(config) if config["finalist_of"] is None else None

    said = _said(_ended(run, 2, recall_of), plan, run, monkeypatch)
    assert "every repeat of the finalists failed; the best is that of the search" in said
    assert "--finalists" not in said
    assert "\nbest:   trial 2, epoch 2: " in said


def test_finalists_are_suggested_only_where_they_would_tell(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(tiny_city)
    for name, best in (("close", 70.0), ("far", 97.5)):
        run = RunFolder.named(tmp_path, name)
        run.create({"options": {}}, [])
        reached = functools.partial(_with_best, best)
        said = _said(_ended(run, 0, reached), plan, run, monkeypatch)
        assert ("--finalists 3 would tell" in said) == (name == "close")


def _with_best(best: float, config: dict[str, Any]) -> float | None:
    return best if config["number"] == 2 else recall(config)
