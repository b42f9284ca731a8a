"""What a training reads: decoded images, places, and the validation split."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.manifest import fingerprint
from vgray.places.positives import positives_within
from vgray.places.store import ImageStore
from vgray.places.train_split import TrainSplit
from vgray.recipe import Recipe


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images and positions, ready to be trained on; the same for every recipe of one image size."""

    pixels: NDArray[np.uint8]
    """(N, H, W, 3), RGB; may be memory-mapped."""
    train: TrainSplit
    """What is trained on; its rows are of ``pixels``."""
    database_rows: NDArray[np.int64]
    """(D,) rows of ``pixels``: the validation database."""
    query_rows: NDArray[np.int64]
    """(Q,) rows of ``pixels``: the validation queries."""
    positives: list[NDArray[np.int64]]
    """Of each query: its positives, as indices into ``database_rows``."""
    distance_m: float
    """How near a positive is."""
    fingerprint: str
    """Of the data set."""

    @classmethod
    def prepare(cls, manifest: pa.Table, store: ImageStore, distance_m: float = 25.0) -> Self:
        """Cut a data set into what is trained on and what is validated on.

        Args:
            manifest: the data set, see :func:`vgray.places.load_manifest`.
            store: its decoded images; those that are not readable are left out.
            distance_m: how near a positive is.

        Raises:
            UserError: there is nothing to train on, or nothing to validate on.
        """
        readable = store.readable
        split = np.asarray(manifest["split"].to_pylist(), dtype=object)
        role = np.asarray(manifest["role"].to_pylist(), dtype=object)
        position = np.stack(
            [manifest[c].to_numpy().astype(np.float64) for c in ("east_m", "north_m")], axis=1
        )
        train = TrainSplit.of(manifest, readable)
        database = np.flatnonzero(readable & (split == "val") & (role == "database"))
        queries = np.flatnonzero(readable & (split == "val") & (role == "queries"))
        for rows, what in (
            (train.rows, "training images"),
            (database, "validation database"),
            (queries, "validation queries"),
        ):
            if not len(rows):
                raise UserError(
                    f"data: no readable {what}; expected the split that they belong to in the data "
                    "folder, see jobs/prepare.py check"
                )
        return cls(
            pixels=store.pixels,
            train=train,
            database_rows=database,
            query_rows=queries,
            positives=positives_within(position[queries], position[database], distance_m),
            distance_m=distance_m,
            fingerprint=fingerprint(manifest),
        )

    def require_fits(self, recipe: Recipe) -> None:
        """Raise ValueError unless it was prepared for the recipe's image size and distance."""
        size_px = self.pixels.shape[1:3]
        if tuple(size_px) != tuple(recipe.image_size):
            raise ValueError(f"images of {size_px}, but the recipe says {recipe.image_size}")
        if self.distance_m != recipe.evaluation.distance_m:
            raise ValueError(
                f"positives within {self.distance_m} m, but the recipe says "
                f"{recipe.evaluation.distance_m}"
            )
