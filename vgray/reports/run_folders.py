"""The candidates of a folder, read as plain files: of a sweep, of one training, of a checkpoint.

Nothing in the folder is written, and neither Ray nor Optuna is needed. A sweep may be running.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vgray import provenance
from vgray.errors import UserError
from vgray.models.checkpoint import RECIPE, read_metrics
from vgray.recipe import Recipe
from vgray.reports.candidates import Candidate, Model, Run
from vgray.reports.results import RunSource
from vgray.settings import describe_settings
from vgray.training.checkpoints import best_checkpoint, epoch_folder
from vgray.training.trials import read_run, table_rows

_METRIC = "recall@1"
_ENDED = ("finished", "stopped early")
_Row = Mapping[str, Any]


def read_sweep(folder: Path, name: str, top: int) -> Run:
    """Read the finalists of a sweep, and the best trials of its search.

    A trial whose setting is a finalist is represented by the finalist. Of trials with equal
    recipes, seeds apart, the best stands for all.

    Args:
        folder: of the run.
        name: what it is called in the report.
        top: how many trials of the search, finalists among them.

    Raises:
        UserError: the folder is no run, or has no finished trial with its checkpoint.
    """
    described = read_run(folder, f"--runs {folder}")
    rows = [row for row in table_rows(folder / "trials.parquet") if row["status"] in _ENDED]
    trained = {row["trial"]: row for row in rows if row["best_epoch"] is not None}
    notes: list[str] = []
    finalists = _finalists(folder, name, trained, notes)
    candidates = list(finalists.values())
    settled = {_setting(trained[number]) for number in finalists if number in trained}
    searched = [row for row in trained.values() if row["phase"] == "search"]
    for row in _best_distinct(searched)[:top]:
        if _setting(row) not in settled:
            label = f"{name}#{row['trial']}"
            models = _models(folder, label, [row], notes)
            if models:
                chosen = f"best of {name}"
                candidates.append(
                    Candidate(label, models, _settings(row), chosen, best_of_trials=len(searched))
                )
    if not candidates:
        why = f" ({notes[0]})" if notes else ""
        raise UserError(
            f"--runs {folder}: a run without finished trials{why}; finish it with "
            f"jobs/tune.py --resume {folder.resolve().name}, or leave it out"
        )
    # The highest of many single seeds is so by luck in part; what was repeated goes before it.
    candidates.sort(key=lambda each: (not each.is_finalist, -(each.val_recall or 0.0)))
    source = RunSource(
        name=name,
        path=str(folder),
        data=provenance.data_sets(described["options"]["data"]),
        val=described["options"].get("val"),
        fingerprint=described["data"]["fingerprint"],
        num_trials=len(table_rows(folder / "trials.parquet")),
        num_finished=len(rows),
        command=list(described.get("command", [])),
        versions=dict(described.get("versions", {})),
    )
    return Run(source, tuple(candidates), tuple(notes))


def read_training(folder: Path, name: str) -> Run:
    """Read the best epoch of one training.

    Args:
        folder: of the training.
        name: what it is called in the report.

    Raises:
        UserError: the folder's ``run.json`` is damaged, or it has no intact checkpoint.
    """
    try:
        run = json.loads((folder / "run.json").read_bytes())
        uri, fingerprint = run["data"]["uri"], run["data"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"--runs {folder}: run.json is damaged; leave this folder out") from None
    model = _read_model(best_checkpoint(folder))
    candidate = Candidate(name, (model,), _parts(model.recipe), f"training in {name}")
    source = RunSource(
        name=name,
        path=str(folder),
        data=provenance.data_sets(uri),
        val=run["data"].get("val"),
        fingerprint=fingerprint,
        num_trials=1,
        num_finished=1,
        command=list(run.get("command", [])),
        versions=dict(run.get("versions", {})),
    )
    return Run(source, (candidate,))


def read_checkpoint(folder: Path, name: str) -> Run:
    """Read a checkpoint by itself, of which it is not known what it was validated on.

    Args:
        folder: of the checkpoint.
        name: what it is called in the report.

    Raises:
        UserError: it is damaged.
    """
    model = _read_model(folder)
    # What it says of its validation is of images that nobody can name here.
    unknown = Model(model.checkpoint, model.recipe, None)
    candidate = Candidate(name, (unknown,), _parts(model.recipe), "checkpoint")
    source = RunSource(
        name=name,
        path=str(folder),
        data=[],
        val=None,
        fingerprint=str(read_metrics(folder, ()).get("data", "")),
        num_trials=1,
        num_finished=1,
        command=[],
        versions={},
    )
    return Run(source, (candidate,))


def _finalists(
    folder: Path, name: str, trained: Mapping[int, _Row], notes: list[str]
) -> dict[int, Candidate]:
    """Return the finalists by the number of the search's trial whose setting they have."""
    found = {}
    for number, repeats in _read_finalists(folder).items():
        rows = [trained[repeat] for repeat in repeats if repeat in trained]
        label = f"{name}#{number}"
        models = _models(folder, label, rows, notes)
        if models:
            chosen = f"finalist of {name}"
            found[number] = Candidate(label, models, _settings(rows[0]), chosen, is_finalist=True)
    return found


def _read_finalists(folder: Path) -> dict[int, list[int]]:
    """Return the search's trial of each finalist, and the trials that repeat it."""
    try:
        finalists = json.loads((folder / "finalists.json").read_bytes())["finalists"]
        return {
            int(finalist["trial"]): [int(repeat["trial"]) for repeat in finalist["repeats"]]
            for finalist in finalists
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--runs {folder}: finalists.json is damaged; give jobs/tune.py --resume "
            f"{folder.resolve().name}, which writes it anew"
        ) from None


def _best_distinct(rows: Iterable[_Row]) -> list[_Row]:
    distinct: dict[str, _Row] = {}
    for row in sorted(rows, key=lambda row: (-row[_METRIC], row["trial"])):
        distinct.setdefault(_setting(row), row)
    return list(distinct.values())


def _setting(row: _Row) -> str:
    """Return a trial's recipe apart from the seed, as a text to compare."""
    return json.dumps({**json.loads(row["recipe"]), "seed": None}, sort_keys=True)


def _settings(row: _Row) -> str:
    return describe_settings(json.loads(row["settings"]))


def _parts(recipe: Recipe) -> str:
    return f"{recipe.backbone.name} {recipe.aggregator.name} {recipe.loss.name}"


def _models(folder: Path, label: str, rows: Iterable[_Row], notes: list[str]) -> tuple[Model, ...]:
    """Return the trials' models; a checkpoint that is not intact is noted and left out."""
    models = []
    for row in rows:
        checkpoint = epoch_folder(folder / row["folder"], row["best_epoch"])
        try:
            models.append(_read_model(checkpoint, row[_METRIC]))
        except UserError as error:
            notes.append(f"{label}: left out the model of trial {row['trial']}: {error}")
    return tuple(models)


def _read_model(checkpoint: Path, val_recall: float | None = None) -> Model:
    history = read_metrics(checkpoint).get("history") or []
    if val_recall is None and history:
        val_recall = max(epoch.get(_METRIC, 0.0) for epoch in history)
    return Model(checkpoint, Recipe.from_file(checkpoint / RECIPE), val_recall)
