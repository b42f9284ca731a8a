"""Evaluation of made descriptors: recalls, comparisons, what may be compared, what is written."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval import evaluation_files as files
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation import compare, evaluate
from vgray.retrieval.evaluation_summary import Evaluated, query_table, summarise
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.retrieved import retrieve
from vgray.retrieval.slices import slice_queries

NUM_QUERIES, NUM_DATABASE = 40, 60
COLUMNS = {"test-queries": {"brightness": [20.0] * 15 + [120.0] * 25}}


def make(folder: Path, noise: float = 0.8, **more: object) -> Descriptors:
    """Write queries that are noisy copies of the database; the last 5 are far from all of it."""
    rng = np.random.default_rng(0)
    database = rng.normal(size=(NUM_DATABASE, 8))
    database_m = rng.uniform(0, 1000, (NUM_DATABASE, 2))
    queries_m = database_m[:NUM_QUERIES] + rng.normal(0, 8, (NUM_QUERIES, 2))
    queries_m[-5:] += 5000
    noises = np.random.default_rng(int(10 * noise)).normal(size=(NUM_QUERIES, 8))
    queries = database[:NUM_QUERIES] + noise * noises
    more = {"columns": COLUMNS, "shard_rows": 25, **more}
    return write_descriptors(
        folder,
        {"test-database": database, "test-queries": queries},
        {"test-database": database_m, "test-queries": queries_m},
        **more,
    )


def by_loop(descriptors: Descriptors, n: int, distance_m: float) -> list[bool]:
    """Return whether each query is hit, one at a time in float64."""
    images = {role: descriptors.images("test", role) for role in ("queries", "database")}
    at_m = {
        role: np.stack([table[name].to_numpy() for name in ("east_m", "north_m")], axis=1)
        for role, table in images.items()
    }
    database = descriptors.load("test", "database").astype(float)
    hits = []
    for query, position in zip(descriptors.load("test", "queries"), at_m["queries"], strict=True):
        order = np.argsort(((database - query) ** 2).sum(axis=1), kind="stable")[:n]
        away = np.linalg.norm(at_m["database"][order] - position, axis=1)
        hits.append(bool((away <= distance_m).any()))
    return hits


def test_recall_at_any_n_and_distance(tmp_path: Path) -> None:
    descriptors = make(tmp_path / "a")
    evaluation = evaluate(descriptors, "test")
    assert (evaluation.num_queries, evaluation.num_database) == (NUM_QUERIES, NUM_DATABASE)
    assert evaluation.ranking.num_without_positive(25) >= 5
    for n, distance_m in [(1, 5), (1, 25), (5, 25), (20, 100), (60, 25)]:
        expected = by_loop(descriptors, n, distance_m)
        found = evaluation.recall(n, distance_m)
        assert found.num_hits == sum(expected)
        assert found.recall == pytest.approx(100 * sum(expected) / NUM_QUERIES)
        assert (found.low, found.high) == wilson_interval(sum(expected), NUM_QUERIES)
    # Those without a positive stay in the denominator: it is never 100.
    assert evaluation.recall(60, 25).recall == pytest.approx(100 * 35 / 40)


def test_recall_of_some_of_the_queries(tmp_path: Path) -> None:
    descriptors = make(tmp_path / "a")
    evaluation = evaluate(descriptors, "test")
    night = np.arange(NUM_QUERIES) < 15
    found = evaluation.recall(1, 25, night)
    assert (found.num_hits, found.num_queries) == (sum(by_loop(descriptors, 1, 25)[:15]), 15)
    nobody = evaluation.recall(1, 25, np.zeros(NUM_QUERIES, dtype=bool))
    assert (nobody.num_queries, nobody.low, nobody.high) == (0, 0, 100)


def test_an_n_beyond_those_ranked_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(150, 4)), "test-queries": rng.normal(size=(2, 4))}
    at_m = {part: np.zeros((len(each), 2)) for part, each in parts.items()}
    descriptors = write_descriptors(tmp_path / "a", parts, at_m, shard_rows=150)
    assert evaluate(descriptors, "test", max_n=120).recall(120, 25).num_hits == 2
    with pytest.raises(ValueError, match="only 100 are ranked"):
        evaluate(descriptors, "test").recall(120, 25)


def test_comparison_is_paired_and_exact(tmp_path: Path) -> None:
    clear, blurred = make(tmp_path / "a", 0.5), make(tmp_path / "b", 2.0, model_hash="c" * 64)
    good, poor = evaluate(clear, "test"), evaluate(blurred, "test")
    found = compare(good, poor, 1, 25)
    hits = np.array([by_loop(clear, 1, 25), by_loop(blurred, 1, 25)])
    assert found.difference == pytest.approx(100 * (hits[0].mean() - hits[1].mean()))
    assert found.difference > 10 and found.is_certain
    assert found.low < found.difference < found.high
    same = compare(good, good, 1, 25)
    assert (same.difference, same.p_value, same.is_certain) == (0, 1, False)


def test_models_of_different_dimensions_are_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    at_m = {"test-database": np.zeros((6, 2)), "test-queries": np.zeros((4, 2))}
    found = [
        write_descriptors(
            tmp_path / str(dimension),
            {part: rng.normal(size=(len(each), dimension)) for part, each in at_m.items()},
            at_m,
        )
        for dimension in (4, 7)
    ]
    one, other = (evaluate(each, "test") for each in found)
    assert compare(one, other, 1, 25).difference == 0


def test_queries_without_numbers_are_not_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(9, 4)), "test-queries": rng.normal(size=(3, 4))}
    parts["test-queries"][1] = np.nan
    at_m = {part: np.zeros((len(each), 2)) for part, each in parts.items()}
    descriptors = write_descriptors(tmp_path / "a", parts, at_m)
    evaluation = evaluate(descriptors, "test")
    assert [path is None for path in evaluation.first_paths] == [False, True, False]
    found = evaluation.recall(1, 25)
    assert (found.num_hits, found.num_queries) == (2, 3)
    table = query_table([Evaluated("A", descriptors, 4, None, evaluation)], 25.0)
    assert table["first_path"].null_count == 1 and table["rank"].to_pylist() == [1, None, 1]
    retrieved = retrieve(descriptors, "test", 2)
    assert (retrieved.num_queries, retrieved.num_ranked, retrieved.num_without) == (3, 2, 1)
    assert retrieved.table.num_rows == 4


def test_an_empty_test_set_is_said(tmp_path: Path) -> None:
    at_m = {"test-database": np.zeros((3, 2)), "test-queries": np.zeros((0, 2))}
    parts = {part: np.ones((len(each), 4)) for part, each in at_m.items()}
    descriptors = write_descriptors(tmp_path / "a", parts, at_m)
    with pytest.raises(UserError, match="test split has no queries"):
        evaluate(descriptors, "test")


def test_images_without_positions_have_no_recall(tmp_path: Path) -> None:
    at_m = {"test-database": np.zeros((3, 2)), "test-queries": np.full((2, 2), np.nan)}
    parts = {part: np.ones((len(each), 4)) for part, each in at_m.items()}
    descriptors = write_descriptors(tmp_path / "a", parts, at_m, labelled=False)
    with pytest.raises(UserError, match=r"2 of 2 queries .* no position.*--no-labels"):
        evaluate(descriptors, "test")
    assert retrieve(descriptors, "test", 2).table.num_rows == 4


def summary_of(tmp_path: Path) -> tuple[dict, list[Evaluated], list]:
    models = [
        Evaluated(each.folder.name, each, 8, None, evaluate(each, "test"))
        for each in (make(tmp_path / "A", 0.5), make(tmp_path / "B", 2.0, model_hash="c" * 64))
    ]
    slicings = [slice_queries(models[0].evaluation.queries, "brightness", night_below=50)]
    summary = summarise(
        models, "test", recall_at=[1, 5], distance_m=25.0, slicings=slicings, command=["evaluate"]
    )
    return summary, models, slicings


def test_the_summary_says_everything(tmp_path: Path) -> None:
    summary, models, _ = summary_of(tmp_path)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["data"]["num_queries"] == NUM_QUERIES
    assert summary["data"]["num_without_positive"] >= 5
    for each, model in zip(summary["models"], models, strict=True):
        descriptors = model.descriptors
        assert each["model_hash"] == descriptors.description.model_hash
        for recall, n in zip(each["recall"], (1, 5), strict=True):
            assert recall["num_hits"] == sum(by_loop(descriptors, n, 25))
            assert len(each["curve"]["recall"][str(n)]) == 100
            assert each["curve"]["recall"][str(n)][24] == pytest.approx(recall["recall"])
        night, day = each["slices"]
        assert (night["slice"], day["slice"]) == ("night", "day")
        assert (night["num_queries"], day["num_queries"]) == (15, 25)
        for row in (0, 1):
            parts = [part["recall"][row]["num_hits"] for part in (night, day)]
            assert sum(parts) == each["recall"][row]["num_hits"]
    assert [(each["model"], each["than"], each["n"]) for each in summary["comparisons"]] == [
        ("B", "A", 1), ("B", "A", 5),
    ]  # fmt: skip
    assert summary["comparisons"][0]["points"] < 0


def test_the_table_has_a_row_for_each_model_and_query(tmp_path: Path) -> None:
    _, models, slicings = summary_of(tmp_path)
    table = query_table(models, 25.0, slicings)
    assert table["model"].to_pylist() == ["A"] * NUM_QUERIES + ["B"] * NUM_QUERIES
    ranks = table["rank"].to_pylist()
    for model, rows in (("A", ranks[:NUM_QUERIES]), ("B", ranks[NUM_QUERIES:])):
        descriptors = next(each.descriptors for each in models if each.name == model)
        for n in (1, 5, 20):
            hits = [rank is not None and rank <= n for rank in rows]
            assert hits == by_loop(descriptors, n, 25)
    assert table["slice_brightness"].to_pylist()[:15] == ["night"] * 15
    assert all(
        (m <= 25) == (r == 1) for m, r in zip(table["first_m"].to_pylist(), ranks, strict=True)
    )
    nearest = np.array(table["nearest_m"])
    assert (nearest[[*range(35, 40)]] > 3000).all() and (nearest[:35] < 40).all()


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    summary, models, slicings = summary_of(tmp_path)
    tables = {files.QUERIES: query_table(models, 25.0, slicings)}
    out = tmp_path / "out"
    files.write_files(out, summary, tables)
    files.require_writable(out)
    assert json.loads((out / files.RECALL).read_text()) == summary
    assert pq.read_table(out / files.QUERIES).num_rows == 2 * NUM_QUERIES

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match="No space left on device"):
        files.write_files(out, {**summary, "format": 2}, tables)
    assert json.loads((out / files.RECALL).read_text()) == summary
    with pytest.raises(UserError, match="No space left"):
        files.write_files(tmp_path / "new", summary, tables)
    assert not (tmp_path / "new").exists() and len(list(out.iterdir())) == 2


def test_a_summary_is_of_the_tables_beside_it_whenever_it_ends(tmp_path: Path, monkeypatch) -> None:
    summary, models, slicings = summary_of(tmp_path)
    tables = {files.QUERIES: query_table(models, 25.0, slicings)}
    out = tmp_path / "out"
    files.write_files(out, {**summary, "format": 0}, {})
    states, rename = [], Path.rename

    def seen(path: Path, new: Path) -> Path:
        states.append({each.name for each in out.iterdir() if each.name[0] != "."})
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", seen)
    files.write_files(out, summary, tables)
    assert states == [set(), {files.QUERIES}]
    # What a killed process left does not stay, nor keep the folder from being written.
    (out / ".tmp-99-recall.json").write_text("{")
    files.require_writable(out)
    files.write_files(out, summary, tables)
    assert {each.name for each in out.iterdir()} == {files.RECALL, files.QUERIES}


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"holds something else .* thesis.tex"):
        files.require_writable(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        files.require_writable(tmp_path / "thesis.tex")
