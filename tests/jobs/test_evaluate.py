"""jobs/evaluate.py from the command line, on made descriptors."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner
from written_descriptors import write_descriptors

from vgray.console import spread_values

JOB = Path(__file__).parents[2] / "jobs" / "evaluate.py"
NUM_QUERIES, NUM_DATABASE = 60, 90


def make(
    folder: Path, noise: float, *, model: str = "a", train: bool = True, **more: object
) -> Path:
    """Write queries that are noisy copies of the database, the last three far from all of it."""
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(NUM_DATABASE, 12))}
    noises = np.random.default_rng(ord(model)).normal(size=(NUM_QUERIES, 12))
    parts["test-queries"] = parts["test-database"][:NUM_QUERIES] + noise * noises
    at_m = {"test-database": rng.uniform(0, 2000, (NUM_DATABASE, 2))}
    at_m["test-queries"] = at_m["test-database"][:NUM_QUERIES] + rng.normal(0, 6, (NUM_QUERIES, 2))
    at_m["test-queries"][-3:] += 5000
    if train:
        parts["train-train"] = rng.normal(size=(50, 12))
        at_m["train-train"] = np.zeros((50, 2))
    columns = {
        "test-queries": {
            "brightness": [20.0 + row % 7 for row in range(20)]
            + [120.0 + row for row in range(40)],
            "taken_at": [f"20{10 + row % 3}-05" for row in range(NUM_QUERIES)],
        }
    }
    more = {"columns": columns, "shard_rows": 40, "model_hash": model * 64, **more}
    write_descriptors(folder, parts, at_m, **more)
    return folder


@pytest.fixture
def clear(tmp_path: Path) -> Path:
    return make(tmp_path / "clear", 0.5)


@pytest.fixture
def blurred(tmp_path: Path) -> Path:
    return make(tmp_path / "blurred", 2.0, model="b", train=False)


def call(*arguments: object) -> tuple[int, str, str]:
    """Run the job in this process; return its exit status, stdout and stderr."""
    job = runpy.run_path(str(JOB))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(job["evaluate"])
    words = [str(each) for each in arguments]
    with patch.object(sys, "argv", ["jobs/evaluate.py", *words]):
        done = CliRunner().invoke(app, spread_values(words, job["SEVERAL"]))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def evaluated(*arguments: object) -> str:
    status, said, mistakes = call("--descriptors", *arguments)
    assert (status, mistakes) == (0, "")
    return said


def refused(*arguments: object) -> str:
    """Return the one line in which a mistake is said."""
    status, said, mistakes = call("--descriptors", *arguments)
    assert (status, said) == (2, "")
    (line,) = mistakes.strip().splitlines()
    return line


@pytest.mark.slow
def test_as_a_person_runs_it(clear: Path, blurred: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(JOB), "--descriptors", str(clear), str(blurred)]
    command += ["--slice", "brightness", "year", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith(f"city, split test: {NUM_DATABASE} database images, {NUM_QUERIES} q")
    assert "3 without a positive" in first
    assert "within 25 m" in second and "224x224, queries by resize, float32" in second
    assert "night: mean brightness below" in done.stdout
    assert re.search(r"recall@1: blurred is .* points below clear \[.*\], p < 0.001", done.stdout)
    assert f"wrote {tmp_path / 'out'}" in done.stdout
    summary = json.loads((tmp_path / "out" / "recall.json").read_text())
    assert summary["command"] == command[1:]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_says_what_the_file_says(
    clear: Path, blurred: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    said = evaluated(clear, blurred, "--slice", "brightness", "--recall-at", "1,5")
    summary = json.loads((clear / "recall-with-blurred" / "recall.json").read_text())
    words = " ".join(said.split())
    checked = 0
    for model in summary["models"]:
        parts = [each["recall"][:1] for each in model["slices"]]
        for recall in [*model["recall"], *(each for part in parts for each in part)]:
            text = f"{recall['recall']:.1f} [{recall['low']:.1f}, {recall['high']:.1f}]"
            numbers = {f"{recall['recall']:.1f}", text.partition(" ")[2]}
            assert all(number in words for number in numbers), text
            checked += 1
        curve = model["curve"]["recall"]["1"]
        row = " ".join(f"{curve[distance_m - 1]:.1f}" for distance_m in (5, 10, 25, 50, 100))
        assert f"{model['name']} {row}" in words
    assert checked == 2 * (2 + 2)
    assert max(map(len, said.splitlines()[3:10])) <= width


def test_json_is_the_file(clear: Path) -> None:
    said = evaluated(clear, "--json")
    assert json.loads(said) == json.loads((clear / "recall" / "recall.json").read_text())


def test_a_row_for_each_query(clear: Path) -> None:
    evaluated(clear, "--distance", 10, "--recall-at", "1,3")
    table = pq.read_table(clear / "recall-10m" / "queries.parquet")
    summary = json.loads((clear / "recall-10m" / "recall.json").read_text())
    assert table.num_rows == NUM_QUERIES and summary["distance_m"] == 10
    ranks = table["rank"].to_pylist()
    for recall in summary["models"][0]["recall"]:
        hits = sum(rank is not None and rank <= recall["n"] for rank in ranks)
        assert recall["num_hits"] == hits > 0


def test_again_replaces_it_whole(clear: Path) -> None:
    evaluated(clear)
    evaluated(clear, "--recall-at", "7")
    summary = json.loads((clear / "recall" / "recall.json").read_text())
    assert [each["n"] for each in summary["models"][0]["recall"]] == [7]
    assert sorted(each.name for each in (clear / "recall").iterdir()) == [
        "queries.parquet", "recall.json",
    ]  # fmt: skip
    assert not list(clear.glob(".*"))


def test_the_next_command_asks_more_of_the_same(clear: Path) -> None:
    options = ["--slice", "brightness", "--recall-at", 3, "--distance", 10, "--pca", 4]
    last = evaluated(clear, *options).splitlines()[-1]
    words = shlex.split(last.removeprefix("next: "))
    assert words[:3] == ["python", "jobs/evaluate.py", "--descriptors"]
    file = clear / "recall-pca4-10m" / "recall.json"
    before = json.loads(file.read_text())
    assert "the year in which" in evaluated(*words[3:])
    after = json.loads(file.read_text())
    assert [each["by"] for each in after["slicings"]] == ["brightness", "year"]
    for summary in (before, after):
        (model,) = summary["models"]
        assert model["recall"] == before["models"][0]["recall"] and model["pca"] is not None
    assert not (clear / "recall").exists()


def test_pca_of_the_training_split(clear: Path, blurred: Path, tmp_path: Path) -> None:
    said = evaluated(clear, "--pca", 4, "--whiten")
    assert "clear (4-d)" in said and "PCA with whitening of 50 city training images" in said
    summary = json.loads((clear / "recall-pca4-whitened" / "recall.json").read_text())
    assert summary["models"][0]["pca"] == {
        "whiten": True, "fitted_on": str(clear), "data": "city", "num_images": 50,
    }  # fmt: skip
    # Known before the first is searched.
    with patch("vgray.retrieval.split_search.nearest_in_blocks", side_effect=AssertionError):
        line = refused(clear, blurred, "--pca", 4)
    assert "no training images" in line
    assert (
        f"--split train --train-images 16384 --query-method resize --dtype float32 --out {blurred}"
        in line
    )
    assert "none of the folders is of the model" in refused(
        blurred, "--pca", 4, "--pca-from", clear
    )
    elsewhere = make(tmp_path / "elsewhere", 1.0, model="b", fingerprint="e" * 64)
    assert "blurred (4-d)" in evaluated(blurred, "--pca", 4, "--pca-from", clear, elsewhere)


def test_without_positions_it_only_retrieves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(5, 4)), "test-queries": rng.normal(size=(3, 4))}
    at_m = {part: np.full((len(each), 2), np.nan) for part, each in parts.items()}
    folder = tmp_path / "unlabelled"
    write_descriptors(folder, parts, at_m, labelled=False)
    assert "no position" in refused(folder) and not (folder / "recall").exists()
    said = evaluated(folder, "--no-labels", "--recall-at", "2")
    first, _, titles, *rows, _, wrote, more = said.splitlines()
    assert first == "split test: 2 images retrieved for each of 3 queries"
    assert titles.split() == ["query", "nearest", "similarity"] and len(rows) == 3
    assert wrote == f"wrote {folder / 'retrieved' / 'ranked.parquet'}"
    words = shlex.split(more.removeprefix("next: "))
    assert "5 images retrieved for each of 3" in evaluated(*words[3:])
    evaluated(folder, "--no-labels", "--recall-at", "2")
    table = pq.read_table(folder / "retrieved" / "ranked.parquet")
    assert table.column_names == ["model", "query", "rank", "path", "similarity"]
    unit = {part: x / np.linalg.norm(x, axis=1, keepdims=True) for part, x in parts.items()}
    best = (unit["test-queries"] @ unit["test-database"].T).argmax(axis=1)
    first = [row for row in table.to_pylist() if row["rank"] == 1]
    assert [row["path"] for row in first] == [f"/city/test/database/{row:05d}.jpg" for row in best]


def test_two_zones_are_no_matter_without_positions(tmp_path: Path) -> None:
    columns = {"test-queries": {"utm_zone": ["10N", "11N"] * (NUM_QUERIES // 2)}}
    folder = make(tmp_path / "zones", 0.5, columns=columns)
    assert "2 UTM zones" in refused(folder)
    said = evaluated(folder, "--no-labels")
    assert "25 images retrieved for each of 60" in said
    assert said.splitlines()[-1] == f"next: python jobs/evaluate.py --descriptors {folder}"


def test_a_model_without_numbers_finds_nothing(tmp_path: Path) -> None:
    parts = {"test-database": np.ones((5, 4)), "test-queries": np.full((3, 4), np.nan)}
    folder = tmp_path / "nan"
    write_descriptors(folder, parts, {part: np.zeros((len(x), 2)) for part, x in parts.items()})
    assert "@1             0.0 [0.0, 56.1]" in evaluated(folder)
    said = evaluated(folder, "--no-labels")
    assert "5 images retrieved for each of 3 queries" in said
    assert "nan has no numbers for 3 of the queries" in said


def test_folders_by_home_and_here(
    clear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    evaluated("~/clear", "--out", ".")
    assert {each.name for each in here.iterdir()} == {"recall.json", "queries.parquet"}
    evaluated("~/clear", "--out", "~/there")
    assert (tmp_path / "there" / "recall.json").is_file()
    call("--descriptors=~/clear")
    assert (clear / "recall" / "recall.json").is_file() and not (here / "~").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "val"], "--split val: expected a database and queries of split val"),
        (["--recall-at", "five"], "--recall-at five: expected whole numbers"),
        (["--slice", "brightnes"], "--slice brightnes: there is no such column, did you mean"),
        (["--slice", "year", "year"], "--slice year: given twice"),
        (["--distance", "inf"], "--distance inf: expected metres above 0, at most 100,000"),
        (["--crops", "mean"], "--crops mean: the queries were not described in crops"),
        (["--night-below", 30], "--night-below: only divides --slice brightness"),
        (["--whiten"], "--whiten and --pca-from: say to how many dimensions"),
        (["--pca", 40], "PCA to 40 dimensions: "),
        (["--no-labels", "--slice", "year"], "--no-labels: no recall; leave out"),
        (["--out", JOB], "is a file; choose another folder"),
        (["--out", JOB.parent], "holds something else than an evaluation"),
    ],
)
def test_mistakes_are_one_line(clear: Path, options: list[object], message: str) -> None:
    assert message in refused(clear, *options)
    assert not list(clear.glob("recall*"))


def test_folders_that_cannot_be_scored_are_one_line(clear: Path, tmp_path: Path) -> None:
    assert "no descriptors here" in refused(tmp_path / "nothing")
    assert "given twice" in refused(clear, clear)
    moved = {"test-queries": {"size_bytes": [7] * NUM_QUERIES}}
    other = make(tmp_path / "other", 0.5, fingerprint="c" * 64, data="/data/other", columns=moved)
    assert "their data sets are city (bbbbbbbb) and /data/other (cccc" in refused(clear, other)
    none = {"test-database": np.ones((3, 4)), "test-queries": np.ones((0, 4))}
    at_m = {part: np.zeros((len(each), 2)) for part, each in none.items()}
    write_descriptors(tmp_path / "empty", none, at_m)
    assert "has no queries" in refused(tmp_path / "empty")
    shard = next(clear.glob("test-database-00001*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    assert f"{shard.name}: is damaged; delete this file" in refused(clear)
    assert not (clear / "recall").exists()
