"""`jobs/prepare.py` as a person runs it."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "jobs" / "prepare.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "my city"
    done = run("demo-city", "--places", 12, "--size", "48x36", "--seed", 3, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said == [
        f"wrote {out}",
        f"next: python jobs/tune.py --space optimizers --data {shlex.quote(str(out))}",
    ]
    return out


def test_check_says_what_is_there_and_what_comes_next(city: Path) -> None:
    done = run("check", city)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("VPR folders", "queries", "36 x 48", "unreadable images", "training places"):
        assert words in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last == f"next: python jobs/tune.py --space optimizers --data {shlex.quote(str(city))}"


def test_check_as_json(city: Path) -> None:
    done = run("check", city, "--json", "--no-decode")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["problems"] == []
    images = sum(1 for _ in city.rglob("*.jpg"))
    assert report["images"] == images > 50
    assert report["evaluations"]["val"]["queries_without_positive"] == 0


def test_a_dataset_that_cannot_be_trained(tmp_path: Path, city: Path) -> None:
    source = next((city / "images/train/database").iterdir())
    target = tmp_path / "images/train/database" / source.name
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    done = run("check", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "can't be trained or scored" in done.stderr and "no val queries" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "/no/such/folder"], "no such folder"),
        (["demo-city", "--size", "large", "--out", "unused"], "WIDTHxHEIGHT"),
        (["demo-city", "--out", JOB.parent], "not an empty folder"),
    ],
)
def test_mistakes_are_one_line(arguments: list[object], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr


def test_its_defaults_are_the_demo_city_s() -> None:
    from vgray.places.demo_city import CitySettings

    said = " ".join(run("demo-city", "--help").stdout.replace("│", " ").split())
    city = CitySettings()
    for default in (city.places, f"{city.width}x{city.height}", city.images_per_place, city.seed):
        assert f"[default: {default}]" in said


def test_a_closed_pipe_is_no_failure(city: Path) -> None:
    job = shlex.join([sys.executable, str(JOB), "check", str(city), "--json", "--no-decode"])
    shell = ["bash", "-c", f"{job} | true; echo ${{PIPESTATUS[0]}}"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_ctrl_c_is_one_word(tmp_path: Path) -> None:
    out = tmp_path / "large"
    command = [sys.executable, str(JOB), "demo-city", "--places", "5000", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")
    assert not out.exists()
