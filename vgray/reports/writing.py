"""The folder of a report: written whole or not at all, and read again."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from vgray.errors import UserError
from vgray.reports.markdown import render
from vgray.reports.results import FORMAT, Report
from vgray.reports.tables import write_tables

JSON, MARKDOWN, TABLES, QUERIES = "report.json", "report.md", "tables", "queries"
_NO_QUERIES: Mapping[str, pa.Table] = {}


def require_new(folder: str | Path) -> None:
    """Refuse a folder that exists, which may be another report.

    Raises:
        UserError: it exists.
    """
    if os.path.lexists(folder):
        raise UserError(f"{folder}: exists; choose another folder for the report, or move this one")


def queries_file(folder: str | Path, test: str) -> Path:
    """Return the Parquet file of a report's folder that has what was retrieved on a test set."""
    # The name of a test set may be part of a path.
    return Path(folder) / QUERIES / f"{quote(test, safe=' ', errors='surrogateescape')}.parquet"


def write_report(
    report: Report, folder: str | Path, queries: Mapping[str, pa.Table] = _NO_QUERIES
) -> Path:
    """Write ``report.json``, ``report.md``, ``tables/`` and ``queries/`` into a new folder.

    Args:
        report: what to write; its numbers are finite.
        folder: that does not exist; the ones above it are made.
        queries: for each test set, what each method retrieved for each query; see
            :func:`queries_file`.

    Returns:
        The folder.

    Raises:
        UserError: the folder exists, the disk is full, or it cannot be written there; nothing is
            left behind.
    """
    require_new(folder)
    folder = Path(folder).absolute()
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        (temporary / JSON).write_text(report.to_json(), encoding="utf-8")
        (temporary / MARKDOWN).write_text(render(report), encoding="utf-8")
        write_tables(report, temporary / TABLES)
        if queries:
            (temporary / QUERIES).mkdir()
        for test, table in queries.items():
            pq.write_table(
                table, queries_file(temporary, test), compression="zstd", write_page_checksum=True
            )
        for path in sorted(temporary.rglob("*"), reverse=True):
            _flush(path)
        _flush(temporary)
        temporary.rename(folder)
        _flush(folder.parent)
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written ({error.strerror or error}); make room, or "
            "choose another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_report(path: str | Path) -> Report:
    """Read a report from its folder or its ``report.json``.

    Raises:
        UserError: there is none, or it is damaged or of a later version.
    """
    path = Path(path)
    file = path / JSON if path.is_dir() else path
    try:
        values = json.loads(file.read_bytes())
        if values.pop("format") != FORMAT:
            raise UserError(
                f"{file}: is of another version of vgray; make the report again with jobs/report.py"
            )
        return TypeAdapter(Report).validate_python(values)
    except OSError as error:
        raise UserError(
            f"{file}: no report here ({error.strerror}); give a folder that jobs/report.py wrote"
        ) from None
    except (ValueError, ValidationError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: is damaged; make the report again with jobs/report.py") from None


def _flush(path: Path) -> None:
    """Make sure that a file, or a folder's names, survive a power cut, as far as possible."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
