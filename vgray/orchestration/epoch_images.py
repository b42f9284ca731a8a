"""How many images an epoch of a recipe trains on and describes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.places import TrainSplit, steps_per_epoch
from vgray.places.tuples import described_per_epoch, find_candidates
from vgray.recipe import Recipe
from vgray.recipe.losses import HPHN, NoMining


class EpochImages(NamedTuple):
    """Images of one epoch, at most."""

    steps: int
    """Batches."""
    trained: int
    """In them."""
    mined: int
    """Described to choose negatives by."""


def images_per_epoch(
    table: pa.Table, recipes: Sequence[Recipe], readable: NDArray[np.bool_] | None = None
) -> list[EpochImages]:
    """Return what an epoch of each recipe comes to.

    Args:
        table: of :func:`vgray.places.load_training_data`.
        recipes: any.
        readable: (N,) images that count; without it all do.

    Raises:
        UserError: there are no tuples for a recipe that mines them.
    """
    known: dict[object, EpochImages] = {}
    for recipe in recipes:
        if _key(recipe) not in known:
            known[_key(recipe)] = _images(table, recipe, readable)
    return [known[_key(recipe)] for recipe in recipes]


def _key(recipe: Recipe) -> object:
    return recipe.batch, recipe.mining, isinstance(recipe.loss, HPHN)


def _images(table: pa.Table, recipe: Recipe, readable: NDArray[np.bool_] | None) -> EpochImages:
    steps, mining = steps_per_epoch(table, recipe, readable), recipe.mining
    if isinstance(mining, NoMining):
        return EpochImages(steps, steps * recipe.batch.places * recipe.batch.images_per_place, 0)
    train = TrainSplit.of(table, readable)
    candidates = find_candidates(
        train.positions_m,
        train.is_query,
        train.is_database,
        positive_distance_m=mining.train_positive_distance_m,
        soft_distance_m=mining.soft_positive_distance_m,
    )
    num_tuples = min(len(candidates.query_rows), mining.queries_per_epoch)
    per_tuple = 1 + mining.positives + mining.negatives + isinstance(recipe.loss, HPHN)
    mined = described_per_epoch(candidates, mining)
    return EpochImages(steps, num_tuples * per_tuple, mined)
