"""Ensembles: the descriptors of several models of the same images, used as one."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.retrieval.same_images import name_of, require_same_images
from vgray.retrieval.sources import Source
from vgray.retrieval.vectors import unit

_ROWS = 1024
# Up to here a covariance is exact at 32 MB; above, a sample of the database stands for it.
_COVARIANCE_DIMENSION = 2048
_SAMPLE_VALUES = 2**26  # 256 MB
_LEAST_STD = 1e-6  # of similarities within -1 to 1; below is rounding

Array: TypeAlias = NDArray[np.float32]


class _Joined:
    """Members side by side: each of length 1, scaled, and the whole made of length 1."""

    def __init__(self, members: Sequence[tuple[Source, float]]) -> None:
        if not members:
            raise ValueError("an ensemble of no models")
        self.members = list(members)
        for source, weight in self.members:
            if not (np.isfinite(weight) and weight > 0):
                raise UserError(
                    f"weight {weight} of {name_of(source)}: expected a number above 0; leave the "
                    "model out instead"
                )
        self._compared: set[tuple[str, str]] = set()

    @property
    def sources(self) -> list[Source]:
        """The members without their weights."""
        return [source for source, _ in self.members]

    @property
    def dimension(self) -> int:
        """The sum of the members' dimensions."""
        return sum(source.dimension for source in self.sources)

    def images(self, split: str, role: str) -> pa.Table:
        """Return a part's images, as the first member has them.

        Raises:
            UserError: the members are not of the same images.
        """
        self._compare(split, role)
        return self.sources[0].images(split, role)

    def blocks(self, split: str, role: str, rows: int) -> Iterator[Array]:
        """Yield a part's descriptors (n, D), L2-normalised, ``rows`` images at a time.

        Raises:
            UserError: the members are not of the same images, or have queries in crops.
        """
        self._compare(split, role)
        for parts in unit_blocks(self.sources, split, role, rows):
            scales = self._scales(parts, split, role)
            joined = [part * scale for part, scale in zip(parts, scales, strict=True)]
            yield unit(np.concatenate(joined, axis=1))

    def load(self, split: str, role: str) -> Array:
        """Return all of a part's descriptors (N, D).

        Raises:
            UserError: as for :meth:`blocks`.
        """
        described = np.empty((self.images(split, role).num_rows, self.dimension), np.float32)
        start = 0
        for block in self.blocks(split, role, _ROWS):
            described[start : start + len(block)] = block
            start += len(block)
        return described

    def _scales(self, parts: Sequence[Array], split: str, role: str) -> list[Array]:
        raise NotImplementedError

    def _compare(self, split: str, role: str) -> None:
        if (split, role) not in self._compared:
            require_same_images(self.sources, split, role)
            self._compared.add((split, role))


class Concatenated(_Joined):
    """The members' L2-normalised descriptors, concatenated with weights, normalised again.

    Each part is scaled by the square root of its weight, so that the cosine similarity of two
    images is the weighted mean of the members' similarities, sum(w s) / sum(w).

    Args:
        members: models and their weights, of which only the ratios matter.

    Raises:
        UserError: a weight is not above 0.
        ValueError: there is no member.
    """

    def _scales(self, parts: Sequence[Array], split: str, role: str) -> list[Array]:
        weights = np.array([weight for _, weight in self.members])
        return list(np.sqrt(weights / weights.sum()).astype(np.float32))


class AveragedSimilarity(_Joined):
    """The weighted mean of the members' standardised similarities.

    The plain mean of cosine similarities is what :class:`Concatenated` ranks by. Here each
    member's similarities of a query are first divided by their standard deviation over the
    database, so that models whose similarities spread widely do not outvote those whose
    similarities lie close together. (Their mean, which z-scores also subtract, moves all images of
    the database alike.)

    It is searched like any descriptors: the part of a query is scaled by weight / deviation, and
    the database has plain parts. The deviations come from the covariance of the database's
    descriptors; of a member with more than 2,048 dimensions, from evenly spaced images of the
    database, as many as fit into 256 MB.

    Args:
        members: models and their weights, of which only the ratios matter.
        split: whose database the deviations are taken over; there are no descriptors of others.

    Raises:
        UserError: a weight is not above 0.
        ValueError: there is no member; or, later, another split is asked for.
    """

    def __init__(self, members: Sequence[tuple[Source, float]], split: str) -> None:
        super().__init__(members)
        self.split = split

    def _scales(self, parts: Sequence[Array], split: str, role: str) -> list[Array]:
        if split != self.split:
            raise ValueError(f"similarities over {self.split} are asked for {split}")
        if role == "database":
            return [np.ones(1, np.float32) for _ in parts]
        scales = []
        for part, deviation, (_, weight) in zip(parts, self._deviations, self.members, strict=True):
            found = deviation(part)[:, None]
            # A model that finds all images equally similar has nothing to say.
            says = found > _LEAST_STD
            scales.append(np.where(says, weight / np.where(says, found, 1), 0).astype(np.float32))
        return scales

    @cached_property
    def _deviations(self) -> list[Callable[[Array], Array]]:
        return [_deviation(source, self.split) for source in self.sources]


def unit_blocks(
    sources: Sequence[Source], split: str, role: str, rows: int
) -> Iterator[list[Array]]:
    """Yield for the same ``rows`` images at a time each source's descriptors, of length 1.

    Raises:
        UserError: a source has queries in crops.
    """
    streams = [source.blocks(split, role, rows) for source in sources]
    for parts in zip(*streams, strict=True):
        if any(part.ndim == 3 for part in parts):
            raise UserError(
                "queries described by five crops cannot be part of an ensemble; extract them with "
                "another --query-method, such as resize or central_crop"
            )
        yield [unit(part) for part in parts]


def _deviation(source: Source, split: str) -> Callable[[Array], Array]:
    """Return how queries (n, d) become the deviations (n,) of their similarities."""
    if source.dimension <= _COVARIANCE_DIMENSION:
        covariance = _covariance(source, split)
        return lambda queries: np.sqrt(
            np.maximum(np.einsum("nd,nd->n", queries @ covariance, queries), 0)
        )
    sample = _sample(source, split)
    return lambda queries: (queries @ sample.T).std(axis=1)


def _covariance(source: Source, split: str) -> Array:
    total = np.zeros(source.dimension)
    products = np.zeros((source.dimension, source.dimension))
    number = 0
    origin = None
    for (block,) in unit_blocks([source], split, "database", _ROWS):
        # Products of what lies around zero: those of a narrow cone would cancel to nothing.
        origin = block.mean(axis=0) if origin is None else origin
        block -= origin
        total += block.sum(axis=0)
        products += block.T @ block
        number += len(block)
    mean = total / max(number, 1)
    return (products / max(number, 1) - np.outer(mean, mean)).astype(np.float32)


def _sample(source: Source, split: str) -> Array:
    number = source.images(split, "database").num_rows
    apart = max(-(-number * source.dimension // _SAMPLE_VALUES), 1)
    kept, start = [], 0
    for (block,) in unit_blocks([source], split, "database", _ROWS):
        kept.append(block[-start % apart :: apart].copy())
        start += len(block)
    return np.concatenate(kept) if kept else np.zeros((1, source.dimension), np.float32)
