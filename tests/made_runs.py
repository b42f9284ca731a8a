"""Folders of runs as a sweep leaves them, made without training anything."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vgray.recipe import Recipe

SMALL = {"image_size": [32, 32], "backbone.weights": "none", "backbone.crop_last": 2}


def write_checkpoint(folder: Path, recipe: Recipe, recall: float, content: str = "") -> Path:
    """Write a checkpoint whose weights are no weights, but intact.

    Args:
        folder: a new one.
        recipe: of the model.
        recall: recall@1 of its only epoch, in percent.
        content: of the file of weights; the folder's path unless given.
    """
    folder.mkdir(parents=True)
    files = {
        "model.safetensors": (content or str(folder)).encode(),
        "recipe.json": recipe.to_json().encode(),
    }
    for name, written in files.items():
        (folder / name).write_bytes(written)
    hashes = {name: hashlib.sha256(written).hexdigest() for name, written in files.items()}
    metrics = {"data": "d" * 64, "history": [{"epoch": 1, "recall@1": recall}], "sha256": hashes}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def trial(number: int, recall: float | None, **more: Any) -> dict[str, Any]:
    """Return a trial to be written: its learning rate is its number's, unless ``lr`` is given.

    Args:
        number: of the trial.
        recall: recall@1 of its only epoch; None for a trial without any.
        more: columns of its row, or ``lr`` and ``seed``.
    """
    return {"trial": number, "recall@1": recall, "status": "finished", "phase": "search", **more}


def write_run(
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
    *,
    data: Sequence[str] = ("city",),
    val: str | None = None,
    finalists: Mapping[int, Sequence[int]] | None = None,
    settings: Mapping[str, Any] | None = None,
    fingerprint: str = "f" * 64,
) -> Path:
    """Write a run's folder.

    Args:
        folder: a new one.
        trials: made by :func:`trial`.
        data: that the run was trained on.
        val: that it was validated on, if other data.
        finalists: trial of the search -> the trials that repeat it.
        settings: of all recipes.
        fingerprint: of the data when the run began.
    """
    folder.mkdir(parents=True)
    rows = []
    for each in trials:
        number, recall = each["trial"], each["recall@1"]
        lr, seed = each.get("lr", 1e-4 * (number + 1)), each.get("seed", 0)
        recipe = Recipe().with_settings(
            {**SMALL, **(settings or {}), "optimizer.lr": lr, "seed": seed}
        )
        rows.append(
            {
                "trial": number,
                "phase": each["phase"],
                "status": each["status"],
                "seed": seed,
                "settings": json.dumps({"optimizer.lr": lr}),
                "recipe": json.dumps(recipe.to_dict()),
                "best_epoch": None if recall is None else 1,
                "recall@1": recall,
                "folder": f"trials/{number:04d}",
            }
        )
        if recall is not None:
            write_checkpoint(folder / f"trials/{number:04d}/epoch-0001", recipe, recall)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    pq.write_table(pa.table(columns), folder / "trials.parquet")
    described = {
        "recipe": Recipe().to_dict(),
        "data": {"uri": list(data), "fingerprint": fingerprint},
        "options": {"data": list(data), "val": val},
        "versions": {"vgray": "0"},
        "command": ["jobs/tune.py"],
    }
    (folder / "recipe.json").write_text(json.dumps(described))
    if finalists:
        values = [
            {"trial": number, "repeats": [{"trial": each} for each in repeats]}
            for number, repeats in finalists.items()
        ]
        (folder / "finalists.json").write_text(json.dumps({"finalists": values}))
    return folder
