"""What a person sees of a sweep."""

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from vgray.orchestration.progress import Progress
from vgray.orchestration.report import epoch_report, failure_report
from vgray.orchestration.screen import Screen
from vgray.recipe import Recipe
from vgray.settings import describe_settings

RECIPE = Recipe(epochs=4).to_dict()


def _trial(number: int, finalist_of: int | None = None, seed: int = 0) -> SimpleNamespace:
    settings = {"optimizer.name": "sgd", "optimizer.lr": 0.01234, "batch.places": 16}
    return SimpleNamespace(
        config={
            "number": number,
            "settings": settings,
            "recipe": {**RECIPE, "seed": seed},
            "finalist_of": finalist_of,
        }
    )


def _epoch(number: int, epoch: int, recall: float, **more: Any) -> dict[str, Any]:
    metrics = {
        "epoch": epoch,
        "loss": 0.25,
        "recall@1": recall,
        "recall@1_low": recall - 3,
        "recall@1_high": recall + 3,
        "images_per_s": 200.0,
        **more,
    }
    return epoch_report(number, metrics)


def _play(console: Console) -> Screen:
    """Three trials: one finishes, one is stopped and told twice, one fails."""
    screen = Screen(Progress(num_trials=4, epochs=4, expected_epochs=2), console)
    with screen:
        for number in range(3):
            screen.on_trial_start(0, [], _trial(number))
        for epoch in range(1, 5):
            screen.on_trial_result(0, [], _trial(0), _epoch(0, epoch, 10.0 * epoch))
        screen.on_trial_complete(0, [], _trial(0))
        screen.on_trial_result(0, [], _trial(1), _epoch(1, 1, 12.0))
        screen.on_trial_start(0, [], _trial(1))
        screen.on_trial_result(0, [], _trial(1), _epoch(1, 1, 12.0))
        screen.on_trial_complete(0, [], _trial(1))
        screen.on_trial_result(0, [], _trial(2), failure_report(2, 1, "the loss is nan"))
        screen.on_trial_complete(0, [], _trial(2))
    return screen


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    _play(Console(file=out, width=60))
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert lines[0] == "trial 0 starts: sgd lr=0.0123 places=16"
    assert "trial 0 epoch 2/4: loss 0.250, recall@1 20.0 [17.0, 23.0], 200 images/s" in lines, (
        "a line is not broken, however narrow the console"
    )
    assert "trial 0 finished after epoch 4" in lines
    assert "trial 1 starts again from its last checkpoint" in lines
    assert sum("trial 1 epoch 1/4" in line for line in lines) == 1
    assert "trial 1 stopped early after epoch 1" in lines
    assert "trial 2 failed: the loss is nan" in lines


def test_live_table_in_a_terminal() -> None:
    out = io.StringIO()
    _play(Console(file=out, width=100, height=30, force_terminal=True))
    shown = out.getvalue()
    for text in (
        "finished",
        "stopped early",
        "failed",
        "best so far: trial 0",
        "40.0 [37.0, 43.0]",
    ):
        assert text in shown


def test_time_left_counts_what_early_stopping_saves() -> None:
    progress = Progress(num_trials=10, epochs=4, expected_epochs=2.0)
    assert "left" not in progress.summary()
    screen = Screen(progress, Console(file=io.StringIO()))
    screen.on_trial_start(0, [], _trial(0))
    screen.on_trial_result(0, [], _trial(0), _epoch(0, 1, 10.0))
    progress.started -= 10  # 10 s for one epoch: 9 trials of 2 epochs and one epoch are left
    assert "about 3 min 10 s left" in progress.summary()
    assert progress.summary().startswith("0 of 10 trials ended, 1 running, 200 images/s")


def test_finalists_are_told_from_the_search() -> None:
    out = io.StringIO()
    progress = Progress(num_trials=4, epochs=4, expected_epochs=2, num_finalists=3)
    screen = Screen(progress, Console(file=out))
    for trial, recall in (
        (_trial(0), 50.0),
        (_trial(1, finalist_of=0, seed=1), 40.0),
        (_trial(2, finalist_of=0, seed=2), 44.0),
        (_trial(3, finalist_of=7, seed=1), 60.0),
    ):
        screen.on_trial_start(0, [], trial)
        screen.on_trial_result(0, [], trial, _epoch(trial.config["number"], 4, recall))
        screen.on_trial_complete(0, [], trial)
    lines = out.getvalue().splitlines()
    assert lines[0] == "trial 0 starts: sgd lr=0.0123 places=16"
    assert "trial 2 starts: finalist of 0, seed 2: sgd lr=0.0123 places=16" in lines
    assert any(line.startswith("best so far: trial 0") for line in lines)
    assert lines[-2] == "finalists so far, mean recall@1 (repeats): of trial 0 42.0 (2), " + (
        "of trial 7 60.0 (1)"
    )
    assert lines[-1].startswith("4 of 4 trials ended")


def test_time_left_counts_finalists_in_full() -> None:
    progress = Progress(num_trials=4, epochs=4, expected_epochs=2.0, num_finalists=2)
    screen = Screen(progress, Console(file=io.StringIO()))
    screen.on_trial_start(0, [], _trial(0))
    screen.on_trial_result(0, [], _trial(0), _epoch(0, 1, 10.0))
    progress.started -= 10  # 10 s for one epoch: 1 + 2 of the search, 2 times 4 of finalists
    assert "about 1 min 50 s left" in progress.summary()
    progress.expect_finalists(1)
    assert "0 of 3 trials ended" in progress.summary()
    assert "about 1 min 10 s left" in progress.summary()
    screen.on_trial_start(0, [], _trial(1, finalist_of=0, seed=1))
    assert "about 1 min 10 s left" in progress.summary()


def test_a_trial_warns_once_beside_a_live_table_too() -> None:
    for live in (False, True):
        out = io.StringIO()
        screen = Screen(
            Progress(num_trials=1, epochs=4, expected_epochs=4),
            Console(file=out, width=200, force_terminal=live),
        )
        with screen:
            screen.on_trial_start(0, [], _trial(0))
            for epoch in (1, 2):
                said = {"warning": "no batch of the epoch had a pair", "note": "cut down"}
                report = _epoch(0, epoch, 10.0, **said)
                screen.on_trial_result(0, [], _trial(0), report)
        assert out.getvalue().count("trial 0 warns: no batch of the epoch had a pair") == 1
        assert out.getvalue().count("trial 0 notes: cut down") == 1


def test_settings_are_described_in_one_short_line() -> None:
    assert describe_settings({"loss.name": "triplet", "loss.margin": 0.1}) == "triplet margin=0.1"
    assert describe_settings({}) == describe_settings(None) == "base recipe"
    both = {"loss.name": "triplet", "loss.margin": 0.1, "miner.name": "triplet_margin"}
    assert describe_settings(both) == "loss=triplet margin=0.1 miner=triplet_margin"
    both["miner.margin"] = 0.2
    assert describe_settings(both).endswith("loss.margin=0.1 miner=triplet_margin miner.margin=0.2")
    flips = {"augmentation.flip.p": 0.5, "augmentation.blur.p": 0.0, "image_size": "64x64"}
    assert describe_settings(flips) == "flip.p=0.5 blur.p=0 image_size=64x64"
