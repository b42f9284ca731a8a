"""A sweep with finalists, end to end on Ray: left in peace, killed, stopped and extended."""

import json
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from started_sweeps import (
    ONE_AT_A_TIME,
    SMALL,
    checkpoints,
    decided,
    log,
    require_no_epoch_trained_twice,
    require_same_tables,
    resume,
    start,
    wait_for_epochs,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 2
OPTIONS = [
    "--space", "optimizers", "--num-trials", "3", "--epochs", str(EPOCHS), "--scheduler", "none",
    "--finalists", "2", "--repeats", "2", *ONE_AT_A_TIME, "--name", "run", *SMALL,
]  # fmt: skip


def test_the_best_are_repeated_and_ranked_by_their_mean(undisturbed: Path) -> None:
    run = undisturbed / "run"
    rows = pq.read_table(run / "trials.parquet").to_pylist()
    assert [row["phase"] for row in rows] == ["search"] * 3 + ["finalist"] * 4
    assert {row["status"] for row in rows} == {"finished"}
    assert [row["seed"] for row in rows[3:]] == [1, 1, 2, 2]
    by_recall = sorted(rows[:3], key=lambda row: -row["recall@1"])
    chosen = [row["trial"] for row in by_recall[:2]]
    assert [row["finalist_of"] for row in rows[3:]] == chosen * 2
    kept = json.loads((run / "finalists.json").read_text())
    means = {
        of: sum(row["recall@1"] for row in rows[3:] if row["finalist_of"] == of) / 2
        for of in chosen
    }
    first, second = kept["finalists"]
    assert {each["trial"]: each["mean"] for each in (first, second)} == pytest.approx(means)
    assert first["mean"] >= second["mean"]
    behind = second["behind_first"]
    assert behind["difference"] == pytest.approx(first["mean"] - second["mean"])
    best = json.loads((run / "best" / "trial.json").read_text())
    assert best["finalist_of"] == first["trial"]
    assert rows[best["trial"]]["recall@1"] == first["max"]
    said = log(undisturbed)
    assert f"finalist of {chosen[0]}, seed 1: " in said
    assert kept["verdict"] in said
    assert "7 of 7 trials ended" in said
    assert said.count("cluster:") == 1


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_stopped_during_the_finalists_it_goes_on_with_them(
    stop: signal.Signals, tmp_path: Path, tiny_city: Path, undisturbed: Path
) -> None:
    storage = tmp_path / "runs"
    process = start(storage, *OPTIONS, "--data", str(tiny_city))
    wait_for_epochs(process, storage, 3 * EPOCHS + 1)
    process.send_signal(stop)
    process.wait(timeout=60)
    seen = checkpoints(storage)
    assert len(seen) < 7 * EPOCHS
    resume(storage)
    require_same_tables(storage, undisturbed)
    for file in ("finalists.json", "best/trial.json"):
        assert (storage / "run" / file).read_text() == (undisturbed / "run" / file).read_text()
    require_no_epoch_trained_twice(storage, seen)


def test_more_finalists_are_trained_when_the_run_is_resumed_with_more(
    tmp_path: Path, undisturbed: Path
) -> None:
    storage = tmp_path / "runs"
    shutil.copytree(undisturbed, storage)
    resume(storage, "--finalists", "3")
    before, after = (decided(each / "run" / "trials.parquet") for each in (undisturbed, storage))
    assert after[:7] == before
    assert [(row["phase"], row["seed"]) for row in after[7:]] == [("finalist", 1), ("finalist", 2)]
    assert len({row["finalist_of"] for row in after[3:]}) == 3
    kept = json.loads((storage / "run" / "finalists.json").read_text())
    assert [each["rank"] for each in kept["finalists"]] == [1, 2, 3]
