"""A trial of a run, to be trained again: what it was, and whether it came out the same."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vgray.errors import UserError, nearest_name
from vgray.recipe import Recipe

_COMPARED = ("recall@1", "loss")


@dataclass(frozen=True)
class Trial:
    """A trial as its run's folder has it."""

    name: str
    """The run's folder and the trial's number: ``runs/NAME#3``."""
    recipe: Recipe
    data: tuple[str, ...]
    val: str | None
    fingerprint: str
    """Of the data when the run began."""
    threads: int | None
    """That it was trained with; None if its run did not note it."""
    epochs: tuple[dict[str, Any], ...]
    """``epoch``, ``recall@1`` and ``loss`` of each."""

    def require_same_data(self, fingerprint: str) -> None:
        """Refuse other data than the trial's.

        Raises:
            UserError: it has changed.
        """
        if fingerprint != self.fingerprint:
            raise UserError(
                f"--trial {self.name}: the data in {', '.join(self.data)} has changed since the "
                "run began; restore it, or train the recipe on it: --recipe FILE --data DATA"
            )


def read_trial(name: str) -> Trial:
    """Read a trial from its run's folder.

    Args:
        name: folder and number, such as ``runs/NAME#3``.

    Raises:
        UserError: there is no such run or trial, or it has not begun.
    """
    folder_text, _, number = name.rpartition("#")
    if not (folder_text and number.isdecimal()):
        raise UserError(
            f"--trial {name}: expected a run's folder and the number of a trial, as in runs/NAME#3"
        )
    folder = Path(folder_text).expanduser()
    run = read_run(folder, f"--trial {name}")
    rows = table_rows(folder / "trials.parquet")
    row = next((row for row in rows if row["trial"] == int(number)), None)
    if row is None:
        numbers = [row["trial"] for row in rows]
        there = f"it has trials {min(numbers)} to {max(numbers)}" if rows else "it has no trials"
        raise UserError(f"--trial {name}: no such trial in the run; {there}")
    recipe = json.loads(row["recipe"] or "null")
    if recipe is None:
        raise UserError(f"--trial {name}: has not begun, so it has no recipe; give another")
    epochs = table_rows(folder / "epochs.parquet", int(number))
    threads = [epoch["threads"] for epoch in epochs if epoch.get("threads")]
    data = run["options"]["data"]
    return Trial(
        name=f"{folder}#{number}",
        recipe=Recipe.from_dict(recipe),
        data=(data,) if isinstance(data, str) else tuple(data),  # earlier runs have one
        val=run["options"].get("val"),
        fingerprint=run["data"]["fingerprint"],
        threads=int(threads[-1]) if threads else None,
        epochs=tuple({key: epoch[key] for key in ("epoch", *_COMPARED)} for epoch in epochs),
    )


def compare(trial: Trial, history: Sequence[Mapping[str, Any]]) -> str:
    """Say in one line whether a training of the trial's recipe came to the trial's numbers.

    Args:
        trial: what was trained again.
        history: the metrics of each epoch of the new training, the first first.
    """
    run, _, number = trial.name.rpartition("#")
    what = f"trial {number} of {Path(run).name}"
    if not trial.epochs:
        return f"{what} has no epoch to compare with"
    best = max(trial.epochs, key=lambda epoch: epoch["recall@1"])
    again = {epoch["epoch"]: epoch for epoch in history}
    text = f"{what} had recall@1 {best['recall@1']:.1f} at its best epoch ({best['epoch']}); "
    if best["epoch"] not in again:
        return text + "this training did not get there"
    text += f"this training {again[best['epoch']]['recall@1']:.1f}: "
    for epoch in trial.epochs:
        other = again.get(epoch["epoch"], {})
        for key in _COMPARED:
            if not math.isclose(other.get(key, math.nan), epoch[key], rel_tol=1e-12):
                return f"{text}not the same from epoch {epoch['epoch']} on ({key})"
    return f"{text}the same"


def read_run(folder: Path, asked: str) -> dict[str, Any]:
    """Return what a run's ``recipe.json`` says.

    Args:
        folder: of the run.
        asked: the option with its value, for the message of a mistake.

    Raises:
        UserError: the folder is no run, or its file is damaged.
    """
    try:
        run: dict[str, Any] = json.loads((folder / "recipe.json").read_bytes())
        _ = run["options"]["data"], run["data"]["fingerprint"]
    except OSError:
        there = sorted(path.parent.name for path in folder.parent.glob("*/recipe.json"))
        known = f"runs there: {', '.join(there)}" if there else f"no runs in {folder.parent}"
        raise UserError(
            f"{asked}: {folder} is no run{nearest_name(folder.name, there)}; {known}"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{asked}: {folder / 'recipe.json'} is damaged") from None
    return run


def table_rows(path: Path, trial: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table of the run, or those of a trial; none if there is no table.

    Raises:
        UserError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        raise UserError(
            f"{path}: is damaged; give jobs/tune.py --resume {path.resolve().parent.name}, which "
            "writes it anew"
        ) from None
    if trial is not None:
        table = table.filter(pc.equal(table["trial"], trial))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
