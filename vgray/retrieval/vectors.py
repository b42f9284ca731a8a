"""Vectors as all of retrieval takes them: of length 1, and less their mean where that helps."""

import numpy as np
from numpy.typing import NDArray


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return vectors (..., D) as float32 of length 1; what is all zeros stays so."""
    scaled = np.array(vectors, dtype=np.float32)
    length = np.sqrt(np.einsum("...d,...d->...", scaled, scaled))[..., None]
    scaled /= np.where(length > 0, length, 1)
    return scaled


def mean_of_finite(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the mean (D,) of those of the vectors (N, D) that have numbers throughout, else 0."""
    finite = vectors[np.isfinite(vectors).all(axis=1)]
    mean = finite.mean(axis=0) if len(finite) else np.zeros(vectors.shape[1])
    return mean.astype(np.float32)
