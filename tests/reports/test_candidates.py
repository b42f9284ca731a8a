"""Candidates of a report: which trials, under which names, and what is left out."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from made_runs import trial, write_checkpoint, write_run

from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.reports.candidates import read_runs


def _names(folder: Path, top: int = 3) -> list[str]:
    return [each.name for run in read_runs([folder], top) for each in run.candidates]


def test_the_best_ended_trials_of_a_search_are_taken_the_best_first(tmp_path: Path) -> None:
    trials = [
        trial(0, 20.0), trial(1, 40.0), trial(2, 30.0, status="stopped early"),
        trial(3, 90.0, status="failed"), trial(4, 80.0, status="running"), trial(5, None),
        trial(6, 10.0),
    ]  # fmt: skip
    run = write_run(tmp_path / "A", trials)
    assert _names(run) == ["A#1", "A#2", "A#0"]
    assert _names(run, top=2) == ["A#1", "A#2"]
    source = read_runs([run], 3)[0].source
    assert (source.num_trials, source.num_finished, source.data) == (7, 5, ["city"])


def test_of_equal_recipes_apart_from_the_seed_the_best_stands_for_all(tmp_path: Path) -> None:
    trials = [trial(0, 20.0, lr=0.1), trial(1, 30.0, lr=0.1, seed=5), trial(2, 10.0)]
    assert _names(write_run(tmp_path / "A", trials)) == ["A#1", "A#2"]


def test_a_trial_that_is_a_finalist_is_represented_by_its_repeats(tmp_path: Path) -> None:
    trials = [
        trial(0, 50.0, lr=0.1), trial(1, 40.0),
        *(trial(n, 30.0 + n, lr=0.1, seed=n, phase="finalist") for n in (2, 3, 4)),
    ]  # fmt: skip
    run = write_run(tmp_path / "A", trials, finalists={0: [2, 3, 4]})
    # The lone trial's recall is higher, but of one seed and the best of two.
    finalist, lone = read_runs([run], 3)[0].candidates
    assert (lone.name, lone.member, lone.chosen) == ("A#1", "A#1", "best of A")
    assert (lone.is_finalist, lone.best_of_trials) == (False, 2)
    assert (finalist.is_finalist, finalist.best_of_trials) == (True, None)
    assert (finalist.name, finalist.member) == ("A#0 x3", "A#0 seed 4")
    assert finalist.val_recall == pytest.approx(33.0)
    assert [model.seed for model in finalist.models] == [2, 3, 4]
    assert finalist.representative.checkpoint == run / "trials/0004/epoch-0001"
    assert finalist.settings == "lr=0.1"


def test_a_damaged_checkpoint_is_left_out_and_noted(tmp_path: Path) -> None:
    trials = [
        trial(0, 50.0, lr=0.1), trial(1, 40.0), trial(2, 35.0),
        *(trial(n, 30.0 + n, lr=0.1, seed=n, phase="finalist") for n in (3, 4)),
    ]  # fmt: skip
    run = write_run(tmp_path / "A", trials, finalists={0: [3, 4]})
    (run / "trials/0002/epoch-0001/model.safetensors").write_text("changed")
    shutil.rmtree(run / "trials/0004/epoch-0001")
    found = read_runs([run], 3)[0]
    assert [each.name for each in found.candidates] == ["A#0 x1", "A#1"]
    assert [note.partition(":")[0] for note in found.notes] == ["A#0", "A#2"]
    assert "is damaged" in found.notes[1]


def test_a_run_without_a_finished_trial_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "A", [trial(0, 5.0, status="interrupted"), trial(1, None)])
    with pytest.raises(UserError, match=r"a run without finished trials; .*--resume A"):
        read_runs([run], 3)
    lost = write_run(tmp_path / "B", [trial(0, 5.0)])
    shutil.rmtree(lost / "trials")
    with pytest.raises(UserError, match=r"without finished trials \(B#0: left out .*no such"):
        read_runs([lost], 3)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "A", [trial(0, 5.0)])
    with pytest.raises(UserError, match=r"--runs .*B: .*B is no run.*runs there: A"):
        read_runs([tmp_path / "B"], 3)
    (tmp_path / "A" / "finalists.json").write_text("{")
    with pytest.raises(UserError, match=r"finalists.json is damaged"):
        read_runs([tmp_path / "A"], 3)


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    folders = [tmp_path / "one/A", tmp_path / "two/A", tmp_path / "two/B"]
    for folder in folders:
        write_run(folder, [trial(0, 5.0)])
    names = [run.candidates[0].name for run in read_runs(folders, 3)]
    assert names == ["one/A#0", "two/A#0", "B#0"]
    with pytest.raises(UserError, match="is given twice"):
        read_runs([folders[0], tmp_path / "two" / ".." / "one/A"], 3)


def test_a_checkpoint_by_itself_says_nothing_of_its_validation(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "official", Recipe(), 77.0)
    run = read_runs([checkpoint], 3)[0]
    assert (run.candidates[0].name, run.candidates[0].val_recall) == ("official", None)
    assert run.source.data == []


def test_a_training_gives_its_best_epoch(tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    recipe = Recipe()
    history = [{"epoch": 1, "recall@1": 9.0}, {"epoch": 2, "recall@1": 7.0}]
    for epoch in (1, 2):
        checkpoint = write_checkpoint(folder / f"epoch-000{epoch}", recipe, 0.0)
        (checkpoint / "training_state.pt").write_bytes(b"state")
        metrics = json.loads((checkpoint / "metrics.json").read_text())
        metrics["history"] = history[:epoch]
        metrics["sha256"]["training_state.pt"] = hashlib.sha256(b"state").hexdigest()
        (checkpoint / "metrics.json").write_text(json.dumps(metrics))
    run = {"recipe": recipe.to_dict(), "data": {"uri": "city", "fingerprint": "f", "val": "other"}}
    (folder / "run.json").write_text(json.dumps(run))
    found = read_runs([folder], 3)[0]
    assert found.candidates[0].models[0].checkpoint == folder / "epoch-0001"
    assert found.candidates[0].val_recall == 9.0
    assert (found.source.data, found.source.val) == (["city"], "other")
    (folder / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run.json is damaged"):
        read_runs([folder], 3)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("trials.parquet", "abc"),
        ("finalists.json", "[]"),
        ("finalists.json", '{"finalists": ["a"]}'),
        ("finalists.json", '{"finalists": [{"trial": 0}]}'),
        ("finalists.json", '{"finalists": [{"repeats": [{"trial": 0}]}]}'),
        ("finalists.json", '{"finalists": [{"trial": 0, "repeats": [{"trial": null}]}]}'),
    ],
)
def test_a_damaged_file_of_a_run_is_said(tmp_path: Path, file: str, content: str) -> None:
    run = write_run(tmp_path / "A", [trial(0, 50.0)])
    (run / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file}:? is damaged; give .*--resume A, ") as refused:
        read_runs([run], 3)
    assert "\n" not in str(refused.value)
