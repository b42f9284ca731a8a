"""jobs/tune.py from the command line: a sweep end to end, extended, resumed and timed."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tune_command import SMALL, refused, run_tune

import vgray
from vgray.orchestration import study as studies


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_city: Path) -> tuple[Path, str]:
    """A finished sweep over a data set with a broken image: its run folder and its output."""
    folder = tmp_path_factory.mktemp("swept")
    data = folder / "city"
    shutil.copytree(tiny_city, data)
    train = data / "images" / "train" / "database"
    broken = next(iter(sorted(train.iterdir())))
    broken.write_bytes(broken.read_bytes()[:200])
    result = run_tune(
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
        assert "1 skipped" in output
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
        result = run_tune("--resume", "run", "--num-trials", 4, "--storage", storage)
        assert result.returncode == 0, result.stdout + result.stderr
        after = pq.read_table(storage / "run" / "epochs.parquet").to_pylist()
        assert after[: len(before)] == before
        assert {row["trial"] for row in after} == {0, 1, 2, 3}
        again = run_tune("--resume", "run", "--num-trials", 4, "--storage", storage)
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
            message = refused("--resume", "run", "--storage", run.parent)
        finally:
            added.unlink()
        assert "has changed since the run began" in message

    def test_nothing_is_retried_where_nothing_failed(self, swept: tuple[Path, str]) -> None:
        message = refused("--retry-failed", "run", "--storage", swept[0].parent)
        assert "none of its trials failed" in message

    def test_more_gpus_than_the_cluster_has(self, tmp_path: Path, tiny_city: Path) -> None:
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        message = refused(
            "--space", "optimizers", "--data", tiny_city, *SMALL,
            "--gpus-per-trial", 1, "--storage", tmp_path,
        )  # fmt: skip
        assert "--gpus-per-trial 1: the largest node of the cluster has 0" in message
        assert not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow
def test_a_time_budget_ends_the_sweep_in_good_order(tmp_path: Path, tiny_city: Path) -> None:
    storage = tmp_path / "runs"
    result = run_tune(
        "--space", "optimizers", "--data", tiny_city, *SMALL, "--num-trials", 2,
        "--epochs", 10_000, "--time-budget", "12s", "--storage", storage, "--name", "long",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "time is up" in result.stdout
    assert "--resume long" in result.stdout
    rows = pq.read_table(storage / "long" / "trials.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"interrupted"}
