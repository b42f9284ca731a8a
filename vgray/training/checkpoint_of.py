"""The checkpoint that a person means: one by itself, the best of a run, or that of a trial."""

from pathlib import Path

from vgray.errors import UserError, nearest_name
from vgray.models.checkpoint import METRICS
from vgray.training.checkpoints import best_checkpoint, epoch_folder
from vgray.training.run_folder import RUN
from vgray.training.trials import read_run, table_rows


def find_checkpoint(text: str) -> Path:
    """Return the folder of the checkpoint that ``text`` names; whether it is intact is not checked.

    Args:
        text: a checkpoint's folder; a run's or a training's, for its best; or ``runs/NAME#3``, for
            the best epoch of that trial.

    Raises:
        UserError: there is none; says what is there.
    """
    folder = Path(text).expanduser()
    run, _, number = text.rpartition("#")
    if run and number.isdecimal() and not folder.exists():
        return _trial_checkpoint(Path(run).expanduser(), int(number), text)
    if folder.is_file():
        raise UserError(
            f"model {text}: found a file, expected a checkpoint's folder; of an official model's "
            "file jobs/prepare.py import-weights makes one"
        )
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.glob("*/"))
        raise UserError(
            f"model {text}: no such folder{nearest_name(folder.name, there)}; give a checkpoint, a "
            "run, or a trial of it as in runs/NAME#3"
        )
    if (folder / METRICS).is_file():
        return folder
    if (folder / RUN).is_file():
        return best_checkpoint(folder)
    if (folder / "best").is_dir():
        return folder / "best"
    if (folder / "trials.parquet").is_file():
        raise UserError(
            f"model {text}: this run has no finished trial, so no best model ("
            f"{_statuses(table_rows(folder / 'trials.parquet'))}); go on with it: jobs/tune.py "
            f"--resume {folder.name}"
        )
    raise UserError(
        f"model {text}: holds neither a checkpoint ({METRICS} is missing) nor a run; give a "
        "checkpoint, a run, or a trial of it as in runs/NAME#3"
    )


def _trial_checkpoint(folder: Path, number: int, text: str) -> Path:
    read_run(folder, f"model {text}")
    rows = {row["trial"]: row for row in table_rows(folder / "trials.parquet")}
    row = rows.get(number)
    if row is None:
        there = f"it has trials {min(rows)} to {max(rows)}" if rows else "it has no trials"
        raise UserError(f"model {text}: no such trial in the run; {there}")
    if row["best_epoch"] is None:
        others = [str(trial) for trial, other in rows.items() if other["best_epoch"] is not None]
        raise UserError(
            f"model {text}: the trial ({row['status']}) has no finished epoch, so no model; "
            + (f"those that have one: {', '.join(others)}" if others else "nor has another one")
        )
    checkpoint = epoch_folder(folder / row["folder"], row["best_epoch"])
    if not checkpoint.is_dir():
        raise UserError(
            f"model {text}: its checkpoint {checkpoint} is gone; train it again: jobs/train.py "
            f"--trial '{text}'"
        )
    return checkpoint


def _statuses(rows: list[dict[str, str]]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "none has begun"
