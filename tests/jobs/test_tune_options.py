"""What jobs/tune.py refuses: every mistake in one line, and nothing is written."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import typer
from tune_command import JOB, SMALL, refused
from typer.testing import CliRunner


def refused_here(*arguments: object) -> str:
    """Return the line of a mistake, without a process of its own."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(runpy.run_path(str(JOB))["tune"])
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return str(line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "optimisers"], "did you mean 'optimizers'"),
        ([], "--space is missing"),
        (["--space", "optimizers", "--set", "epoch=3"], "did you mean 'epochs'"),
        (["--space", "optimizers", "--set", "loss.name=triple"], "did you mean 'triplet'"),
        (["--space", "optimizers", "--set", "batch.places=1"], "greater than or equal to 2"),
        (["--space", "optimizers", "--set", "optimizer.lr=1"], "is varied by --space"),
        (["--space", "optimizers", "--set", 'optimizer={"lr": 1}'], "is varied by --space"),
        (["--space", "optimizers", "--set", "seed=1"], "give --seed instead"),
        (["--space", "optimizers", "--set", "places"], "expected setting=value"),
        (["--space", "optimizers", "--data", "missing"], "missing"),
        (["--space", "optimizers", "--grace", "99"], "a trial has 10 epochs"),
        (["--space", "optimizers", "--reduction", "1"], "--reduction 1"),
        (["--space", "optimizers", "--reduction", "0"], "--reduction 0"),
        (["--space", "optimizers", "--time-budget", "soon"], "90, 30m or 8h"),
        (["--space", "optimizers", "--name", "a/b"], "not a folder name"),
        (["--space", "optimizers", "--set", "batch.places=500"], "500"),
        (["--space", "optimizers", "--set", "backbone.weights=none.pth"], "none.pth"),
        (["--resume", "missing"], "is no run of vgray"),
        (["--resume", "missing", "--space", "optimizers"], "leave out --space"),
        (["--resume", "a", "--retry-failed", "b"], "--retry-failed"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, tiny_city: Path
) -> None:
    if "--data" not in arguments and "--space" in arguments and "--resume" not in arguments:
        arguments = [*arguments, "--data", str(tiny_city)]
        if not any("weights" in argument for argument in arguments):
            arguments += ["--set", "backbone.weights=none"]
        if not any("batch" in argument for argument in arguments):
            arguments += ["--set", "batch.places=4"]
    assert message in refused_here(*arguments, "--storage", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--published-only", "--num-trials", "3"], "--num-trials 3: --published-only tries what"),
        (["--published-only", "--sampler", "gp"], "--sampler gp: --published-only tries what"),
        (["--published-only", "--warm-start", "old"], "--warm-start old: --published-only tries"),
        (["--repeats", "2"], "--repeats 2: says how often each finalist is trained"),
        (["--finalists", "4", "--num-trials", "3"], "--finalists 4: there are only 3 trials"),
        (["--sampler", "grid"], "optimizer.lr is drawn from a range (0.001..0.1)"),
        (["--warm-start", "old"], "old: is no run of vgray"),
        (["--init-from", "nowhere"], "nowhere"),
        (["--data", "missing"], "missing"),
    ],
)
def test_mistakes_in_how_to_search_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, tiny_city: Path
) -> None:
    data = ["--data", tiny_city] if message != "missing" else []
    search = ["--space", "optimizers", *data, *SMALL, "--storage", tmp_path]
    assert message in refused_here(*search, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "run", "--sampler", "gp"], "leave out --sampler"),
        (["--resume", "run", "--warm-start", "old"], "leave out --warm-start"),
        (["--resume", "run", "--published-only"], "leave out --published-only"),
        (["--resume", "run", "--init-from", "best"], "leave out --init-from"),
        (["--resume", "run", "--repeats", "2"], "give --finalists K too"),
        (["--retry-failed", "run", "--finalists", "2"], "leave out --finalists"),
        (["--importance", "run", "--num-trials", "3"], "leave out --num-trials"),
        (["--importance", "run", "--resume", "run"], "leave out --resume"),
        (["--importance", "run"], "run: 0 of its trials have ended; it takes at least 4"),
        (["--importance", "run", "--space", "attention"], "run searched optimizers; give that"),
        (["--importance", "other"], "is no run of vgray; runs there: run"),
    ],
)
def test_mistakes_about_a_run_are_one_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    options = {"space": "optimizers", "data": "city"}  # as an early version wrote them
    described = {"options": options, "data": {"fingerprint": ""}}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(described))
    assert message in refused_here(*arguments, "--storage", tmp_path)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.json"]


@pytest.mark.slow
def test_a_name_that_exists_is_refused(tmp_path: Path, tiny_city: Path) -> None:
    (tmp_path / "old").mkdir()
    arguments = ["--space", "optimizers", "--data", tiny_city, *SMALL, "--storage", tmp_path]
    message = refused(*arguments, "--name", "old")
    assert message.endswith("exists; choose another name")
    (tmp_path / "old" / "recipe.json").write_text("{}")
    message = refused(*arguments, "--name", "old")
    assert "choose another name, or go on with it: --resume old" in message


@pytest.mark.parametrize("split", ["train", "val"])
def test_data_without_a_split_is_refused(split: str, tmp_path: Path, tiny_city: Path) -> None:
    data = tmp_path / "city"
    shutil.copytree(tiny_city, data)
    shutil.rmtree(data / "images" / split)
    message = refused("--space", "optimizers", "--data", data, *SMALL, "--storage", tmp_path / "r")
    assert "train" in message if split == "train" else "val" in message


def test_a_storage_that_is_a_file_is_refused(tmp_path: Path, tiny_city: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refused("--space", "optimizers", "--data", tiny_city, "--storage", tmp_path / "file")
    assert "--storage" in message
    assert "cannot be written" in message
