"""Importance: what made the difference in a run, by trials that can be compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from earlier_run import optimizer, write_run
from rich.console import Console

import vgray.console
from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.importance import find_importances, show_importances
from vgray.orchestration.run_folder import RunFolder


def _played(count: int, epochs: int = 3) -> list[tuple[dict[str, Any], list[float]]]:
    """Return trials of sgd and adamw in which the learning rate of adamw is what matters."""
    rng, played = np.random.default_rng(0), []
    for number in range(count):
        decay = float(10 ** rng.uniform(-6, -1))
        if number % 4 == 0:
            settings = optimizer("sgd", 0.01, decay, momentum=0.9)
            recall = 20.0
        else:
            rate = float(10 ** rng.uniform(-5, -3))
            settings = optimizer("adamw", rate, decay)
            recall = 60 + 10 * float(np.log10(rate))
        # The poor ones are stopped, after two epochs.
        last = epochs if recall > 25 or number == 0 else 2
        played.append((settings, [recall + epoch for epoch in range(last)]))
    return played


def test_what_matters_comes_first_and_stopped_trials_count(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "optimizers", _played(40))
    found = find_importances(run)
    assert (found.epoch, found.num_trials, found.num_best) == (2, 40, 5)
    by_name = {each.parameter: each for each in found.parameters}
    assert found.parameters[0].parameter == "optimizer[adamw].lr"
    assert by_name["optimizer[adamw].lr"].num_trials == 30
    assert by_name["optimizer[adamw].lr"].best > 5e-4
    assert by_name["optimizer.name"].best == "adamw"
    assert by_name["optimizer.name"].num_trials == 40
    assert sum(each.percent for each in found.parameters) == pytest.approx(100)
    assert len(by_name) == 6


def test_finalists_and_trials_of_another_run_do_not_count(tmp_path: Path) -> None:
    attributes = {1: {studies.WARM_START: "old#3"}, 2: {studies.FINALIST_OF: 0}}
    run = write_run(tmp_path / "run", "optimizers", _played(8), attributes=attributes)
    assert find_importances(run).num_trials == 6


def test_choices_that_were_left_at_the_time_are_one_parameter(tmp_path: Path) -> None:
    space = tmp_path / "own.py"
    space.write_text(
        "BASE = {}\nPUBLISHED = []\ndef suggest(trial):\n"
        '    trial.suggest_categorical("loss.name", ["triplet", "contrastive", "circle"])\n'
        '    trial.suggest_int("batch.places", 2, 64)\n'
    )
    played = [
        ({"loss.name": name, "batch.places": 2 + number}, [float(number)] * 3)
        for number, name in enumerate(["triplet", "contrastive", "circle"] * 3)
    ]
    run = write_run(tmp_path / "run", str(space), played)
    study = studies.open_study(run.journal)
    trial = study.ask()
    trial.suggest_categorical("loss.name[triplet,circle]", ["triplet", "circle"])
    trial.report(90.0, 1)
    study.tell(trial, 90.0)
    found = {each.parameter: each for each in find_importances(run).parameters}
    assert set(found) == {"loss.name", "batch.places"}
    assert found["loss.name"].num_trials == 10


def test_a_parameter_of_one_trial_is_left_out(tmp_path: Path) -> None:
    alone = (optimizer("sgd", 0.01, 1e-4, momentum=0.9), [50.0] * 3)
    others = [
        (optimizer("adam", 1e-4, 1e-5 * (1 + number)), [20.0 + number] * 3) for number in range(6)
    ]
    run = write_run(tmp_path / "run", "optimizers", [alone, *others])
    found = {each.parameter for each in find_importances(run).parameters}
    assert found == {"optimizer.name", "optimizer[adam].lr", "optimizer[adam].weight_decay"}


def test_it_is_shown_with_how_far_it_can_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", "optimizers", _played(12))
    console = Console(width=100, record=True)
    monkeypatch.setattr(vgray.console, "console", console)
    show_importances(run, "optimizers", console)
    shown = console.export_text()
    assert "what the best 5 of 12 trials have in common, by recall@1 after epoch 2" in shown
    assert "12 trials: a rough guide" in shown
    assert "optimizer[adamw].lr" in shown
    with pytest.raises(UserError, match="run searched optimizers; give that one"):
        show_importances(run, "attention", console)


def test_too_little_to_compare_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "few", "optimizers", [*_played(3), (optimizer("adam", 1e-4), [])])
    with pytest.raises(UserError, match=r"few: 3 of its trials have ended; it takes at least 4"):
        find_importances(run)
    alike = [(optimizer("adam", 1e-4 * (1 + number)), [30.0] * 3) for number in range(5)]
    run = write_run(tmp_path / "alike", "optimizers", alike)
    with pytest.raises(UserError, match=r"all 5 trials have recall@1 30\.0 at epoch 3"):
        find_importances(run)
    with pytest.raises(UserError, match="is no run of vgray"):
        find_importances(RunFolder(tmp_path / "missing"))


def test_nothing_of_the_run_is_touched(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "optimizers", _played(8))
    with run.journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')  # as a run that is being written to may look
    before = {path: path.stat().st_mtime_ns for path in sorted(run.path.rglob("*"))}
    assert find_importances(run).num_trials == 8
    assert {path: path.stat().st_mtime_ns for path in sorted(run.path.rglob("*"))} == before
