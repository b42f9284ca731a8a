"""The images that a report is about: what runs were trained and validated on, what is tested on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places import fingerprint, load_manifest
from vgray.places.combining import load_training_data, validation_split
from vgray.places.files import local_or_uri
from vgray.reports.results import RunSource

_ROLES = {"database", "queries"}


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set as it is on disk."""

    uri: str
    name: str
    """Its folder's."""
    manifest: pa.Table
    fingerprint: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A split of a data set, with a database and queries."""

    data: DataSet
    split: str
    images: Mapping[str, NDArray[np.int64]] = field(repr=False)
    """Of each role: (N,) a number for each image, of its file's name, size and position; sorted."""

    def counts(self) -> dict[str, int]:
        """Return how many images there are of each role."""
        of_split = self.data.manifest.filter(pc.equal(self.data.manifest["split"], self.split))
        return dict(Counter(of_split["role"].to_pylist()))

    def is_same(self, other: "ImageSet") -> bool:
        """Return whether the two are of the same images, wherever those lie."""
        return self.images.keys() == other.images.keys() and all(
            np.array_equal(images, other.images[role]) for role, images in self.images.items()
        )

    def shares_images(self, other: "ImageSet | TrainingImages") -> bool:
        """Return whether an image is in both, wherever it lies and whatever its role."""
        return any(
            np.isin(mine, theirs).any()
            for mine in self.images.values()
            for theirs in other.images.values()
        )

    def __str__(self) -> str:
        return f"{self.data.uri} ({self.split})"


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """What a run was trained on, as it is on disk now."""

    images: Mapping[str, NDArray[np.int64]] = field(repr=False)
    """As those of an :class:`ImageSet`, of the training split."""
    number: int
    """How many there are."""
    fingerprint: str
    """Of all that a training looks at, its validation images too."""


class DataSets:
    """Data sets as they are asked for, each read once."""

    def __init__(self) -> None:
        self._read: dict[str, DataSet] = {}
        self._trained: dict[tuple[str | None, ...], TrainingImages] = {}

    def test_set(self, uri: str, split: str | None) -> ImageSet:
        """Return what of a data set is tested on: its test split, else val, unless one is named.

        Raises:
            UserError: it cannot be read, or has no database or no queries in that split.
        """
        data = self.data(uri)
        roles = _roles(data.manifest)
        wanted = [split] if split else ["test", "val"]
        for each in wanted:
            if roles.get(each, set()) >= _ROLES:
                return _image_set(data, each)
        there = [f"{name}/{role}" for name in roles for role in sorted(roles[name])]
        raise UserError(
            f"--test {uri}: nothing to test on, no split {' or '.join(wanted)} has a database and "
            f"queries; it has {', '.join(there)}"
        )

    def validation(self, run: RunSource) -> ImageSet:
        """Return what a run was validated on.

        Raises:
            UserError: its data cannot be read any more, or has no validation images.
        """
        if run.val is not None:
            data = self.data(run.val)
            return _image_set(data, validation_split(data.manifest))
        for uri in run.data:
            data = self.data(uri)
            if "val" in _roles(data.manifest):
                split = "val" if len(run.data) == 1 else validation_split(data.manifest)
                return _image_set(data, split)
        raise UserError(f"{', '.join(run.data)}: no validation images")

    def training(self, run: RunSource) -> TrainingImages:
        """Return what a run was trained on.

        Raises:
            UserError: its data cannot be read any more, or are no training data.
        """
        key = (*run.data, run.val)
        if key not in self._trained:
            manifest = load_training_data(run.data, run.val)
            train = manifest.filter(pc.equal(manifest["split"], "train"))
            self._trained[key] = TrainingImages(
                _images(train), train.num_rows, fingerprint(manifest)
            )
        return self._trained[key]

    def data(self, uri: str) -> DataSet:
        """Return a data set.

        Raises:
            UserError: it cannot be read.
        """
        uri = local_or_uri(uri)
        if uri not in self._read:
            manifest = load_manifest(uri)
            parts = [part for part in uri.split("/") if part]
            name = parts[-1] if parts else uri
            self._read[uri] = DataSet(uri, name, manifest, fingerprint(manifest))
        return self._read[uri]


def require_distinct(sets: Sequence[ImageSet]) -> None:
    """Refuse a test set that is given twice.

    Raises:
        UserError: two are of the same images.
    """
    for number, one in enumerate(sets):
        for other in sets[:number]:
            if one.is_same(other):
                same = "" if one.data.uri == other.data.uri else f", as {other.data.uri}"
                raise UserError(f"--test {one.data.uri}: given twice{same}; give it once")


def _image_set(data: DataSet, split: str) -> ImageSet:
    of_split = data.manifest.filter(pc.equal(data.manifest["split"], split))
    return ImageSet(data, split, _images(of_split))


def _images(images: pa.Table) -> dict[str, NDArray[np.int64]]:
    names = [path.rpartition("/")[2] for path in images["path"].to_pylist()]
    # No two NaN are equal, so a number that is no position stands for them.
    positions = (
        np.nan_to_num(images[name].to_numpy(), nan=-1.0).tolist() for name in ("east_m", "north_m")
    )
    files = zip(names, images["size_bytes"].to_pylist(), *positions, strict=True)
    numbers = np.fromiter(map(hash, files), np.int64, len(names))
    roles = images["role"].to_numpy()
    return {role: np.unique(numbers[roles == role]) for role in sorted(set(roles.tolist()))}


def _roles(manifest: pa.Table) -> dict[str, set[str]]:
    pairs = manifest.select(["split", "role"]).group_by(["split", "role"]).aggregate([])
    roles: dict[str, set[str]] = {}
    for row in pairs.sort_by([("split", "ascending")]).to_pylist():
        roles.setdefault(row["split"], set()).add(row["role"])
    return roles
