"""jobs/report.py as a person runs it: two runs compared, once with Ray, once from descriptors."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from made_runs import trial, write_run

from vgray.orchestration import cluster

JOB = Path(__file__).parents[2] / "jobs" / "report.py"


def _report(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOB), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
    )


def _call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the job in this process, which has all imported; returns status, stdout and stderr."""
    spec = importlib.util.spec_from_file_location("report_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = typer.Typer()
    app.command()(module.report)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        app(module.spread_values([str(each) for each in arguments], module.SEVERAL))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def _write_models(run: Path) -> Path:
    """Give each trial's checkpoint the weights of a network that was not trained."""
    from vgray.models.checkpoint import save_checkpoint
    from vgray.models.network import Network
    from vgray.recipe import Recipe

    checkpoints = sorted(run.glob("trials/*/epoch-0001"))
    assert checkpoints
    for checkpoint in checkpoints:
        network = Network(Recipe.from_file(checkpoint / "recipe.json"))
        metrics = json.loads((checkpoint / "metrics.json").read_text())
        save_checkpoint(checkpoint, network, metrics)
    return run


@pytest.mark.ray
@pytest.mark.slow
def test_two_runs_become_a_report_and_the_next_one_extracts_nothing(
    tmp_path: Path, tiny_city: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    runs = [
        _write_models(
            write_run(tmp_path / "runs" / name, [trial(0, recall)], data=[str(tiny_city)])
        )
        for name, recall in (("A", 40.0), ("B", 30.0))
    ]
    arguments = ["--runs", *runs, "--test", tiny_city, "--ensemble", "both=A#0,B#0"]
    first = _report(*arguments, "--out", tmp_path / "first")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count(": extracted ") == 2
    assert {path.name for path in (tmp_path / "first").iterdir()} == {
        "report.json", "report.md", "tables", "queries",
    }  # fmt: skip
    made = json.loads((tmp_path / "first" / "report.json").read_text())
    names = [method["name"] for method in made["methods"]]
    assert names[:4] == ["A#0", "B#0", "both", "both by similarity"]
    assert made["baseline"] == "A#0"
    assert "On tiny, both " in first.stdout
    lines = first.stdout.splitlines()
    assert lines[-2] == f"report: {tmp_path / 'first' / 'report.md'}"
    assert lines[-1].startswith("next:   python jobs/evaluate.py --descriptors ")

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was to be started")

    monkeypatch.setattr(cluster.ray, "init", refuse)
    status, said, errors = _call(capsys, *arguments, "--out", tmp_path / "again")
    assert (status, errors) == (0, "")
    assert said.count(": reused ") == 2
    assert ": extracted " not in said
    repeated = json.loads((tmp_path / "again" / "report.json").read_text())
    assert repeated["methods"] == made["methods"]
    assert not list(tmp_path.glob(".*"))

    status, _, errors = _call(capsys, *arguments, "--out", tmp_path / "again")
    assert status == 2
    assert len(errors.strip().splitlines()) == 1
    assert "again: exists" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--runs is missing"),
        (["--runs", "nothing"], "nothing is no run"),
        (["--runs", "A", "--weights", "1,x"], "--weights 1,x: expected numbers"),
        (["--runs", "A", "--baseline", "C#1"], "--baseline C#1: no such model"),
        (["--runs", "A", "--no-search", "--budget", "9"], "--budget: is of the search"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, tiny_city: Path, arguments: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_run(tmp_path / "A", [trial(0, 40.0)], data=[str(tiny_city)])
    given = [tmp_path / each if each in ("A", "nothing") else each for each in arguments]
    status, _, errors = _call(capsys, *given, "--test", tiny_city, "--out", tmp_path / "out")
    assert status == 2, errors
    assert len(errors.strip().splitlines()) == 1
    assert message in errors
    assert not (tmp_path / "out").exists()
