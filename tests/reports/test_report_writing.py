"""The folder of a report: whole or not there, and read as it was written."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_report import made_report, renamed

from vgray.errors import UserError
from vgray.reports import writing
from vgray.reports.markdown import render
from vgray.reports.writing import queries_file, read_report, require_new, write_report


def test_what_was_written_is_read(tmp_path: Path) -> None:
    report = made_report()
    folder = write_report(report, tmp_path / "new" / "report")
    assert folder == tmp_path / "new" / "report"
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md", "tables"]
    assert len(list((folder / "tables").iterdir())) == 4
    assert read_report(folder) == read_report(folder / "report.json") == report
    assert (folder / "report.md").read_text("utf-8") == render(report)
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_what_was_retrieved_lies_beside_the_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {"method": ["A#3", "A#3"], "path": ["q.jpg", "r.jpg"], "rank": pa.array([1, None])}
    )
    names = ["sf-xs", "mine/night", "50%", "caf\udce9", "..", "a b"]
    queries = {name: table.slice(0, number % 3) for number, name in enumerate(names)}
    folder = write_report(made_report(), tmp_path / "report", queries)
    files = {queries_file(folder, name) for name in names}
    assert files == set((folder / "queries").iterdir())
    assert len(files) == 6
    assert {file.parent.name for file in files} == {"queries"}
    for name in names:
        assert pq.read_table(queries_file(folder, name)).equals(queries[name])
    assert queries_file("report", "sf-xs") == Path("report/queries/sf-xs.parquet")


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    report = replace(renamed(made_report(), "A#3", "caf\udce9"), search=None)
    folder = write_report(report, tmp_path / "report")
    assert read_report(folder) == report
    assert "caf" in (folder / "report.md").read_text("utf-8")


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_folder_that_exists_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "report"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"report: exists; choose another folder"):
        require_new(path)
    with pytest.raises(UserError, match="exists"):
        write_report(made_report(), path)
    assert [each.name for each in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("part", ["write_tables", "_flush", "render"])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, part, fail)
    with pytest.raises(
        UserError, match=r"cannot be written \(No space left on device\); make room"
    ):
        write_report(made_report(), tmp_path / "report")
    assert not list(tmp_path.iterdir())


def test_a_stop_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_tables", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(made_report(), tmp_path / "report")
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(made_report(), tmp_path / "file" / "report")


def test_a_folder_without_a_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.json: no report here \(No such file"):
        read_report(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "runs": 3}'])
def test_a_damaged_report_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        read_report(tmp_path)


def test_a_report_of_another_version_is_said(tmp_path: Path) -> None:
    values = made_report().to_dict() | {"format": 2}
    (tmp_path / "report.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="another version"):
        read_report(tmp_path)
