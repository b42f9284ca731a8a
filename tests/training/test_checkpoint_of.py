"""Which checkpoint a text names: folders of checkpoints, trainings and runs, and trials."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vgray import Recipe, UserError
from vgray.models import Network, save_checkpoint
from vgray.training.checkpoint_of import find_checkpoint
from vgray.training.checkpoints import epoch_folder

TINY = {"image_size": 32, "backbone": {"name": "resnet18", "weights": "none", "crop_last": 3}}


def row(trial: int, status: str, best_epoch: int | None) -> dict[str, Any]:
    return {
        "trial": trial,
        "status": status,
        "best_epoch": best_epoch,
        "folder": f"trials/{trial:04d}",
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a best model, and a trial 3 whose second epoch is its best."""
    folder = tmp_path / "runs" / "search"
    network = Network(Recipe.from_dict(TINY))
    save_checkpoint(folder / "best", network, {"history": []})
    save_checkpoint(epoch_folder(folder / "trials" / "0003", 2), network, {"history": []})
    facts = {"options": {"data": ["city"]}, "data": {"fingerprint": "f"}}
    (folder / "recipe.json").write_text(json.dumps(facts))
    write_rows(folder, [row(3, "finished", 2), row(4, "failed", None), row(5, "finished", 1)])
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / "trials.parquet")


def test_checkpoints_runs_and_trials(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = epoch_folder(run / "trials" / "0003", 2)
    assert find_checkpoint(str(run)) == run / "best"
    assert find_checkpoint(str(run / "best")) == run / "best"
    assert find_checkpoint(f"{run}#3") == find_checkpoint(f"{run}/#3") == trial
    assert find_checkpoint(str(trial)) == trial
    monkeypatch.chdir(run.parent)
    assert find_checkpoint("search#3") == Path("search/trials/0003/epoch-0002")
    numbered = run.rename(run.with_name("search#3"))
    assert find_checkpoint(str(numbered)) == numbered / "best"
    assert find_checkpoint(f"{numbered}#3").is_dir()


def test_the_best_epoch_of_a_training(tmp_path: Path) -> None:
    network = Network(Recipe.from_dict(TINY))
    history = [{"epoch": epoch, "recall@1": recall} for epoch, recall in ((1, 40.0), (2, 30.0))]
    for epoch in (1, 2):
        metrics = {"data": "f", "history": history[:epoch]}
        save_checkpoint(epoch_folder(tmp_path, epoch), network, metrics, {"step": torch.ones(1)})
    (tmp_path / "run.json").write_text("{}")
    assert find_checkpoint(str(tmp_path)) == epoch_folder(tmp_path, 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "run.json").write_text("{}")
    refused(str(empty), "no checkpoint in it")


def refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        find_checkpoint(text)
    assert "\n" not in str(error.value)


def test_what_names_no_checkpoint_is_one_line(run: Path, tmp_path: Path) -> None:
    refused(str(run.with_name("serch")), "did you mean 'search'")
    refused(str(run / "best" / "recipe.json"), "found a file.*import-weights")
    refused(str(tmp_path), "holds neither a checkpoint .* nor a run")
    refused(f"{run}#9", "no such trial in the run; it has trials 3 to 5")
    refused(f"{run}#4", r"the trial \(failed\) has no finished epoch.*have one: 3, 5")
    refused(f"{run}#5", "0005/epoch-0001 is gone.*jobs/train.py --trial")
    refused(f"{run.with_name('serch')}#3", "is no run, did you mean 'search'")
    (run / "best").rename(run / "other")
    refused(str(run), r"no finished trial.*\(2 finished, 1 failed\).*--resume search")
