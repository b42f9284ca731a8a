"""Shorter descriptors: the directions in which those of a split differ most."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.retrieval.crops import mean_of_crops
from vgray.retrieval.descriptors import UnknownPartError
from vgray.retrieval.library import faiss_with
from vgray.retrieval.search import rows_of_a_block
from vgray.retrieval.shards import Described
from vgray.retrieval.sources import Source
from vgray.retrieval.vectors import unit

MAX_IMAGES = 16_384
_ROLES = ("train", "database", "queries")


@dataclass(frozen=True)
class Projection:
    """A linear map of descriptors, after which they are L2-normalised."""

    matrix: NDArray[np.float32]
    """(d, D)."""
    bias: NDArray[np.float32]
    """(d,)."""
    num_images: int
    """Of how many images it is."""

    @property
    def dimension(self) -> int:
        """The length of the descriptors that come out."""
        return len(self.matrix)

    def __call__(self, descriptors: Described) -> NDArray[np.float32]:
        """Project descriptors (..., D) -> (..., d)."""
        return unit(descriptors.astype(np.float32, copy=False) @ self.matrix.T + self.bias)


class Projected:
    """A source whose descriptors are projected as they are read."""

    def __init__(self, source: Source, projection: Projection) -> None:
        if projection.matrix.shape[1] != source.dimension:
            raise ValueError(
                f"a projection from {projection.matrix.shape[1]} dimensions, of {source.dimension}"
            )
        self.source = source
        self.projection = projection

    @property
    def dimension(self) -> int:
        """The length of a descriptor."""
        return self.projection.dimension

    def images(self, split: str, role: str) -> pa.Table:
        """Return a row of ``IMAGE_SCHEMA`` for each image."""
        return self.source.images(split, role)

    def blocks(self, split: str, role: str, rows: int) -> Iterator[Described]:
        """Yield the descriptors of ``rows`` images at a time: (n, d), or (n, 5, d) of crops."""
        return map(self.projection, self.source.blocks(split, role, rows))

    def load(self, split: str, role: str) -> NDArray[np.float32]:
        """Return all descriptors at once: (N, d), or (N, 5, d) of crops."""
        return self.projection(self.source.load(split, role))


def fit_pca(
    source: Source,
    split: str,
    dimension: int,
    *,
    whiten: bool = False,
    max_images: int = MAX_IMAGES,
    threads: int | None = None,
) -> Projection:
    """Find the principal components of a split's descriptors (faiss).

    The images are evenly spaced over all of the split's, so they are the same each time; of a query
    in crops it is the mean. The number of images is that of the deep visual geo-localization
    benchmark, which does not normalise what it has projected.

    Args:
        source: whose descriptors.
        split: on which to fit; its images to train on, database and queries, as far as described.
        dimension: how many components to keep.
        whiten: whether to give each the same variance.
        max_images: how many images to fit on at most.
        threads: how many threads faiss uses; all cores unless given.

    Raises:
        UserError: the images allow fewer components, or nothing of the split is described.
    """
    described = _sample(source, split, max_images)
    possible = min(source.dimension, len(described) - 1)
    if 1 <= dimension <= possible:
        with faiss_with(threads) as faiss:
            pca = faiss.PCAMatrix(source.dimension, dimension, -0.5 if whiten else 0.0)
            pca.max_points_per_d = len(described)  # no random choice of its own
            # faiss adds up its mean one by one in float32, which thousands of images blur.
            mean = described.mean(axis=0, dtype=np.float64).astype(np.float32)
            pca.train(described - mean)
            variances = faiss.vector_to_array(pca.eigenvalues)
            # Less than this is rounding of descriptors of length 1, which whitening would blow up.
            rounding = max(1e-6 * variances[0], 1e-12 * len(described))
            possible = min(possible, int((variances > rounding).sum()))
            matrix = faiss.vector_to_array(pca.A).reshape(dimension, source.dimension)
            bias = faiss.vector_to_array(pca.b) - matrix @ mean
    if not 1 <= dimension <= possible:
        raise UserError(
            f"PCA to {dimension} dimensions: {len(described)} images of the {split} split, with "
            f"descriptors of {source.dimension}, allow at most {max(possible, 0)}; choose fewer, "
            "or describe more images"
        )
    return Projection(matrix, bias, len(described))


def _sample(source: Source, split: str, max_images: int) -> NDArray[np.float32]:
    """Return the descriptors (at most max_images, D) of evenly spaced images."""
    counts = _counts(source, split)
    total = sum(counts.values())
    chosen = np.arange(min(total, max_images)) * total // max(min(total, max_images), 1)
    sampled = np.empty((len(chosen), source.dimension), dtype=np.float32)
    start = filled = 0
    for role in counts:
        for block in source.blocks(split, role, rows_of_a_block(source.dimension)):
            stop = filled + int(np.searchsorted(chosen[filled:], start + len(block)))
            taken = block[chosen[filled:stop] - start]
            sampled[filled:stop] = mean_of_crops(taken) if taken.ndim == 3 else taken
            start, filled = start + len(block), stop
    return sampled


def _counts(source: Source, split: str) -> dict[str, int]:
    """Return the number of images of each role that was described."""
    counts, unknown = {}, None
    for role in _ROLES:
        try:
            counts[role] = source.images(split, role).num_rows
        except UnknownPartError as error:
            unknown = error
    if unknown is not None and not sum(counts.values()):
        raise unknown
    return counts
