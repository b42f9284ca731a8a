"""The run folder: plain files that say what a sweep found."""

import json
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest

from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.report import epoch_report, failure_report
from vgray.orchestration.run_folder import RunFolder, require_writable
from vgray.orchestration.search import StudySearch
from vgray.orchestration.spaces import load_space
from vgray.recipe import Recipe

SPACE = load_space("optimizers")
BASE = Recipe(epochs=3).with_settings(SPACE.base)


def _metrics(epoch: int, recall: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "loss": 0.5,
        "recall@1": recall,
        "recall@1_low": recall - 2,
        "recall@1_high": recall + 2,
        "num_queries": 100,
        "seconds": 1.5,
    }


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.named(tmp_path, "a-run")
    run.create({"options": {}}, [("broken.jpg", "truncated")])
    return run


@pytest.fixture
def study(run: RunFolder) -> optuna.Study:
    """Four trials: finished (best 40 at epoch 2), stopped early (20), failed (90!), interrupted."""
    study = studies.open_study(run.journal)
    search = StudySearch(study, SPACE, BASE, num_to_run=9, seed=0, trials=run.trials)
    recalls = {"finished": [10, 40, 30], "stopped": [20], "failed": [90], "interrupted": [15]}
    for name, values in recalls.items():
        config = search.suggest(name)
        for epoch, recall in enumerate(values, 1):
            checkpoint = run.trials / config["folder"] / f"epoch-{epoch:04d}"
            checkpoint.mkdir(parents=True)
            (checkpoint / "model.safetensors").write_text(f"{name} {epoch}")
            (checkpoint / "training_state.pt").write_text("state")
            report = epoch_report(config["number"], _metrics(epoch, recall))
            if name == "interrupted" or (name != "stopped" and epoch < 3):
                search.on_trial_result(name, report)
            else:
                search.on_trial_complete(name, report)
    search.on_trial_complete("failed", failure_report(2, 1, "the loss is nan"))
    return study


def test_trials_table_says_how_each_ended(run: RunFolder, study: optuna.Study) -> None:
    run.write_tables(study, running=False)
    rows = pq.read_table(run.path / "trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == [
        "finished",
        "stopped early",
        "failed",
        "interrupted",
    ]
    assert [row["best_epoch"] for row in rows] == [2, 1, 1, 1]
    assert rows[0]["recall@1"] == 40
    assert (rows[0]["recall@1_low"], rows[0]["recall@1_high"]) == (38, 42)
    assert rows[0]["seconds"] == 4.5
    assert rows[2]["failure"] == "the loss is nan"
    assert {(row["phase"], row["finalist_of"], row["seed"]) for row in rows} == {
        ("search", None, BASE.seed)
    }
    assert Recipe.from_dict(json.loads(rows[1]["recipe"])).epochs == 3
    run.write_tables(study, running=True)
    rows = pq.read_table(run.path / "trials.parquet").to_pylist()
    assert rows[3]["status"] == "running"


def test_epochs_table_has_a_row_for_each_trial_and_epoch(
    run: RunFolder, study: optuna.Study
) -> None:
    run.write_tables(study, running=False)
    rows = pq.read_table(run.path / "epochs.parquet").to_pylist()
    assert [(row["trial"], row["epoch"]) for row in rows] == [
        (0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (3, 1),
    ]  # fmt: skip
    assert {"loss", "recall@1", "seconds"} <= rows[0].keys()


def test_best_is_the_best_epoch_of_a_trial_that_did_not_fail(
    run: RunFolder, study: optuna.Study
) -> None:
    best = run.write_tables(study, running=True)
    assert best is not None
    assert (best.trial.number, best.metrics["epoch"]) == (0, 2)
    assert (run.best / "model.safetensors").read_text() == "finished 2"
    assert not (run.best / "training_state.pt").exists()
    assert not list(run.path.glob("best-*"))


def test_ended_trials_keep_their_best_epoch_only(run: RunFolder, study: optuna.Study) -> None:
    for trial in study.trials:
        run.drop_leftovers(trial)
    assert [path.name for path in sorted((run.trials / "0000").glob("epoch-*"))] == ["epoch-0002"]
    assert not (run.trials / "0000" / "epoch-0002" / "training_state.pt").exists()
    for kept in ("0002", "0003"):  # they may go on
        assert (run.trials / kept / "epoch-0001" / "training_state.pt").exists()


def test_an_empty_study_has_no_best(run: RunFolder) -> None:
    study = studies.open_study(run.journal)
    assert run.write_tables(study, running=False) is None
    assert run.write_finalists(study) == []
    assert not (run.path / "finalists.json").exists()


def test_a_run_is_created_once_and_found_again(run: RunFolder, tmp_path: Path) -> None:
    assert run.exists()
    assert "broken.jpg,truncated" in (run.path / "skipped.csv").read_text()
    assert run.description() == {"options": {}}
    with pytest.raises(UserError, match="--resume a-run"):
        run.create({}, [])
    with pytest.raises(UserError, match="runs there: a-run"):
        RunFolder.named(tmp_path, "other").description()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "-x", "a b", ".hidden"])
def test_names_that_are_no_folder_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder name"):
        RunFolder.named(tmp_path, name)


def test_two_sweeps_in_one_folder_are_refused(run: RunFolder) -> None:
    with run.locked(), pytest.raises(UserError, match="is running in it"), run.locked():
        pass
    with run.locked():
        pass


def test_the_best_that_was_just_replaced_on_disk_is_found(
    run: RunFolder, study: optuna.Study
) -> None:
    """Stopped when a trainer had dropped the best epoch for a better one that is not told yet."""
    folder = run.trials / "0000"
    (folder / "epoch-0002").rename(folder / "epoch-0004")
    history = [_metrics(2, 40), _metrics(4, 55)]
    (folder / "epoch-0004" / "metrics.json").write_text(json.dumps({"history": history}))
    best = run.write_tables(study, running=False)
    assert best is not None
    assert best.metrics["recall@1"] == 55
    assert json.loads((run.best / "trial.json").read_text()) == {
        "trial": 0,
        "epoch": 4,
        "finalist_of": None,
    }


def test_a_storage_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    require_writable(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        require_writable(tmp_path / "file" / "runs")
