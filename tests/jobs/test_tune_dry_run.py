"""jobs/tune.py with --dry-run: the plan is shown and nothing is started."""

import runpy
from pathlib import Path

import pytest
from tune_command import JOB, SMALL, run_tune


@pytest.mark.slow
def test_a_dry_run_shows_the_plan_and_starts_nothing(tmp_path: Path, tiny_city: Path) -> None:
    result = run_tune(
        "--space", "optimizers", "--data", tiny_city, *SMALL, "--epochs", 9, "--dry-run",
        "--storage", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "compared after epoch 3, one in 3 goes on" in result.stdout
    assert "about 100 of at most 180" in result.stdout
    assert "images/s each in training" in result.stdout
    assert "adamw lr=0.0001 weight_decay=0.001" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_dry_run_shows_every_branch(tmp_path: Path, tiny_city: Path) -> None:
    result = run_tune(
        "--space", "attention+optimizers", "--data", tiny_city, *SMALL, "--dry-run",
        "--storage", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    branches = [line.split()[1] for line in lines if line.startswith(("attention", "optimizer "))]
    assert branches == [
        "none", "cbam", "non_local", "soa", "adageo", "sgd", "adam", "adamw", "radam",
    ]  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_the_demo_citys_presets_give_way_to_the_space(
    tmp_path: Path,
    tiny_city: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = tmp_path / "sizes.py"
    space.write_text(
        "BASE = {}\nPUBLISHED = []\ndef suggest(trial):\n"
        '    trial.suggest_categorical("image_size", ["32x32", "32x48"])\n'
        '    trial.suggest_categorical("batch.places", [2, 4])\n'
    )
    monkeypatch.setattr("vgray.console.demo_city", lambda: str(tiny_city))
    tune = runpy.run_path(str(JOB))["tune"]
    tune(space=str(space), dry_run=True, storage=tmp_path / "runs")
    shown = capsys.readouterr().out
    assert "image_size 32x48" in shown
    assert "9 epochs" in shown
    with pytest.raises(SystemExit, match="2"):
        tune(space=str(space), set_=["image_size=64"], dry_run=True, storage=tmp_path / "runs")
    assert "image_size: is varied by --space" in capsys.readouterr().err
