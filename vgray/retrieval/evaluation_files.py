"""An evaluation on disk: a folder with ``recall.json`` and ``queries.parquet``.

Where images have no positions there is ``ranked.parquet`` alone.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vgray.errors import UserError
from vgray.retrieval.writable import flush

RECALL, QUERIES, RANKED = "recall.json", "queries.parquet", "ranked.parquet"
_TEMPORARY = ".tmp-"
"""Begins the names of files that are not complete."""


def require_writable(folder: Path) -> None:
    """Refuse a folder that something else than an evaluation is in, or that cannot be made.

    Raises:
        UserError: it is not new, empty or an earlier evaluation's.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is a file; choose another folder")
    names = sorted(each.name for each in folder.iterdir()) if folder.exists() else []
    others = [
        name
        for name in names
        if name not in (RECALL, QUERIES, RANKED) and not name.startswith(_TEMPORARY)
    ]
    if others:
        raise UserError(
            f"--out {folder}: holds something else than an evaluation, such as {others[0]}; choose "
            "a new folder"
        )
    above = folder
    while not above.exists():
        above = above.parent
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise UserError(f"--out {folder}: {above} cannot be written to; choose another folder")


def write_files(
    folder: Path, summary: Mapping[str, Any] | None, tables: Mapping[str, pa.Table]
) -> None:
    """Write an evaluation's folder; an earlier one there is replaced.

    All files are on disk under other names before the first of an earlier evaluation goes, and
    ``recall.json`` goes first and comes last: where it is, what it says is of the tables beside it,
    whatever ends the process.

    Args:
        folder: where; an absolute path.
        summary: what ``recall.json`` is to say; no such file if it is None.
        tables: file name -> rows.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    is_new = not folder.exists()
    temporary = {name: folder / f"{_TEMPORARY}{os.getpid()}-{name}" for name in (RECALL, *tables)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_temporary(folder)
        for name, table in tables.items():
            pq.write_table(table, temporary[name], compression="zstd")
        if summary is not None:
            text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
            temporary[RECALL].write_text(text, "utf-8")
        written = [*tables, *([] if summary is None else [RECALL])]
        for name in written:
            flush(temporary[name])
        for name in (RECALL, QUERIES, RANKED):
            (folder / name).unlink(missing_ok=True)
        for name in written:
            temporary[name].rename(folder / name)
        flush(folder)
    except OSError as error:
        with suppress(OSError):
            _remove_temporary(folder)
            if is_new:
                folder.rmdir()
        raise UserError(
            f"--out {folder}: cannot be written ({error.strerror or error}); make room or choose "
            "another folder"
        ) from None


def _remove_temporary(folder: Path) -> None:
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        leftover.unlink()
