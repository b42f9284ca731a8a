"""A trial of a run, read back and compared with its repetition."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.training.request import settle
from vgray.training.trials import compare, read_trial

EPOCHS = [
    {"trial": 3, "epoch": 1, "recall@1": 40.0, "loss": 0.5, "threads": 2},
    {"trial": 3, "epoch": 2, "recall@1": 44.25, "loss": 0.25, "threads": 2},
    {"trial": 5, "epoch": 1, "recall@1": 90.0, "loss": 0.1, "threads": 2},
]


def write(folder: Path, *, data: Any = ("/a", "/b"), epochs: list[dict[str, Any]] = EPOCHS) -> Path:
    folder.mkdir(parents=True)
    run = {"options": {"data": data, "val": "/v"}, "data": {"uri": "/a", "fingerprint": "f00"}}
    (folder / "recipe.json").write_text(json.dumps(run))
    recipe = Recipe(seed=7).with_settings({"epochs": 2})
    rows = [
        {"trial": 3, "status": "finished", "recipe": json.dumps(recipe.to_dict())},
        {"trial": 5, "status": "waiting", "recipe": json.dumps(None)},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "trials.parquet")
    if epochs:
        pq.write_table(pa.Table.from_pylist(epochs), folder / "epochs.parquet")
    return folder


def test_a_trial_is_read(tmp_path: Path) -> None:
    trial = read_trial(f"{write(tmp_path / 'runs' / 'one')}#3")
    assert (trial.recipe.seed, trial.recipe.epochs) == (7, 2)
    assert (trial.data, trial.val, trial.threads) == (("/a", "/b"), "/v", 2)
    assert [epoch["recall@1"] for epoch in trial.epochs] == [40.0, 44.25]
    trial.require_same_data("f00")
    with pytest.raises(UserError, match=r"--trial .*one#3: the data in /a, /b has changed"):
        trial.require_same_data("f01")


def test_runs_of_earlier_versions_are_read(tmp_path: Path) -> None:
    old = [{key: epoch[key] for key in epoch if key != "threads"} for epoch in EPOCHS]
    trial = read_trial(f"{write(tmp_path / 'old', data='/a', epochs=old)}#3")
    assert (trial.data, trial.threads) == (("/a",), None)
    assert read_trial(f"{write(tmp_path / 'none', epochs=[])}#3").epochs == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/one", "expected a run's folder and the number of a trial, as in runs/NAME#3"),
        ("#3", "expected a run's folder"),
        ("runs/one#best", "expected a run's folder"),
        ("runs/one#4", "no such trial in the run; it has trials 3 to 5"),
        ("runs/one#5", "has not begun"),
        ("runs/on#3", "is no run, did you mean 'one'?; runs there: one"),
        ("nowhere/one#3", "no runs in nowhere"),
        ("runs/damaged#3", "recipe.json is damaged"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("runs") / "one")
    if "damaged" in name:
        (write(Path("runs") / "damaged") / "recipe.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        read_trial(name)
    assert message in str(caught.value) and str(caught.value).startswith(f"--trial {name}: ")


@pytest.mark.parametrize("table", ["trials", "epochs"])
def test_a_damaged_table_is_said(tmp_path: Path, table: str) -> None:
    run = write(tmp_path / "one")
    (run / f"{table}.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=rf"{table}.parquet: is damaged; give .*--resume one, "):
        read_trial(f"{run}#3")


def test_comparison(tmp_path: Path) -> None:
    trial = read_trial(f"{write(tmp_path / 'one')}#3")
    same = [dict(epoch) for epoch in EPOCHS[:2]]
    had = "trial 3 of one had recall@1 44.2 at its best epoch (2); "
    assert compare(trial, same) == f"{had}this training 44.2: the same"
    longer = [*same, {"epoch": 3, "recall@1": 50.0, "loss": 0.1}]
    assert compare(trial, longer).endswith("44.2: the same")
    other_loss = [same[0], same[1] | {"loss": 0.2500001}]
    assert compare(trial, other_loss).endswith("44.2: not the same from epoch 2 on (loss)")
    other = [same[0] | {"recall@1": 41.0}, same[1]]
    assert compare(trial, other).endswith("not the same from epoch 1 on (recall@1)")
    assert compare(trial, same[:1]) == f"{had}this training did not get there"
    empty = read_trial(f"{write(tmp_path / 'none', epochs=[])}#3")
    assert compare(empty, same) == "trial 3 of none has no epoch to compare with"


def test_what_is_asked_for_goes_before_what_was(tmp_path: Path) -> None:
    run = write(tmp_path / "one")
    again = settle(None, {}, trial=f"{run}#3")
    assert (again.data, again.val, again.threads, again.recipe.seed) == (["/a", "/b"], "/v", 2, 7)
    assert settle(None, {}, trial=f"{run}#3", threads=1).threads == 1
    earlier = {
        "recipe": Recipe(seed=9).to_dict(),
        "data": {"uri": ["/c", "/d"], "fingerprint": "f02", "images": 6},
        "trial": again.trial_name,
        "threads": 3,
    }
    resumed = settle(None, {}, earlier=earlier)
    assert (resumed.data, resumed.val, resumed.threads) == (["/c", "/d"], None, 3)
    assert resumed.recipe.seed == 9
    assert resumed.trial is not None and resumed.trial.recipe.seed == 7
    with pytest.raises(UserError, match=r"--resume: the data has changed .* in /c, /d"):
        resumed.require_same_data("f00")
    gone = settle(None, {}, earlier={**earlier, "trial": f"{tmp_path}/gone#3"}, data=["/e"])
    assert gone.trial is None and gone.data == ["/e"]
    with pytest.raises(ValueError, match="neither"):
        settle(None, {})


def test_paths_are_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = settle(Recipe(), {"init_from": "runs/one/best"}, data=["city", "s3://b/c/"], val="val")
    assert asked.recipe.init_from == str(tmp_path / "runs/one/best")
    assert asked.data == [str(tmp_path / "city"), "s3://b/c"]
    assert asked.val == str(tmp_path / "val")
    assert asked.trial_name is None
    asked.require_same_data("anything")
