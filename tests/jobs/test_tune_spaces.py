"""Sweeps over search spaces of a file: what fails in them, networks, sizes, a grid."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tune_command import SMALL, run_tune

import vgray
from vgray.orchestration import study as studies

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# With the weight decay of WILD the first setting diverges within a few epochs, the others train.
SPACE = """
BASE = {}
PUBLISHED = [{"optimizer.name": "sgd", "optimizer.lr": 10.0}]
def suggest(trial):
    trial.suggest_categorical("optimizer.name", ["sgd"])
    trial.suggest_float("optimizer.lr", LOW, HIGH)
"""
WILD = [
    "--set", "loss.name=contrastive", "--set", "optimizer.weight_decay=9.5",
    "--set", "precision=float32",
]  # fmt: skip


def test_all_trials_failed_and_are_retried(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "wild.py"
    space.write_text(SPACE.replace("LOW", "5.0").replace("HIGH", "10.0"))
    result = run_tune(
        "--space", space, "--data", tiny_city, *SMALL, *WILD, "--num-trials", 2, "--epochs", 30,
        "--storage", tmp_path / "runs", "--name", "wild",
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    assert "2 failed" in result.stdout
    assert "the first failure: " in result.stdout
    assert "optimizer sgd" in result.stdout
    assert "--retry-failed wild" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    rows = pq.read_table(tmp_path / "runs" / "wild" / "trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert all(row["failure"] for row in rows)

    again = run_tune("--retry-failed", "wild", "--storage", tmp_path / "runs")
    assert again.returncode == 1
    rows = pq.read_table(tmp_path / "runs" / "wild" / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [2, 3]


def test_a_trial_that_diverges_leaves_the_others_alone(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "mixed.py"
    space.write_text(SPACE.replace("LOW", "1e-4").replace("HIGH", "1e-3"))
    result = run_tune(
        "--space", space, "--data", tiny_city, *SMALL, *WILD, "--num-trials", 2, "--epochs", 12,
        "--scheduler", "none", "--storage", tmp_path / "runs", "--name", "mixed",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    run = tmp_path / "runs" / "mixed"
    wild, good = pq.read_table(run / "trials.parquet").to_pylist()
    assert (wild["status"], good["status"]) == ("failed", "finished")
    assert wild["failure"] in result.stdout
    assert "Traceback" in (run / wild["folder"] / "failure.txt").read_text()
    caused_by = json.loads((run / wild["folder"] / "recipe.json").read_text())
    assert caused_by["optimizer"]["lr"] == 10.0
    assert json.loads((run / "best" / "trial.json").read_text())["trial"] == 1


def test_a_sweep_over_networks_and_image_sizes_is_resumed(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "sizes.py"
    space.write_text(
        'BASE = {}\nPUBLISHED = [{"image_size": "32x48"}, {"image_size": "48x48"}]\n'
        "def suggest(trial):\n"
        '    trial.suggest_categorical("image_size", ["32x32", "32x48", "48x48"])\n'
    )
    storage = tmp_path / "runs"
    result = run_tune(
        "--space", f"aggregators+{space}", "--data", tiny_city, "--set", "backbone.weights=none",
        "--set", "backbone.crop_last=2", "--set", "batch.places=4", "--num-trials", 4,
        "--epochs", 1, "--scheduler", "none", "--storage", storage, "--name", "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    more = run_tune("--resume", "run", "--num-trials", 5, "--storage", storage)
    assert more.returncode == 0, more.stdout + more.stderr
    rows = pq.read_table(storage / "run" / "trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["finished"] * 5
    for row in rows:
        settings = json.loads(row["settings"])
        assert {"aggregator.name", "image_size"} <= settings.keys()
        recipe = json.loads((storage / "run" / row["folder"] / "recipe.json").read_text())
        assert recipe["image_size"] == [int(side) for side in settings["image_size"].split("x")]
        assert recipe["backbone"]["weights"] == "none"
    model = vgray.load_model(storage / "run" / "best")
    assert model.describe([next(tiny_city.rglob("*.jpg"))]).shape[0] == 1


def test_a_grid_is_searched_and_informs_the_next_run(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "rates.py"
    space.write_text(
        'BASE = {}\nPUBLISHED = [{"optimizer.lr": 1e-3, "batch.places": 4}]\n'
        "def suggest(trial):\n"
        '    trial.suggest_categorical("optimizer.lr", [1e-3, 1e-4])\n'
        '    trial.suggest_int("batch.places", 2, 4, step=2)\n'
    )
    small = ["--data", tiny_city, *SMALL[:-2], "--epochs", 1, "--storage", tmp_path / "runs"]
    result = run_tune("--space", space, *small, "--sampler", "grid", "--name", "grid")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = pq.read_table(tmp_path / "runs" / "grid" / "trials.parquet").to_pylist()
    tried = [tuple(json.loads(row["settings"]).values()) for row in rows]
    assert tried[0] == (1e-3, 4)
    assert sorted(tried) == [(1e-4, 2), (1e-4, 4), (1e-3, 2), (1e-3, 4)]

    shown = run_tune("--importance", "grid", "--storage", tmp_path / "runs")
    alike = len({row["recall@1"] for row in rows}) == 1
    assert shown.returncode == (2 if alike else 0), shown.stdout + shown.stderr
    if not alike:
        assert "4 trials: a rough guide" in shown.stdout
        assert {"optimizer.lr", "batch.places"} <= set(shown.stdout.split())

    again = run_tune(
        "--space", space, *small, "--warm-start", "grid", "--name", "next", "--num-trials", 1
    )
    assert again.returncode == 0, again.stdout + again.stderr
    rows = pq.read_table(tmp_path / "runs" / "next" / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [4]  # behind those of the run before
    trials = studies.open_study(tmp_path / "runs" / "next" / "study.journal").trials
    assert [trial.user_attrs.get("warm_start") for trial in trials] == [
        "grid#0", "grid#1", "grid#2", "grid#3", None,
    ]  # fmt: skip
