"""The folder of a report: written whole or not at all, and read again."""

import json
import os
import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vgray.errors import UserError
from vgray.reports.markdown import render
from vgray.reports.results import FORMAT, Report
from vgray.reports.tables import write_tables

JSON, MARKDOWN, TABLES = "report.json", "report.md", "tables"


def require_new(folder: str | Path) -> None:
    """Refuse a folder that exists, which may be another report.

    Raises:
        UserError: it exists.
    """
    if os.path.lexists(folder):
        raise UserError(f"{folder}: exists; choose another folder for the report, or move this one")


def write_report(report: Report, folder: str | Path) -> Path:
    """Write ``report.json``, ``report.md`` and ``tables/`` into a new folder.

    Args:
        report: what to write; its numbers are finite.
        folder: that does not exist; the ones above it are made.

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
        for path in sorted(temporary.rglob("*"), reverse=True):
            _flush(path)
        _flush(temporary)
        temporary.rename(folder)
        _flush(folder.parent)
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written ({error.strerror}); make room, or choose "
            "another folder"
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
