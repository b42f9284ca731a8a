"""How many images an epoch of a recipe trains on and describes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.places import num_training_queries, steps_per_epoch
from vgray.recipe import Recipe
from vgray.recipe.losses import HPHN, FullMining, Mining, NoMining, RandomMining


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
    num_queries = num_training_queries(table, recipe, readable).used
    num_tuples = min(num_queries, mining.queries_per_epoch)
    per_tuple = 1 + mining.positives + mining.negatives + isinstance(recipe.loss, HPHN)
    is_database = pc.and_(pc.equal(table["split"], "train"), pc.equal(table["role"], "database"))
    num_database: int = pc.sum(is_database).as_py() or 0
    return EpochImages(steps, num_tuples * per_tuple, _mined(mining, num_tuples, num_database))


def _mined(mining: Mining, num_tuples: int, num_database: int) -> int:
    """Return the images that are described: of each refresh its queries and, at most, the rest."""
    if isinstance(mining, NoMining):
        return 0
    refresh = min(mining.cache_refresh_rate, num_tuples)
    pool = 0 if isinstance(mining, RandomMining) else mining.pool_size
    if isinstance(mining, FullMining):
        pool *= refresh
    per_refresh = refresh + min(refresh * mining.positives + pool, num_database)
    return math.ceil(num_tuples / refresh) * per_refresh
