"""jobs/tune.py from the command line: the sweep end to end, and every mistake in one line."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import vgray
from vgray.orchestration import study as studies

ROOT = Path(__file__).parents[2]
SMALL = [
    "--set", "image_size=[32,32]", "--set", "backbone.weights=none",
    "--set", "backbone.crop_last=2", "--set", "batch.places=4",
]  # fmt: skip
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


def _tune(*arguments: object, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "tune.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _refused(*arguments: object) -> str:
    result = _tune(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def _refused_here(*arguments: object) -> str:
    """Return the line of a mistake, without a process of its own."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(runpy.run_path(str(ROOT / "jobs" / "tune.py"))["tune"])
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return str(line)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_city: Path) -> tuple[Path, str]:
    """A finished sweep over a data set with a broken image: its run folder and its output."""
    folder = tmp_path_factory.mktemp("swept")
    data = folder / "city"
    shutil.copytree(tiny_city, data)
    train = data / "images" / "train" / "database"
    broken = next(iter(sorted(train.iterdir())))
    broken.write_bytes(broken.read_bytes()[:200])
    result = _tune(
        "--space", "optimizers", "--data", data, *SMALL, "--num-trials", 3, "--epochs", 3,
        "--storage", folder / "runs", "--name", "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return folder / "runs" / "run", result.stdout


@pytest.mark.ray
@pytest.mark.slow
class TestASweep:
    def test_it_says_what_happens_in_plain_lines(self, swept: tuple[Path, str]) -> None:
        run, output = swept
        lines = output.splitlines()
        assert any(line.startswith("dashboard: http://127.0.0.1:") for line in lines[:6])
        assert "1 skipped as unreadable" in output
        for expected in ("trial 2 starts: ", "trial 0 epoch 3/3: loss ", "images/s", "best:   "):
            assert expected in output
        assert f"model:  {run / 'best'}" in lines
        assert lines[-1].startswith("next:   python jobs/train.py --recipe ")
        assert len(lines) < 45
        assert "\x1b" not in output

    def test_the_run_folder_is_complete(self, swept: tuple[Path, str]) -> None:
        run, _ = swept
        trials = pq.read_table(run / "trials.parquet").to_pylist()
        epochs = pq.read_table(run / "epochs.parquet").to_pylist()
        assert [row["trial"] for row in trials] == [0, 1, 2]
        assert {row["status"] for row in trials} <= {"finished", "stopped early"}
        assert trials[0]["status"] == "finished"
        assert len(epochs) == sum(row["epochs"] for row in trials)
        assert {"loss", "lr", "images_per_s", "seconds", "peak_memory_mb", "recall@20"} <= set(
            epochs[0]
        )
        assert trials[0]["recall@1_low"] <= trials[0]["recall@1"] <= trials[0]["recall@1_high"]
        described = json.loads((run / "recipe.json").read_text())
        assert described["data"]["unreadable"] == 1
        assert {"ray", "optuna", "torch"} <= described["versions"].keys()
        assert "Truncated" in (run / "skipped.csv").read_text()
        assert {trial.state.name for trial in studies.open_study(run / "study.journal").trials} <= {
            "COMPLETE",
            "PRUNED",
        }
        assert not list(run.glob("trials/*/epoch-*/training_state.pt"))

    def test_published_settings_are_tried_first(self, swept: tuple[Path, str]) -> None:
        first = pq.read_table(swept[0] / "trials.parquet").to_pylist()[0]
        assert json.loads(first["settings"]) == {
            "optimizer.name": "adamw",
            "optimizer.lr": 1e-4,
            "optimizer.weight_decay": 1e-3,
        }

    def test_the_best_model_loads_and_describes(
        self, swept: tuple[Path, str], tiny_city: Path
    ) -> None:
        model = vgray.load_model(swept[0] / "best")
        photo = next(tiny_city.rglob("*.jpg"))
        descriptors = model.describe([photo, Image.open(photo)])
        assert descriptors.shape == (2, 128)
        assert descriptors.dtype == torch.float32
        torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2))
        best = json.loads((swept[0] / "best" / "trial.json").read_text())
        trials = pq.read_table(swept[0] / "trials.parquet").to_pylist()
        assert trials[best["trial"]]["recall@1"] == max(row["recall@1"] for row in trials)
        assert (
            model.recipe.optimizer.name
            == json.loads(trials[best["trial"]]["settings"])["optimizer.name"]
        )

    def test_a_finished_run_is_extended_by_resuming_it_with_more_trials(
        self, swept: tuple[Path, str], tmp_path: Path
    ) -> None:
        storage = tmp_path / "runs"
        shutil.copytree(swept[0].parent, storage)
        before = pq.read_table(storage / "run" / "epochs.parquet").to_pylist()
        result = _tune("--resume", "run", "--num-trials", 4, "--storage", storage)
        assert result.returncode == 0, result.stdout + result.stderr
        after = pq.read_table(storage / "run" / "epochs.parquet").to_pylist()
        assert after[: len(before)] == before
        assert {row["trial"] for row in after} == {0, 1, 2, 3}
        again = _tune("--resume", "run", "--num-trials", 4, "--storage", storage)
        assert again.returncode == 0
        assert "starts" not in again.stdout
        assert f"model:  {storage / 'run' / 'best'}" in again.stdout

    def test_a_run_is_not_resumed_on_other_data(
        self, swept: tuple[Path, str], tmp_path: Path
    ) -> None:
        run, _ = swept
        data = Path(json.loads((run / "recipe.json").read_text())["data"]["uri"])
        extra = next(iter(sorted((data / "images" / "val" / "database").iterdir())))
        added = extra.with_name(extra.name.replace("@.jpg", "more@.jpg"))
        shutil.copy(extra, added)
        try:
            message = _refused("--resume", "run", "--storage", run.parent)
        finally:
            added.unlink()
        assert "has changed since the run began" in message

    def test_nothing_is_retried_where_nothing_failed(self, swept: tuple[Path, str]) -> None:
        message = _refused("--retry-failed", "run", "--storage", swept[0].parent)
        assert "none of its trials failed" in message

    def test_more_gpus_than_the_cluster_has(self, tmp_path: Path, tiny_city: Path) -> None:
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        message = _refused(
            "--space", "optimizers", "--data", tiny_city, *SMALL,
            "--gpus-per-trial", 1, "--storage", tmp_path,
        )  # fmt: skip
        assert "--gpus-per-trial 1: the largest node of the cluster has 0" in message
        assert not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow
def test_all_trials_failed_and_are_retried(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "wild.py"
    space.write_text(SPACE.replace("LOW", "5.0").replace("HIGH", "10.0"))
    result = _tune(
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

    again = _tune("--retry-failed", "wild", "--storage", tmp_path / "runs")
    assert again.returncode == 1
    rows = pq.read_table(tmp_path / "runs" / "wild" / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [2, 3]


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_that_diverges_leaves_the_others_alone(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "mixed.py"
    space.write_text(SPACE.replace("LOW", "1e-4").replace("HIGH", "1e-3"))
    result = _tune(
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


@pytest.mark.ray
@pytest.mark.slow
def test_a_time_budget_ends_the_sweep_in_good_order(tmp_path: Path, tiny_city: Path) -> None:
    storage = tmp_path / "runs"
    result = _tune(
        "--space", "optimizers", "--data", tiny_city, *SMALL, "--num-trials", 2,
        "--epochs", 10_000, "--time-budget", "12s", "--storage", storage, "--name", "long",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "time is up" in result.stdout
    assert "--resume long" in result.stdout
    rows = pq.read_table(storage / "long" / "trials.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"interrupted"}


def test_a_dry_run_shows_the_plan_and_starts_nothing(tmp_path: Path, tiny_city: Path) -> None:
    result = _tune(
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
    result = _tune(
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
    tune = runpy.run_path(str(ROOT / "jobs" / "tune.py"))["tune"]
    tune(space=str(space), dry_run=True, storage=tmp_path / "runs")
    shown = capsys.readouterr().out
    assert "image_size 32x48" in shown
    assert "9 epochs" in shown
    with pytest.raises(SystemExit, match="2"):
        tune(space=str(space), set_=["image_size=64"], dry_run=True, storage=tmp_path / "runs")
    assert "image_size: is varied by --space" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_over_networks_and_image_sizes_is_resumed(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "sizes.py"
    space.write_text(
        'BASE = {}\nPUBLISHED = [{"image_size": "32x48"}, {"image_size": "48x48"}]\n'
        "def suggest(trial):\n"
        '    trial.suggest_categorical("image_size", ["32x32", "32x48", "48x48"])\n'
    )
    storage = tmp_path / "runs"
    result = _tune(
        "--space", f"aggregators+{space}", "--data", tiny_city, "--set", "backbone.weights=none",
        "--set", "backbone.crop_last=2", "--set", "batch.places=4", "--num-trials", 4,
        "--epochs", 1, "--scheduler", "none", "--storage", storage, "--name", "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    more = _tune("--resume", "run", "--num-trials", 5, "--storage", storage)
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
    assert message in _refused(*arguments, "--storage", tmp_path)
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
    assert message in _refused_here(*search, *arguments)
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
    assert message in _refused_here(*arguments, "--storage", tmp_path)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.json"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_grid_is_searched_and_informs_the_next_run(tmp_path: Path, tiny_city: Path) -> None:
    space = tmp_path / "rates.py"
    space.write_text(
        'BASE = {}\nPUBLISHED = [{"optimizer.lr": 1e-3, "batch.places": 4}]\n'
        "def suggest(trial):\n"
        '    trial.suggest_categorical("optimizer.lr", [1e-3, 1e-4])\n'
        '    trial.suggest_int("batch.places", 2, 4, step=2)\n'
    )
    small = ["--data", tiny_city, *SMALL[:-2], "--epochs", 1, "--storage", tmp_path / "runs"]
    result = _tune("--space", space, *small, "--sampler", "grid", "--name", "grid")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = pq.read_table(tmp_path / "runs" / "grid" / "trials.parquet").to_pylist()
    tried = [tuple(json.loads(row["settings"]).values()) for row in rows]
    assert tried[0] == (1e-3, 4)
    assert sorted(tried) == [(1e-4, 2), (1e-4, 4), (1e-3, 2), (1e-3, 4)]

    shown = _tune("--importance", "grid", "--storage", tmp_path / "runs")
    alike = len({row["recall@1"] for row in rows}) == 1
    assert shown.returncode == (2 if alike else 0), shown.stdout + shown.stderr
    if not alike:
        assert "4 trials: a rough guide" in shown.stdout
        assert {"optimizer.lr", "batch.places"} <= set(shown.stdout.split())

    again = _tune(
        "--space", space, *small, "--warm-start", "grid", "--name", "next", "--num-trials", 1
    )
    assert again.returncode == 0, again.stdout + again.stderr
    rows = pq.read_table(tmp_path / "runs" / "next" / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [4]  # behind those of the run before
    trials = studies.open_study(tmp_path / "runs" / "next" / "study.journal").trials
    assert [trial.user_attrs.get("warm_start") for trial in trials] == [
        "grid#0", "grid#1", "grid#2", "grid#3", None,
    ]  # fmt: skip


def test_a_name_that_exists_is_refused(tmp_path: Path, tiny_city: Path) -> None:
    (tmp_path / "old").mkdir()
    arguments = ["--space", "optimizers", "--data", tiny_city, *SMALL, "--storage", tmp_path]
    message = _refused(*arguments, "--name", "old")
    assert message.endswith("exists; choose another name")
    (tmp_path / "old" / "recipe.json").write_text("{}")
    message = _refused(*arguments, "--name", "old")
    assert "choose another name, or go on with it: --resume old" in message


@pytest.mark.parametrize("split", ["train", "val"])
def test_data_without_a_split_is_refused(split: str, tmp_path: Path, tiny_city: Path) -> None:
    data = tmp_path / "city"
    shutil.copytree(tiny_city, data)
    shutil.rmtree(data / "images" / split)
    message = _refused("--space", "optimizers", "--data", data, *SMALL, "--storage", tmp_path / "r")
    assert "train" in message if split == "train" else "val" in message


def test_a_storage_that_is_a_file_is_refused(tmp_path: Path, tiny_city: Path) -> None:
    (tmp_path / "file").write_text("")
    message = _refused("--space", "optimizers", "--data", tiny_city, "--storage", tmp_path / "file")
    assert "--storage" in message
    assert "cannot be written" in message
