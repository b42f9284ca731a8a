"""k-means: finds clusters that are there, the same ones for the same seed."""

import numpy as np
import pytest

from vgray.retrieval import kmeans


def blobs(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors around four corners, and the corners."""
    corners = 10.0 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, 0]])
    noise = np.random.default_rng(0).normal(size=(4, n, 3))
    return (corners[:, None] + 0.1 * noise).reshape(-1, 3), corners


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_centroids_are_the_middles_of_the_clusters(seed: int) -> None:
    vectors, corners = blobs()
    found = kmeans(vectors, 4, seed=seed)
    assert found.shape == (4, 3)
    distances = np.linalg.norm(corners[:, None] - found[None], axis=2)
    assert (distances.min(axis=1) < 0.2).all()


def test_the_same_seed_gives_the_same_centroids_with_any_number_of_threads() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8))
    assert np.array_equal(kmeans(vectors, 7, seed=3), kmeans(vectors, 7, seed=3))
    assert np.allclose(kmeans(vectors, 7, seed=3, threads=1), kmeans(vectors, 7, seed=3), atol=1e-4)
    assert not np.allclose(kmeans(vectors, 7, seed=3), kmeans(vectors, 7, seed=4))


def test_few_vectors(capfd: pytest.CaptureFixture[str]) -> None:
    vectors, _ = blobs(1)
    assert sorted(kmeans(vectors, 4).tolist()) == sorted(vectors.astype(np.float32).tolist())
    assert "WARNING" not in "".join(capfd.readouterr())
    with pytest.raises(ValueError, match="k is 5; there are 4"):
        kmeans(vectors, 5)
