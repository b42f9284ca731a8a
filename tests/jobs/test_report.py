"""jobs/report.py as a person runs it: two runs compared, once with Ray, once from descriptors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import trial, write_run

JOB = Path(__file__).parents[2] / "jobs" / "report.py"


def _report(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOB), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
    )


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
    tmp_path: Path, tiny_city: Path
) -> None:
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
        "report.json", "report.md", "tables",
    }  # fmt: skip
    made = json.loads((tmp_path / "first" / "report.json").read_text())
    names = [method["name"] for method in made["methods"]]
    assert names[:4] == ["A#0", "B#0", "both", "both by similarity"]
    assert made["baseline"] == "A#0"
    assert "On tiny, both " in first.stdout
    lines = first.stdout.splitlines()
    assert lines[-2] == f"report: {tmp_path / 'first' / 'report.md'}"
    assert lines[-1].startswith("next:   python jobs/evaluate.py --descriptors ")

    again = _report(*arguments, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count(": reused ") == 2
    assert ": extracted " not in again.stdout
    repeated = json.loads((tmp_path / "again" / "report.json").read_text())
    assert repeated["methods"] == made["methods"]
    assert not list(tmp_path.glob(".*"))

    refused = _report(*arguments, "--out", tmp_path / "again")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "again: exists" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--runs is missing"),
        (["--runs", "nothing"], "nothing is no run"),
        (["--runs", "A", "--weights", "1,x"], "--weights 1,x: expected numbers"),
        (["--runs", "A", "--baseline", "C#1"], "--baseline C#1: no such model"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, tiny_city: Path, arguments: list[str], message: str
) -> None:
    write_run(tmp_path / "A", [trial(0, 40.0)], data=[str(tiny_city)])
    given = [tmp_path / each if each in ("A", "nothing") else each for each in arguments]
    result = _report(*given, "--test", tiny_city, "--out", tmp_path / "out")
    assert result.returncode == 2, result.stdout + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
