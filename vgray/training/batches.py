"""What a network is trained on, step by step: batches of places, or of tuples."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.sampling import epoch_batches, trainable_places
from vgray.recipe import Recipe
from vgray.training.data import TrainingData
from vgray.training.losses import TupleShape
from vgray.training.mining import Describe, TupleMiner


class Batch(NamedTuple):
    """The images of one step."""

    rows: NDArray[np.int64]
    """(B,) rows of the training split."""
    labels: NDArray[np.int64]
    """(B,) images with the same label show the same place."""
    groups: NDArray[np.int64]
    """(B,) the place or tuple that each belongs to."""
    queries: NDArray[np.bool_] | None = None
    """(B,) which are the queries of tuples."""
    shape: TupleShape | None = None
    """Of each tuple, if the batch is one of tuples."""


class Batches(Protocol):
    """The batches of a training."""

    num_batches: int
    """In the first epoch; another may have some more or less."""

    def epoch(self, epoch: int, describe: Describe) -> tuple[int, Iterator[Batch]]:
        """Return how many batches the epoch has, and the batches, each made when it is asked for.

        Args:
            epoch: its number, on which the choice depends.
            describe: used by what chooses by descriptors, between two batches.
        """

    def describe_cut(self) -> str:
        """Return, in a sentence, what the recipe asks for beyond what the data has; "" if none."""

    def metrics(self) -> dict[str, float]:
        """Return what is to be said of the choice of the last epoch's batches."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epochs depend on, beside their numbers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


def build_batches(recipe: Recipe, data: TrainingData, threads: int | None = None) -> Batches:
    """Return the batches that a recipe trains on: of places, or of tuples if it mines.

    Raises:
        UserError: the data does not have what a batch needs.
    """
    if recipe.mining.name == "none":
        return PlaceBatches(recipe, data)
    return TupleBatches(recipe, data, threads)


class PlaceBatches:
    """P places with K images each, as GSV-Cities trains; every place once in an epoch.

    Raises:
        UserError: the data has too few places for a batch.
    """

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        self._recipe, self._data = recipe, data
        batch = recipe.batch
        least = batch.min_images_per_place
        found = trainable_places(data.train.place_ids, least)
        if found < batch.places:
            raise UserError(
                f"batch.places: found {batch.places}, but the data has {found} places with "
                f"{least} or more images; lower it or batch.min_images_per_place, or give more "
                "images"
            )
        self.num_batches = len(self._of_epoch(1))
        if not self.num_batches:
            raise UserError(
                f"batch.min_distance_m: no two places of the data are {batch.min_distance_m:g} m "
                "apart, so none may share a batch; lower it"
            )

    def _of_epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        batch = self._recipe.batch
        return epoch_batches(
            self._data.train.place_ids,
            self._data.train.positions_m,
            places_per_batch=batch.places,
            images_per_place=batch.images_per_place,
            min_images_per_place=batch.min_images_per_place,
            min_distance_m=batch.min_distance_m,
            seed=self._recipe.seed,
            epoch=epoch,
        )

    def epoch(self, epoch: int, describe: Describe) -> tuple[int, Iterator[Batch]]:
        """Return the epoch's batches; ``describe`` is not used."""
        batches = self._of_epoch(epoch)
        places = self._data.train.place_ids
        return len(batches), (Batch(rows, places[rows], places[rows]) for rows in batches)

    def describe_cut(self) -> str:
        """Return nothing: a batch larger than the data is refused."""
        return ""

    def metrics(self) -> dict[str, float]:
        """Return nothing: places are drawn, not chosen."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: seed and epoch say it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""


class TupleBatches:
    """Queries, each with its positives and mined negatives, as NetVLAD trains.

    Raises:
        UserError: the data has no queries and database to train on, or none within the distances.
    """

    def __init__(self, recipe: Recipe, data: TrainingData, threads: int | None) -> None:
        others = 1 if recipe.loss.name == "hphn" else 0
        self._miner = TupleMiner(
            recipe.mining, data.train, others=others, seed=recipe.seed, threads=threads
        )
        self._shape = TupleShape(self._miner.positives, self._miner.negatives, others)
        self.num_batches = self._miner.num_batches

    def epoch(self, epoch: int, describe: Describe) -> tuple[int, Iterator[Batch]]:
        """Return the epoch's batches, for which the miner describes images now and then."""
        tuples = self._miner.epoch(epoch, describe)
        return self.num_batches, (tuple_batch(rows, self._shape) for rows in tuples)

    def describe_cut(self) -> str:
        """Return what the miner has cut down to the data."""
        return self._miner.describe_cut()

    def metrics(self) -> dict[str, float]:
        """Return what the miner says of its last epoch."""
        return self._miner.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return what the miner remembers."""
        return self._miner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the miner remember ``state``."""
        self._miner.load_state_dict(state)


def tuple_batch(rows: NDArray[np.int64], shape: TupleShape) -> Batch:
    """Return a batch of tuples side by side.

    A query and its positives have one label, every other image has one of its own, also where two
    tuples show the same place: only FastAP compares images of two tuples.
    """
    groups = np.arange(len(rows)) // shape.size
    place = np.arange(len(rows)) % shape.size
    is_same = place <= shape.positives
    labels = np.where(is_same, groups, len(rows) + np.arange(len(rows)))
    return Batch(rows, labels, groups, queries=place == 0, shape=shape)
