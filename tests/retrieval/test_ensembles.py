"""Ensembles as sources: against matrices of all similarities."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval import ensembles, nearest
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.ensembles import AveragedSimilarity, Concatenated
from vgray.retrieval.pca import Projected, fit_pca
from vgray.retrieval.shards import write_table

NUMBERS = {"train-train": 40, "val-database": 23, "val-queries": 7}


@pytest.fixture
def made(tmp_path) -> Callable[..., Descriptors]:
    """Write a model's descriptors of the same images as all others'."""

    def make(seed: int, dimension: int, *, centre: float = 0.0, **more) -> Descriptors:
        rng = np.random.default_rng(seed)
        parts = {
            part: rng.normal(size=(number, dimension)) + centre for part, number in NUMBERS.items()
        }
        where = {part: np.arange(2.0 * number).reshape(-1, 2) for part, number in NUMBERS.items()}
        folder = tmp_path / "-".join(map(str, [seed, dimension, centre, *more.values()]))
        return write_descriptors(folder, parts, where, **more)

    return make


def similarities(source) -> np.ndarray:
    """Return all cosine similarities (Q, N) of the validation split, in float64."""
    queries, database = (
        source.load("val", role).astype(np.float64) for role in ("queries", "database")
    )
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    database /= np.linalg.norm(database, axis=1, keepdims=True)
    return queries @ database.T


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_similarity_is_the_weighted_mean_of_the_members(made, dtype) -> None:
    members = [(made(0, 6, dtype=dtype), 2.0), (made(1, 9), 0.5), (made(2, 4), 1.0)]
    joined = Concatenated(members)
    assert joined.dimension == 19
    described = joined.load("val", "database")
    assert described.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-6)
    expected = sum(weight * similarities(source) for source, weight in members) / 3.5
    queries = joined.load("val", "queries")
    np.testing.assert_allclose(queries @ described.T, expected, atol=2e-6)


def test_only_ratios_of_weights_matter(made) -> None:
    one, other = made(0, 6), made(1, 9)
    np.testing.assert_array_equal(
        Concatenated([(one, 1), (other, 2)]).load("val", "queries"),
        Concatenated([(one, 2), (other, 4)]).load("val", "queries"),
    )


def test_a_model_twice_is_that_model(made) -> None:
    model = made(0, 6)
    twice = Concatenated([(model, 1), (model, 1)])
    np.testing.assert_allclose(similarities(twice), similarities(model), atol=1e-6)


@pytest.mark.parametrize("kind", ["concatenated", "averaged"])
def test_blocks_are_of_the_images_whatever_the_shards(made, kind) -> None:
    members = [(made(0, 6, shard_rows=5), 1.0), (made(1, 9, shard_rows=8), 2.0)]
    joined = Concatenated(members) if kind == "concatenated" else AveragedSimilarity(members, "val")
    for role in ("database", "queries"):
        blocks = list(joined.blocks("val", role, 4))
        assert [len(block) for block in blocks[:-1]] == [4] * (len(blocks) - 1)
        np.testing.assert_allclose(
            np.concatenate(blocks), joined.load("val", role), rtol=1e-6, atol=1e-7
        )
        assert joined.images("val", role).equals(members[0][0].images("val", role))


@pytest.mark.parametrize("by", ["covariance", "whole sample"])
def test_standardised_similarities_rank_as_their_full_matrices(made, by, monkeypatch) -> None:
    if by == "whole sample":
        monkeypatch.setattr(ensembles, "_COVARIANCE_DIMENSION", 1)
    # The second model's descriptors lie in a narrow cone, so its similarities hardly differ.
    members = [(made(0, 6), 1.0), (made(1, 9, centre=8.0), 1.5)]
    tables = [similarities(source) for source, _ in members]
    assert tables[0].std() > 10 * tables[1].std()
    expected = sum(
        weight * (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)
        for table, (_, weight) in zip(tables, members, strict=True)
    )
    joined = AveragedSimilarity(members, "val")
    database, queries = joined.load("val", "database"), joined.load("val", "queries")
    ranked = nearest(database, queries, 23, threads=1)
    np.testing.assert_array_equal(ranked, np.argsort(-expected, axis=1))
    plain = Concatenated(members)
    other = nearest(plain.load("val", "database"), plain.load("val", "queries"), 23, threads=1)
    assert (other != ranked).any()


def test_a_sample_comes_close_to_all_of_a_large_database(made, monkeypatch) -> None:
    members = [(made(0, 64), 1.0), (made(1, 32, centre=2.0), 1.0)]
    exact = AveragedSimilarity(members, "val").load("val", "queries")
    monkeypatch.setattr(ensembles, "_COVARIANCE_DIMENSION", 1)
    monkeypatch.setattr(ensembles, "_SAMPLE_VALUES", 64 * 12)
    monkeypatch.setattr(ensembles, "_ROWS", 5)
    assert len(ensembles._sample(members[0][0], "val")) == 12
    database = members[0][0].load("val", "database")
    np.testing.assert_allclose(ensembles._sample(members[0][0], "val"), database[::2], atol=1e-6)
    sampled = AveragedSimilarity(members, "val").load("val", "queries")
    assert 0 < np.abs(sampled - exact).max() < 0.2


def test_a_model_that_sees_no_difference_has_no_say(made, tmp_path) -> None:
    good = made(0, 6)
    collapsed = write_descriptors(
        tmp_path / "collapsed",
        {part: np.ones((number, 5)) for part, number in NUMBERS.items()},
        {part: _positions(good.images(*part.split("-"))) for part in NUMBERS},
    )
    joined = AveragedSimilarity([(good, 1.0), (collapsed, 1.0)], "val")
    ranked = nearest(joined.load("val", "database"), joined.load("val", "queries"), 23, threads=1)
    np.testing.assert_array_equal(ranked, np.argsort(-similarities(good), axis=1))


def test_averaged_similarities_are_of_one_split(made) -> None:
    with pytest.raises(ValueError, match="similarities over val are asked for train"):
        AveragedSimilarity([(made(0, 6), 1.0)], "val").load("train", "train")


def test_a_pca_of_an_ensemble(made) -> None:
    joined = Concatenated([(made(0, 6), 1.0), (made(1, 9), 2.0)])
    projected = Projected(joined, fit_pca(joined, "train", 5))
    described = projected.load("val", "database")
    assert described.shape == (23, 5) and projected.dimension == 5
    train = joined.load("train", "train").astype(np.float64)
    axes = np.linalg.svd(train - train.mean(axis=0))[2][:5]
    expected = (joined.load("val", "database") - train.mean(axis=0)) @ axes.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(described @ described.T, expected @ expected.T, atol=1e-4)


def test_a_pca_of_a_model_is_a_member(made) -> None:
    model = made(0, 6)
    member, other = Projected(model, fit_pca(model, "train", 3)), made(1, 9)
    joined = Concatenated([(member, 1.0), (other, 1.0)])
    expected = (similarities(member) + similarities(other)) / 2
    np.testing.assert_allclose(similarities(joined), expected, atol=1e-6)


def _changed(descriptors: Descriptors, folder: Path, change: str) -> Descriptors:
    """Write the same descriptors, of images that differ."""
    parts, where, columns = {}, {}, {}
    for part in NUMBERS:
        images = descriptors.images(*part.split("-"))
        parts[part] = descriptors.load(*part.split("-"))
        where[part] = _positions(images) + (change == "moved")
        paths = images["path"].to_pylist()
        if change == "elsewhere":
            columns[part] = {"path": [path.replace("/city", "/mnt/x/city") for path in paths]}
        elif change == "renamed":
            columns[part] = {"path": [*paths[:-2], paths[-2].replace(".jpg", ".png"), paths[-1]]}
        elif change == "saved":
            columns[part] = {"size_bytes": [999] * len(paths)}
    fingerprint = ("b" if change in ("skipped", "elsewhere") else "c") * 64
    written = write_descriptors(folder, parts, where, columns=columns, fingerprint=fingerprint)
    if change == "skipped":
        shard = written.shards("val", "queries")[-1]
        kept = written.images("val", "queries").slice(shard.start + 1)
        described = parts["val-queries"][shard.start + 1 :]
        skipped = [("a.jpg", "cut short")]
        write_table(shard, written.description, kept, described, skipped, shard.file)
    return written


def _positions(images: pa.Table) -> np.ndarray:
    return np.stack([images[name].to_numpy() for name in ("east_m", "north_m")], axis=1)


def test_the_same_data_may_lie_elsewhere(made, tmp_path) -> None:
    model = made(0, 6)
    joined = Concatenated(
        [(model, 1.0), (_changed(model, tmp_path / "elsewhere", "elsewhere"), 1.0)]
    )
    np.testing.assert_allclose(similarities(joined), similarities(model), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("moved", r"data sets are city \(bbbbbbbb\) and city \(cccccccc\)"),
        ("renamed", r"data sets are city \(bbbbbbbb\) and city \(cccccccc\)"),
        ("saved", r"data sets are city \(bbbbbbbb\) and city \(cccccccc\)"),
        ("skipped", r"skipped lacks 1 that .*0-6-0.0 has, such as 00004.jpg; if skipped.csv"),
    ],
)
def test_other_images_are_refused(made, tmp_path, change, message) -> None:
    model = made(0, 6)
    joined = Concatenated([(model, 1.0), (_changed(model, tmp_path / change, change), 1.0)])
    for ask in (joined.images, joined.load):
        with pytest.raises(UserError, match=rf"0-6-0.0 and .*{change}.*val queries.*{message}"):
            ask("val", "queries")


def test_queries_in_crops_are_refused(made, tmp_path) -> None:
    crops = {"val-queries": np.random.default_rng(0).normal(size=(3, 5, 4))}
    cropped = write_descriptors(tmp_path / "cropped", crops, {"val-queries": np.zeros((3, 2))})
    with pytest.raises(UserError, match=r"five crops cannot be part.*--query-method"):
        Concatenated([(cropped, 1.0)]).load("val", "queries")


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_above_zero(made, weight) -> None:
    with pytest.raises(UserError, match=rf"weight {weight} of .*expected a number above 0"):
        Concatenated([(made(0, 6), 1.0), (made(1, 9), weight)])


def test_an_ensemble_has_members() -> None:
    with pytest.raises(ValueError, match="no models"):
        Concatenated([])
