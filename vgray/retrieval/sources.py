"""What can be searched: a folder of descriptors, or something made of such folders."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.retrieval.shards import Described


class Source(Protocol):
    """Descriptors of images by split and role, in the same order however they are read.

    ``Descriptors`` is one; so are what a PCA or a concatenation makes of them.
    """

    @property
    def dimension(self) -> int:
        """The length of a descriptor."""

    def images(self, split: str, role: str) -> pa.Table:
        """Return a row of ``IMAGE_SCHEMA`` for each image."""

    def blocks(self, split: str, role: str, rows: int) -> Iterator[Described]:
        """Yield the descriptors of ``rows`` images at a time: (n, D), or (n, 5, D) of crops."""

    def load(self, split: str, role: str) -> NDArray[np.float32]:
        """Return all descriptors at once: (N, D), or (N, 5, D) of crops."""
