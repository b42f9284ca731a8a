"""The files of a run that people and programs read: their rows, and how they are written."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial, TrialState

from vgray.orchestration import study as studies
from vgray.orchestration.finalists import is_finalist
from vgray.orchestration.records import best_epoch, status, trial_epochs
from vgray.orchestration.report import EPOCH


def trial_row(trial: FrozenTrial, *, running: bool) -> dict[str, Any]:
    """Return a trial's row of ``trials.parquet``.

    Args:
        trial: of the sweep's study.
        running: whether the sweep goes on; a trial that is not finished is then running.
    """
    epochs = trial_epochs(trial)
    best = best_epoch(trial) or {}
    recipe = trial.user_attrs.get(studies.RECIPE)
    return {
        "trial": trial.number,
        "phase": "finalist" if is_finalist(trial) else "search",
        "finalist_of": trial.user_attrs.get(studies.FINALIST_OF),
        "seed": recipe and recipe["seed"],
        "status": "running" if running and trial.state == TrialState.RUNNING else status(trial),
        "settings": json.dumps(trial.user_attrs.get(studies.SETTINGS)),
        "recipe": json.dumps(recipe),
        "epochs": len(epochs),
        "best_epoch": best.get(EPOCH),
        **{key: value for key, value in best.items() if key.startswith("recall@")},
        "num_queries": best.get("num_queries"),
        "seconds": sum(metrics.get("seconds", 0.0) for metrics in epochs),
        "failure": trial.user_attrs.get(studies.FAILURE),
        "folder": f"trials/{studies.folder_number(trial):04d}",
    }


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as Parquet, so that a reader sees the file before or after, never in between."""
    # Arrow takes the columns from the first row, and not every epoch has every metric.
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = pa.table({key: [row.get(key) for row in rows] for key in columns})
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as JSON, which is on disk and whole when this returns."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
