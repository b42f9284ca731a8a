"""A sweep whose processes are really killed ends as one that was left in peace."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from vgray.orchestration import study as studies

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NUM_TRIALS = 8
EPOCHS = 4
# So that ASHA sees the same values in the same order each time; a resumed sweep is told again.
ONE_AT_A_TIME = ["--max-concurrent", "1"]
OPTIONS = [
    "--space", "optimizers", "--num-trials", str(NUM_TRIALS), "--epochs", str(EPOCHS),
    "--grace", "1", *ONE_AT_A_TIME, "--name", "run",
    "--set", "image_size=[32, 32]", "--set", "backbone.weights=none", "--set", "batch.places=4",
    "--set", "backbone.crop_last=2",
]  # fmt: skip
# What the clock decides, not the seed.
TIMED = {
    "seconds",
    "train_seconds",
    "images_per_s",
    "peak_memory_mb",
    "seconds_to_first_step",
    "seconds_since_last_trial",
}


def _start(storage: Path, *options: str) -> subprocess.Popen[str]:
    log = (storage.parent / f"{storage.name}.log").open("a")
    return subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "tune.py"), "--storage", str(storage), *options],
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _log(storage: Path) -> str:
    return (storage.parent / f"{storage.name}.log").read_text()


def _finish(storage: Path, *options: str) -> None:
    assert _start(storage, *options).wait(timeout=400) == 0, _log(storage)


def _checkpoints(storage: Path) -> dict[str, float]:
    """Return the seconds that each checkpointed epoch took: they tell two trainings apart."""
    found = {}
    for path in storage.glob("run/trials/*/epoch-*/metrics.json"):
        try:
            history = json.loads(path.read_text())["history"]
        except (OSError, ValueError):
            continue  # removed since it was listed
        for metrics in history:
            found[f"{path.parent.parent.name} {metrics['epoch']}"] = metrics["seconds"]
    return found


def _wait_for_epochs(process: subprocess.Popen[str], storage: Path, more_than: int) -> None:
    deadline = time.monotonic() + 200
    while len(_checkpoints(storage)) <= more_than:
        assert process.poll() is None, _log(storage)
        assert time.monotonic() < deadline, _log(storage)
        time.sleep(0.05)


def _decided(path: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(path).to_pylist()
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_city: Path) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed") / "runs"
    _finish(storage, *OPTIONS, "--data", str(tiny_city))
    return storage


def _require_same_as(undisturbed: Path, storage: Path) -> None:
    for table in ("trials.parquet", "epochs.parquet"):
        assert _decided(storage / "run" / table) == _decided(undisturbed / "run" / table)
    best = [
        json.loads((s / "run" / "best" / "trial.json").read_text()) for s in (undisturbed, storage)
    ]
    assert best[0] == best[1]
    states = [trial.state for trial in studies.open_study(storage / "run" / "study.journal").trials]
    assert len(states) == NUM_TRIALS
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}


def _require_no_epoch_trained_twice(storage: Path, seen: dict[str, float]) -> None:
    rows = pq.read_table(storage / "run" / "epochs.parquet").to_pylist()
    kept = {f"{row['trial']:04d} {row['epoch']}": row["seconds"] for row in rows}
    assert seen
    for epoch, seconds in seen.items():
        assert kept[epoch] == seconds


def test_five_kills_of_the_driver(tmp_path: Path, tiny_city: Path, undisturbed: Path) -> None:
    storage = tmp_path / "runs"
    seen: dict[str, float] = {}
    chance = random.Random(0)
    options = [*OPTIONS, "--data", str(tiny_city)]
    for _ in range(5):
        process = _start(storage, *options)
        _wait_for_epochs(process, storage, len(_checkpoints(storage) | seen))
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        process.wait()
        seen |= _checkpoints(storage)
        options = ["--resume", "run", *ONE_AT_A_TIME]
    _finish(storage, *options)
    _require_same_as(undisturbed, storage)
    _require_no_epoch_trained_twice(storage, seen)


def test_a_killed_trainer_restarts_from_its_checkpoint(
    tmp_path: Path, tiny_city: Path, undisturbed: Path
) -> None:
    storage = tmp_path / "runs"
    process = _start(storage, *OPTIONS, "--data", str(tiny_city))
    _wait_for_epochs(process, storage, 1)
    seen = _checkpoints(storage)
    trainer = _trainer_of(process.pid)
    os.kill(trainer, signal.SIGKILL)
    assert process.wait(timeout=400) == 0, _log(storage)
    assert "starts again from its last checkpoint" in _log(storage)
    _require_same_as(undisturbed, storage)
    _require_no_epoch_trained_twice(storage, seen)


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
    process = _start(storage, *OPTIONS, "--data", str(tiny_city))
    _wait_for_epochs(process, storage, 2)
    process.send_signal(stop)
    assert process.wait(timeout=60) == 130, _log(storage)
    assert "--resume run" in _log(storage)
    assert "Traceback" not in _log(storage)
    seen = _checkpoints(storage)
    statuses = [
        row["status"] for row in pq.read_table(storage / "run" / "trials.parquet").to_pylist()
    ]
    assert "interrupted" in statuses
    assert (storage / "run" / "best" / "model.safetensors").exists()
    _finish(storage, "--resume", "run", *ONE_AT_A_TIME)
    _require_same_as(undisturbed, storage)
    _require_no_epoch_trained_twice(storage, seen)
