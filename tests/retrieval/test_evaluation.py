"""Evaluation of made descriptors: recalls, comparisons, what may be compared, what is written."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval import evaluation_files as files
from vgray.retrieval.descriptors import Descriptors, shards, write_table
from vgray.retrieval.evaluation import compare, evaluate, require_same_images
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.retrieved import retrieved
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
    described = dict(zip("ab", found, strict=True))
    require_same_images(described, "test")
    one, other = (evaluate(each, "test") for each in found)
    assert compare(one, other, 1, 25).difference == 0


def test_different_datasets_are_refused(tmp_path: Path) -> None:
    described = {
        "A": make(tmp_path / "a"),
        "B": make(tmp_path / "b", fingerprint="c" * 64, data="/data/other"),
    }
    with pytest.raises(UserError, match=r"different datasets: A is of city and B of /data/other"):
        require_same_images(described, "test")


def test_where_the_data_lay_does_not_matter(tmp_path: Path) -> None:
    elsewhere = [f"/mnt/city/test/queries/{row:05d}.jpg" for row in range(NUM_QUERIES)]
    columns = {"test-queries": {**COLUMNS["test-queries"], "path": elsewhere}}
    described = {"A": make(tmp_path / "a"), "B": make(tmp_path / "b", columns=columns)}
    for each, row in (("A", 3), ("B", 3)):
        skip(described[each], row)
    require_same_images(described, "test")


def skip(descriptors: Descriptors, row: int) -> None:
    """Write a folder's queries again as if one could not have been read."""
    description = descriptors.description
    path = descriptors.images("test", "queries")["path"][row].as_py()
    found = descriptors.load("test", "queries")
    images = descriptors.images("test", "queries")
    for shard in shards(descriptors.folder, "test-queries", NUM_QUERIES, description.shard_rows):
        kept = [index for index in range(shard.start, shard.stop) if index != row]
        gone = [(path, "broken")] if len(kept) < shard.stop - shard.start else []
        write_table(shard, description, images.take(kept), found[kept], gone, shard.file)


def test_an_image_that_only_one_model_has_is_named(tmp_path: Path) -> None:
    described = {"A": make(tmp_path / "a"), "B": make(tmp_path / "b")}
    skip(described["B"], 7)
    with pytest.raises(UserError, match=r"B lacks 1 of the test-queries images that A has.*00007"):
        require_same_images(described, "test")
    with pytest.raises(UserError, match="B lacks 1 of"):
        require_same_images(dict(reversed(described.items())), "test")
    # Both without the same image are comparable again.
    skip(described["A"], 7)
    require_same_images(described, "test")
    skipped = files.Evaluated("A", described["A"], 8, None, evaluate(described["A"], "test"))
    data = files.summarise([skipped], "test", recall_at=[1], distance_m=25)["data"]
    assert (data["num_queries"], data["num_skipped"]) == (NUM_QUERIES - 1, 1)


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
    assert retrieved(descriptors, "test", 2).num_rows == 4


@pytest.mark.parametrize("crops", ["mean", "nearest_crop", "maj_voting"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_retrieved_images_have_their_similarity(tmp_path: Path, crops: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(9, 6)), "test-queries": rng.normal(size=(4, 5, 6))}
    if crops == "mean":
        parts["test-queries"] = parts["test-queries"][:, 0]
    at_m = {part: np.zeros((len(each), 2)) for part, each in parts.items()}
    descriptors = write_descriptors(tmp_path / "a", parts, at_m, dtype=dtype)
    table = retrieved(descriptors, "test", 3, crops=crops)
    assert table["rank"].to_pylist() == [1, 2, 3] * 4
    row_of = {
        role: {
            path: row
            for row, path in enumerate(descriptors.images("test", role)["path"].to_pylist())
        }
        for role in ("queries", "database")
    }
    unit = {
        part: each / np.linalg.norm(each, axis=-1, keepdims=True) for part, each in parts.items()
    }
    for line in table.to_pylist():
        query = unit["test-queries"][row_of["queries"][line["query"]]].reshape(-1, 6)
        image = unit["test-database"][row_of["database"][line["path"]]]
        assert line["similarity"] == pytest.approx((query @ image).max(), abs=2e-3)
    if crops != "maj_voting":
        similarity = np.array(table["similarity"].to_pylist()).reshape(4, 3)
        assert (np.diff(similarity, axis=1) <= 1e-3).all()


def summary_of(tmp_path: Path) -> tuple[dict, list[files.Evaluated], list]:
    models = [
        files.Evaluated(each.folder.name, each, 8, None, evaluate(each, "test"))
        for each in (make(tmp_path / "A", 0.5), make(tmp_path / "B", 2.0, model_hash="c" * 64))
    ]
    slicings = [slice_queries(models[0].evaluation.queries, "brightness", night_below=50)]
    summary = files.summarise(
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
    table = files.query_table(models, 25.0, slicings)
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
    tables = {files.QUERIES: files.query_table(models, 25.0, slicings)}
    out = tmp_path / "out"
    files.write_files(out, summary, tables)
    files.require_writable(out)
    assert json.loads((out / files.RECALL).read_text()) == summary
    assert pq.read_table(out / files.QUERIES).num_rows == 2 * NUM_QUERIES

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"No space left on device.*nothing was changed"):
        files.write_files(out, {**summary, "format": 2}, tables)
    assert json.loads((out / files.RECALL).read_text()) == summary
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".evaluation")] == []


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"holds something else .* thesis.tex"):
        files.require_writable(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        files.require_writable(tmp_path / "thesis.tex")
