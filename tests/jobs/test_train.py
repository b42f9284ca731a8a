"""jobs/train.py from the command line, on a few coloured squares with positions."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from PIL import Image

import vgray
from vgray.places.filenames import format_name

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "--set", "image_size=[32,32]", "--set", "backbone.weights=none",
    "--set", "backbone.crop_last=2", "--set", "batch.places=4", "--set", "precision=float32",
]  # fmt: skip


ON_CITY = ["--data", "CITY", "--set", "batch.places=4"]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 8 places x 4 images to train on, 4 places to validate on, and a broken image."""
    root = tmp_path_factory.mktemp("city")
    rng = np.random.default_rng(0)

    def write(folder: str, place: int, num: int) -> None:
        (root / "images" / folder).mkdir(parents=True, exist_ok=True)
        squares = np.random.default_rng(place).integers(0, 256, (4, 4, 3))
        for i in range(num):
            pixels = np.kron(squares, np.ones((8, 8, 1))) * rng.uniform(0.8, 1)
            # Apart from every other place by 100 m, and from its own images by 1 m.
            name = format_name(
                east_m=500_000 + 100 * place + i, north_m=4_000_000 + 0.5 * len(folder),
                utm_zone=10, zone_letter="S", lat=36.1, lon=-123, pano=f"place{place}",
            )  # fmt: skip
            Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / folder / name)

    for place in range(8):
        write("train/database", place, 4)
    for place in range(8, 12):
        write("val/database", place, 2)
        write("val/queries", place, 1)
    broken = next((root / "images" / "train" / "database").iterdir())
    broken.with_name(broken.name.replace("place", "broken")).write_bytes(b"")
    return root


def run(cwd: Path, *options: str, kill_after: str = "") -> subprocess.CompletedProcess[str]:
    """Run the job in ``cwd``; ``kill_after`` sends Ctrl-C when a line with this text appears."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VGRAY_CACHE": str(cwd / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-u", str(ROOT / "jobs" / "train.py"), *options]
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output = ""
    if kill_after:
        for line in process.stdout or ():
            output += line
            if kill_after in line:
                process.send_signal(signal.SIGINT)
                break
    rest, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, output + rest, errors)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the processes do: the order of a sum is in its last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def call(monkeypatch: pytest.MonkeyPatch, cwd: Path, *options: str) -> int:
    """Run the job in this process, which has imported torch already; return its exit status."""
    spec = importlib.util.spec_from_file_location("train_job", ROOT / "jobs" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = typer.Typer()
    app.command()(module.train)
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("VGRAY_CACHE", str(cwd / "cache"))
    with pytest.raises(SystemExit) as ended:
        app(list(options))
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_training_ends_with_a_model(tmp_path: Path, city: Path) -> None:
    ended = run(
        tmp_path, "--data", str(city), "--out", "one", "--set", "epochs=2",
        "--set", "optimizer.lr=1e-3", *SETTINGS,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert "32 training images, 8 in the database, 4 queries, 1 skipped" in lines[0]
    assert [line.split(":")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    assert "recall @1 " in lines[1]
    assert "lr 0.001" in lines[1]
    assert lines[-1].startswith("next:")
    model = vgray.load_model(tmp_path / lines[-2].removeprefix("model:").strip())
    assert model.recipe.optimizer.lr == 1e-3
    facts = json.loads((tmp_path / "one" / "run.json").read_text())
    assert facts["data"]["unreadable"] == 1
    assert facts["data"]["uri"] == str(city)
    assert "torch" in facts["versions"]
    assert "broken" in (tmp_path / "one" / "skipped.csv").read_text()


@pytest.mark.slow
def test_ctrl_c_and_resume_end_with_the_same_recall(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(city), "--set", "epochs=6", *SETTINGS]
    stopped = run(tmp_path, *options, "--out", "stopped", kill_after="epoch 2/6")
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.splitlines() == [
        "stopped; every finished epoch is kept. Go on: python jobs/train.py --resume --out stopped"
    ]
    assert call(monkeypatch, tmp_path, "--resume", "--out", "stopped") == 0
    resumed = capsys.readouterr().out
    assert call(monkeypatch, tmp_path, *options, "--out", "whole") == 0
    whole = capsys.readouterr().out

    def results(output: str) -> list[str]:
        lines = [line for line in output.splitlines() if line.startswith("epoch ")]
        return [line[: line.index("), ")] for line in lines]  # without speed and time

    assert len(results(whole)) == 6
    assert results(resumed) == results(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "optimizer.lrr=1"], "optimizer.lrr: no such setting"),
        (["--set", "optimizer.lr"], "expected setting=value"),
        (["--set", "loss.name=contrastiv"], "did you mean 'contrastive'"),
        (["--recipe", "missing.json"], "recipe missing.json: cannot be read"),
        (["--set", "backbone.weights=missing.pth", *ON_CITY], "no such file"),
        (["--set", "backbone.weights=none", "--data", "missing"], "missing"),
        (["--resume"], "--resume --out DIR"),
        (["--resume", "--out", "nothing"], "no training in nothing"),
        (["--resume", "--out", "x", "--init-from", "y"], "--resume goes on with everything; give"),
        (["--init-from", "missing", *ON_CITY], "no such folder; expected one with"),
        (["--trial", "runs/x#1", "--data", "."], "takes its settings from the run; leave out --da"),
        (["--trial", "runs/x#1", "--set", "seed=1", "--resume", "--out", "x"], "--set, --resume"),
        (["--trial", "runs/x#1"], "no runs in runs"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    city: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    options = [str(city) if option == "CITY" else option for option in options]
    assert call(monkeypatch, tmp_path, *options) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_what_is_not_resumed_and_what_is_not_overwritten(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(city, data)
    options = ["--data", str(data), "--out", "one", "--set", "epochs=1", *SETTINGS]
    options += ["--set", "loss.name=triplet"]
    assert call(monkeypatch, tmp_path, *options) == 0
    history = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]

    assert call(monkeypatch, tmp_path, *options) == 2
    assert "not empty" in capsys.readouterr().err

    assert call(monkeypatch, tmp_path, "--resume", "--out", "one") == 0
    assert history[0] in capsys.readouterr().out.splitlines()

    for setting, message in (
        ("epochs=9", "the recipe has changed: epochs was 1, now 9"),
        # Which the default recipe does not have.
        ("loss.margin=0.5", "the recipe has changed: loss.margin was 0.1, now 0.5"),
        ("loss.alpha=2", "loss.alpha: no such setting"),
    ):
        assert call(monkeypatch, tmp_path, "--resume", "--out", "one", "--set", setting) == 2
        errors = capsys.readouterr().err
        assert message in errors and len(errors.splitlines()) == 1

    next((data / "images" / "train" / "database").glob("*place3*")).unlink()
    assert call(monkeypatch, tmp_path, "--resume", "--out", "one") == 2
    assert "the data has changed" in capsys.readouterr().err


def test_what_is_refused_is_refused_before_anything_is_decoded(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "data"
    shutil.copytree(city, data)
    options = ["--data", str(data), *SETTINGS, "--set", "epochs=1"]
    assert call(monkeypatch, tmp_path, *options, "--out", "one") == 0
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "data/images/val")
    for more, message in (
        (["--out", "two"], "or --val DATA names a set to validate on"),
        (["--out", "two", "--val", str(city), "--set", "batch.min_distance_m=9000"], "no two"),
        (["--out", "file/two"], "cannot be written"),
        (["--out", "one", "--resume", "--val", str(city)], "the data has changed"),
    ):
        capsys.readouterr()
        assert call(monkeypatch, tmp_path, *options, *more) == 2
        errors = capsys.readouterr().err
        assert message in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "cache").exists() and not (tmp_path / "two").exists()


def test_a_training_set_is_validated_on_another(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(city, data)
    shutil.move(data / "images" / "val", tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    options = ["--data", "data", "--val", "other", "--out", "one", "--set", "epochs=1", *SETTINGS]
    assert call(monkeypatch, tmp_path, *options) == 0
    assert "8 in the database, 4 queries, 1 skipped" in capsys.readouterr().out
    facts = json.loads((tmp_path / "one" / "run.json").read_text())["data"]
    assert (facts["uri"], facts["val"]) == (str(data), str(tmp_path / "other"))
    (tmp_path / "below").mkdir()
    assert call(monkeypatch, tmp_path / "below", "--resume", "--out", "../one") == 0


def test_sets_are_combined_and_weights_taken_over(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    night = tmp_path / "night"
    shutil.copytree(city / "images" / "train", night / "images" / "train")
    # A place that is validated on, under a name of the train split.
    scored = next((city / "images" / "val" / "queries").iterdir())
    shutil.copy(scored, night / "images" / "train" / "database")
    options = ["--data", str(city), "--data", str(night), "--set", "epochs=1", *SETTINGS]
    assert call(monkeypatch, tmp_path, *options, "--out", "one") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "64 training images, 8 in the database, 4 queries, 3 skipped" in lines[0]
    assert lines[1].startswith("training images: ") and " 33 in 8 places" in lines[1]
    assert lines[2].startswith("1 training image left out: within 25 m, near the validation images")
    assert scored.name in (tmp_path / "one" / "skipped.csv").read_text()
    facts = json.loads((tmp_path / "one" / "run.json").read_text())["data"]
    assert facts["uri"] == [str(city), str(night)]
    assert call(monkeypatch, tmp_path, "--resume", "--out", "one") == 0
    capsys.readouterr()

    options += ["--init-from", "one/epoch-0001", "--set", "aggregator.name=avg"]
    options += ["--set", "projection.dim=8", "--set", "backbone.weights=pretrained"]
    assert call(monkeypatch, tmp_path, *options, "--out", "two") == 0
    said = capsys.readouterr().out
    assert "init_from one/epoch-0001: aggregator.p (avg here, gem there) not taken" in said.replace(
        f"{tmp_path}/", ""
    )
    recipe = json.loads((tmp_path / "two" / "run.json").read_text())["recipe"]
    assert recipe["init_from"] == str(tmp_path / "one" / "epoch-0001")
    shutil.rmtree(tmp_path / "one")  # a training that has begun needs it no more
    assert call(monkeypatch, tmp_path, "--resume", "--out", "two") == 0


def test_tuples_are_trained_on_and_told_of(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(city, data)
    train = data / "images" / "train"
    (train / "queries").mkdir()
    for place in (1, 2):
        path = next((train / "database").glob(f"*place{place}@*"))
        path.rename(train / "queries" / path.name)
    lonely = next((train / "database").glob("*place3@*"))
    shutil.copy(lonely, train / "queries" / lonely.name.replace("@050", "@055"))
    options = ["--data", str(data), "--out", "one", "--set", "epochs=1", *SETTINGS]
    mining = ["--set", "mining.name=partial", "--set", "miner.name=none"]
    assert call(monkeypatch, tmp_path, *options, *mining) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("mining partial: 2 training queries are used, 1 dropped")
    assert ", mining " in lines[2] and "% of tuples violating" in lines[2]
    assert lines[3].startswith("note: ") and "pool_size 1000 to " in lines[3]


def test_a_trial_is_trained_again(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(city), "--out", "first", "--set", "epochs=2", "--set", "seed=5"]
    assert call(monkeypatch, tmp_path, *options, "--threads", "1", *SETTINGS) == 0
    facts = json.loads((tmp_path / "first" / "run.json").read_text())
    newest = tmp_path / "first" / "epoch-0002" / "metrics.json"
    history = json.loads(newest.read_text())["history"]
    run = tmp_path / "runs" / "search"
    run.mkdir(parents=True)
    options_of_run = {"data": [str(city)], "val": None}
    (run / "recipe.json").write_text(json.dumps({**facts, "options": options_of_run}))
    trials = [{"trial": 4, "recipe": json.dumps(facts["recipe"])}]
    pq.write_table(pa.Table.from_pylist(trials), run / "trials.parquet")
    epochs = [{"trial": 4, **metrics} for metrics in history]
    pq.write_table(pa.Table.from_pylist(epochs), run / "epochs.parquet")
    capsys.readouterr()

    assert call(monkeypatch, tmp_path, "--trial", "runs/search#4", "--out", "again") == 0
    best = max(history, key=lambda metrics: metrics["recall@1"])["recall@1"]
    same = f"this training {best:.1f}: the same"
    assert same in capsys.readouterr().out
    facts = json.loads((tmp_path / "again" / "run.json").read_text())
    assert (facts["threads"], facts["recipe"]["seed"]) == (1, 5)
    assert facts["trial"] == f"{run}#4"
    assert call(monkeypatch, tmp_path, "--resume", "--out", "again") == 0
    assert same in capsys.readouterr().out

    facts["data"]["fingerprint"] = "other"
    (run / "recipe.json").write_text(json.dumps({**facts, "options": options_of_run}))
    assert call(monkeypatch, tmp_path, "--trial", "runs/search#4", "--out", "third") == 2
    assert "has changed since the run began" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


def test_divergence_is_one_line_and_a_failure(
    tmp_path: Path, city: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vgray.training import trainer
    from vgray.training.losses import MinedLoss

    good = trainer.compute_loss

    def diverge(*batch: Any) -> MinedLoss:
        made = good(*batch)
        return made._replace(value=made.value * float("inf"))

    monkeypatch.setattr(trainer, "compute_loss", diverge)
    assert call(monkeypatch, tmp_path, "--data", str(city), "--out", "one", *SETTINGS) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: epoch 1, step 1: the loss is")
    assert "one/run.json" in errors
    assert len(errors.splitlines()) == 1
