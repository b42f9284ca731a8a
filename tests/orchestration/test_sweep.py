"""A sweep whose processes are really killed ends as one that was left in peace."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState
from started_sweeps import (
    ONE_AT_A_TIME,
    SMALL,
    checkpoints,
    finish,
    log,
    require_no_epoch_trained_twice,
    require_same_tables,
    resume,
    start,
    wait_for_epochs,
)

from vgray.orchestration import study as studies

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_TRIALS = 8
EPOCHS = 4
# One at a time, ASHA sees the same values in the same order; a resumed sweep is told again.
OPTIONS = [
    "--space", "optimizers", "--num-trials", str(NUM_TRIALS), "--epochs", str(EPOCHS),
    "--grace", "1", *ONE_AT_A_TIME, "--name", "run", *SMALL,
]  # fmt: skip


def _require_same_as(undisturbed: Path, storage: Path) -> None:
    require_same_tables(storage, undisturbed)
    best = [
        json.loads((s / "run" / "best" / "trial.json").read_text()) for s in (undisturbed, storage)
    ]
    assert best[0] == best[1]
    states = [trial.state for trial in studies.open_study(storage / "run" / "study.journal").trials]
    assert len(states) == NUM_TRIALS
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_five_kills_of_the_driver(tmp_path: Path, tiny_city: Path, undisturbed: Path) -> None:
    storage = tmp_path / "runs"
    seen: dict[str, float] = {}
    chance = random.Random(0)
    options = [*OPTIONS, "--data", str(tiny_city)]
    for _ in range(5):
        process = start(storage, *options)
        wait_for_epochs(process, storage, len(checkpoints(storage) | seen))
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        process.wait()
        seen |= checkpoints(storage)
        options = ["--resume", "run", *ONE_AT_A_TIME]
    finish(storage, *options)
    _require_same_as(undisturbed, storage)
    require_no_epoch_trained_twice(storage, seen)


def test_a_killed_trainer_restarts_from_its_checkpoint(
    tmp_path: Path, tiny_city: Path, undisturbed: Path
) -> None:
    storage = tmp_path / "runs"
    process = start(storage, *OPTIONS, "--data", str(tiny_city))
    wait_for_epochs(process, storage, 1)
    seen = checkpoints(storage)
    trainer = _trainer_of(process.pid)
    os.kill(trainer, signal.SIGKILL)
    assert process.wait(timeout=400) == 0, log(storage)
    assert "starts again from its last checkpoint" in log(storage)
    _require_same_as(undisturbed, storage)
    require_no_epoch_trained_twice(storage, seen)


def _trainer_of(driver: int) -> int:
    """Return the process id of the trainer actor among the driver's descendants."""
    listing = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in listing]
    parents = {int(pid): int(ppid) for pid, ppid, _ in rows}

    def is_descendant(pid: int) -> bool:
        while pid in parents:
            if pid == driver:
                return True
            pid = parents[pid]
        return False

    trainers = [
        int(pid)
        for pid, _, args in rows
        if is_descendant(int(pid)) and args.startswith("ray::ImplicitFunc")
    ]
    assert len(trainers) == 1, [args for _, _, args in rows if "ray::" in args]
    return trainers[0]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_says_how_to_go_on(
    stop: signal.Signals, tmp_path: Path, tiny_city: Path, undisturbed: Path
) -> None:
    storage = tmp_path / "runs"
    process = start(storage, *OPTIONS, "--data", str(tiny_city))
    wait_for_epochs(process, storage, 2)
    process.send_signal(stop)
    assert process.wait(timeout=60) == 130, log(storage)
    assert "--resume run" in log(storage)
    assert "Traceback" not in log(storage)
    seen = checkpoints(storage)
    statuses = [
        row["status"] for row in pq.read_table(storage / "run" / "trials.parquet").to_pylist()
    ]
    assert "interrupted" in statuses
    assert (storage / "run" / "best" / "model.safetensors").exists()
    resume(storage)
    _require_same_as(undisturbed, storage)
    require_no_epoch_trained_twice(storage, seen)
