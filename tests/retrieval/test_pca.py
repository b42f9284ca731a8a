"""PCA against a singular value decomposition in double precision."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.library import faiss_with
from vgray.retrieval.pca import Projected, fit_pca


def city(folder: Path, number: int, dimension: int, **more: str) -> Descriptors:
    """Return descriptors of a train split, whose variances fall, and of a small test split."""
    rng = np.random.default_rng(0)
    spread = 0.8 ** np.arange(dimension)
    turned = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]

    def made(n: int, *shape: int) -> NDArray[np.float64]:
        return (rng.normal(size=(n, *shape, dimension)) * spread + 0.3) @ turned

    parts = {
        "train-train": made(number), "test-database": made(7), "test-queries": made(3, 5),
    }  # fmt: skip
    positions = {part: np.zeros((len(x), 2)) for part, x in parts.items()}
    return write_descriptors(folder / "city", parts, positions, shard_rows=64, **more)


def components(
    x: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean, the axes as rows and the variance of each."""
    mean = x.mean(axis=0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(x - mean, full_matrices=False)
    return mean, axes, scale**2 / len(x)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("number", [300, 12])  # more and fewer images than dimensions
@pytest.mark.parametrize("whiten", [False, True])
def test_components_are_those_of_the_decomposition(
    tmp_path: Path, dtype: str, number: int, whiten: bool
) -> None:
    source = city(tmp_path, number, 16, dtype=dtype)
    x = source.load("train", "train")
    mean, axes, variances = components(x)
    projection = fit_pca(source, "train", 5, whiten=whiten)
    assert (projection.dimension, projection.num_images) == (5, number)

    raw = (x @ projection.matrix.T + projection.bias).astype(np.float64)
    expected = (x - mean) @ axes[:5].T
    if whiten:
        expected /= np.sqrt(number * variances[:5])  # faiss makes sums of squares one
    signs = np.sign((raw * expected).sum(axis=0))
    np.testing.assert_allclose(raw * signs, expected, atol=2e-3 if whiten else 2e-4)
    np.testing.assert_allclose(raw.mean(axis=0), 0, atol=1e-4)
    spread = np.full(5, 1 / number) if whiten else variances[:5]
    np.testing.assert_allclose(raw.var(axis=0), spread, rtol=1e-2)
    unit = projection(x)
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-5)


def test_a_projected_source_is_a_source(tmp_path: Path) -> None:
    source = city(tmp_path, 100, 16)
    projection = fit_pca(source, "train", 6)
    projected = Projected(source, projection)
    assert projected.dimension == 6
    assert projected.images("test", "queries") == source.images("test", "queries")
    for role, shape in (("database", (7, 6)), ("queries", (3, 5, 6))):
        loaded = projected.load("test", role)
        assert loaded.shape == shape and loaded.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(loaded, axis=-1), 1, atol=1e-5)
        blocks = list(projected.blocks("test", role, 2))
        assert [len(block) for block in blocks][:1] == [2]
        np.testing.assert_allclose(np.concatenate(blocks), loaded, atol=1e-6)
    with pytest.raises(ValueError, match="from 16 dimensions, of 6"):
        Projected(projected, projection)


def test_images_are_evenly_spaced_and_the_same_each_time(tmp_path: Path) -> None:
    source = city(tmp_path, 200, 8)
    few = fit_pca(source, "train", 3, max_images=50)
    assert few.num_images == 50
    mean, axes, _ = components(source.load("train", "train")[::4])
    np.testing.assert_allclose(few.matrix @ mean, -few.bias, atol=1e-4)
    np.testing.assert_allclose(np.abs(few.matrix @ axes[:3].T), np.eye(3), atol=1e-3)
    np.testing.assert_array_equal(fit_pca(source, "train", 3, max_images=50).matrix, few.matrix)


def test_a_split_of_database_and_queries_in_crops(tmp_path: Path) -> None:
    source = city(tmp_path, 20, 8)
    crops = source.load("test", "queries").mean(axis=1)
    crops /= np.linalg.norm(crops, axis=1, keepdims=True)
    mean, axes, _ = components(np.concatenate([source.load("test", "database"), crops]))
    fitted = fit_pca(source, "test", 2)
    assert fitted.num_images == 10
    np.testing.assert_allclose(np.abs(fitted.matrix @ axes[:2].T), np.eye(2), atol=1e-3)
    np.testing.assert_allclose(fitted.matrix @ mean, -fitted.bias, atol=1e-4)


@pytest.mark.parametrize(
    ("number", "dimension", "most"), [(12, 12, 11), (100, 17, 16), (100, 0, 16), (1, 1, 0)]
)
def test_more_dimensions_than_the_images_allow_are_refused(
    tmp_path: Path, number: int, dimension: int, most: int
) -> None:
    source = city(tmp_path, number, 16)
    with pytest.raises(UserError, match=f"to {dimension} dimensions.*allow at most {most};"):
        fit_pca(source, "train", dimension)


def test_images_that_lie_in_a_plane_allow_two(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = np.pad(rng.normal(size=(60, 3)), ((0, 0), (0, 5)))
    flat[:, 2] = 0
    same = np.zeros((9, 8)) + 0.1
    positions = {"train-train": np.zeros((60, 2)), "val-database": np.zeros((9, 2))}
    parts = {"train-train": flat, "val-database": same}
    source = write_descriptors(tmp_path / "flat", parts, positions)
    assert fit_pca(source, "train", 2, whiten=True).dimension == 2
    for split, most in (("train", 2), ("val", 0)):
        with pytest.raises(UserError, match=f"allow at most {most};"):
            fit_pca(source, split, 3, whiten=True)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no .* of split val"):
        fit_pca(city(tmp_path, 5, 8), "val", 2)


def test_it_computes_with_the_threads_it_is_given(tmp_path: Path) -> None:
    with patch("vgray.retrieval.pca.faiss_with", wraps=faiss_with) as asked:
        fit_pca(city(tmp_path, 20, 8), "train", 2, threads=1)
    asked.assert_called_once_with(1)
