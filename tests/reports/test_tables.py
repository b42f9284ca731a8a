"""The tables: plain numbers, and names that no spreadsheet takes for formulas."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from made_report import AT, made_report, renamed

from vgray.reports.tables import write_tables


def read(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of each table by its name."""
    return {
        path.stem: list(csv.DictReader(path.open(newline="", encoding="utf-8")))
        for path in sorted(folder.iterdir())
    }


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, list[dict[str, str]]]:
    write_tables(made_report(), tmp_path / "tables")
    return read(tmp_path / "tables")


def test_recall_has_every_method_test_set_and_n(tables) -> None:
    assert list(tables) == ["differences", "ensembles", "published", "recall"]
    report, rows = made_report(), tables["recall"]
    assert len(rows) == len(report.methods) * len(report.tests) * len(AT) == 50
    row = next(
        row for row in rows if (row["method"], row["test"], row["n"]) == ("B#9 x3", "night", "1")
    )
    assert row == {
        "method": "B#9 x3", "kind": "single", "dimension": "256", "bytes_per_image": "512",
        "parameters": "11200000", "trainings": "3",
        "baseline": "no", "val_recall": "60.1", "test": "night", "split": "val",
        "chose_models": "yes", "trained_models": "no", "queries": "466",
        "without_positive": "0", "distance_m": "25",
        "n": "1", "recall": "51.5021", "low": "46.9708", "high": "56.0089", "std": "0.849",
    }  # fmt: skip
    assert {row["method"] for row in rows if row["baseline"] == "yes"} == {"A#0"}
    assert {row["std"] for row in rows if row["method"] == "A#3"} == {""}


def test_differences_are_those_to_the_baseline_and_to_the_best_member(tables) -> None:
    rows = tables["differences"]
    assert len(rows) == (4 + 2) * 2 * 2
    assert {(row["as"], row["than"]) for row in rows} == {
        ("baseline", "A#0"),
        ("best member", "A#3"),
    }
    of = {
        (row["as"], row["test"], row["n"]): row for row in rows if row["method"] == "found"
    }  # fmt: skip
    assert len(of) == 8
    row = of["baseline", "sf-xs", "1"]
    assert (row["points"], row["low"], row["high"]) == ("4.7", "1.5", "7.9")
    assert (row["recall"], row["than_recall"]) == ("24.8741", "20.141")
    assert (row["p_value"], row["corrected_p"]) == ("3.21e-05", "0.0001284")
    assert row["certain"] == "yes"
    member = of["best member", "sf-xs", "1"]
    assert (member["than_recall"], member["certain"]) == ("24.4713", "no")
    for unjudged in (of["baseline", "night", "1"], of["baseline", "sf-xs", "5"]):
        assert (unjudged["corrected_p"], unjudged["certain"]) == ("", "")


def test_ensembles_have_a_row_for_each_member(tables) -> None:
    columns = ("ensemble", "member", "weight", "member_val_recall")
    assert [tuple(row[column] for column in columns) for row in tables["ensembles"]] == [
        ("found", "A#3", "1", "61.25"), ("found", "B#1", "0.5", "58.5"),
        ("found, similarity", "A#3", "1", "61.25"), ("found, similarity", "B#1", "0.5", "58.5"),
    ]  # fmt: skip


def test_published_values_have_a_row_for_each_place(tables) -> None:
    assert [
        (row["method"], row["table"], row["row"], row["printed"], row["possible"], row["recall"])
        for row in tables["published"]
    ] == [
        ("A#0", "Table 1", "3", "25.1", "yes", "20.141"),
        ("A#0", "Table 3", "1", "25.1", "yes", "20.141"),
        ("A#3", "Table 3", "2", "24.23", "no", "24.4713"),
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1+2", "@SUM(A1)", '=HYPERLINK("x","y")', "\t=1"])
def test_no_name_is_a_formula(tmp_path: Path, name: str) -> None:
    report = renamed(made_report(), "A#3", name)
    write_tables(report, tmp_path / "tables")
    rows = read(tmp_path / "tables")["recall"]
    assert {row["method"] for row in rows} >= {"A#0", f"'{name.strip()}"}
    assert len(rows) == 50


def test_names_with_commas_quotes_and_lines_stay_one_cell(tmp_path: Path) -> None:
    report = renamed(made_report(), "A#3", 'a,"b"\nc;d')
    write_tables(report, tmp_path / "tables")
    text = (tmp_path / "tables" / "recall.csv").read_text("utf-8")
    assert len(text.splitlines()) == 51
    assert 'a,"b" c;d' in {row["method"] for row in read(tmp_path / "tables")["recall"]}


def test_a_report_without_ensembles_has_empty_tables(tmp_path: Path) -> None:
    report = made_report()
    write_tables(replace(report, methods=report.methods[:1]), tmp_path / "tables")
    tables = read(tmp_path / "tables")
    assert [len(tables[name]) for name in ("recall", "differences", "ensembles")] == [10, 0, 0]
    header = (tmp_path / "tables" / "ensembles.csv").read_text("utf-8")
    assert header == "ensemble,kind,dimension,val_recall,member,weight,member_val_recall\n"
