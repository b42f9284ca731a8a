"""Sweeps started from the command line, to be watched, killed and compared."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
SMALL = [
    "--set", "image_size=[32, 32]", "--set", "backbone.weights=none", "--set", "batch.places=4",
    "--set", "backbone.crop_last=2",
]  # fmt: skip
# So that trials come in the same order each time.
ONE_AT_A_TIME = ["--max-concurrent", "1"]
# What the clock decides, not the seed.
TIMED = {
    "seconds",
    "train_seconds",
    "mining_seconds",
    "images_per_s",
    "peak_memory_mb",
    "seconds_to_first_step",
    "seconds_since_last_trial",
}


def start(storage: Path, *options: str) -> subprocess.Popen[str]:
    output = (storage.parent / f"{storage.name}.log").open("a")
    return subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "tune.py"), "--storage", str(storage), *options],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def log(storage: Path) -> str:
    return (storage.parent / f"{storage.name}.log").read_text()


def finish(storage: Path, *options: str) -> None:
    assert start(storage, *options).wait(timeout=400) == 0, log(storage)


def resume(storage: Path, *options: str) -> None:
    finish(storage, "--resume", "run", *options, *ONE_AT_A_TIME)


def checkpoints(storage: Path) -> dict[str, float]:
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


def wait_for_epochs(process: subprocess.Popen[str], storage: Path, more_than: int) -> None:
    deadline = time.monotonic() + 200
    while len(checkpoints(storage)) <= more_than:
        assert process.poll() is None, log(storage)
        assert time.monotonic() < deadline, log(storage)
        time.sleep(0.05)


def decided(path: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(path).to_pylist()
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def require_same_tables(one: Path, other: Path) -> None:
    for table in ("trials.parquet", "epochs.parquet"):
        assert decided(one / "run" / table) == decided(other / "run" / table)


def require_no_epoch_trained_twice(storage: Path, seen: dict[str, float]) -> None:
    rows = pq.read_table(storage / "run" / "epochs.parquet").to_pylist()
    kept = {f"{row['trial']:04d} {row['epoch']}": row["seconds"] for row in rows}
    assert seen
    for epoch, seconds in seen.items():
        assert kept[epoch] == seconds
