"""What a data set must have to be scored, and to be trained on as recipes say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.manifest import root_of
from vgray.places.positives import positives_within, require_one_zone
from vgray.places.sampling import epoch_batches, places_apart, trainable_places
from vgray.places.train_split import TrainSplit
from vgray.places.tuples import Candidates, find_candidates, query_weights
from vgray.recipe import Recipe
from vgray.recipe.losses import Mining, MslsWeightedMining, NoMining
from vgray.recipe.training import Batch

EVALUATION_SPLITS = ("val", "test")


@dataclass(frozen=True)
class Evaluation:
    """What recall is computed from in one split. ``mean_positives`` is per query."""

    queries: int
    database: int
    queries_without_positive: int
    mean_positives: float


class TrainingQueries(NamedTuple):
    """How many queries of the train split make tuples, and how many do not."""

    used: int
    dropped: int


def require_data_for(
    table: pa.Table, recipes: Sequence[Recipe], readable: NDArray[np.bool_] | None = None
) -> None:
    """Refuse data with which any of ``recipes`` could not be trained and scored.

    There must be a val split whose queries can be found; places that fill a batch and may share
    one, or queries with positives and negatives to make tuples of; and more steps than a recipe
    has steps of warm-up.

    Args:
        table: of :func:`vgray.places.load_training_data`.
        recipes: one or more.
        readable: (N,) images that count (``ImageStore.readable``); without it all do, which is
            cheap enough for before a sweep.

    Raises:
        UserError: names what was found and what the recipe, or recall, needs.
    """
    usable = np.ones(table.num_rows, bool) if readable is None else readable
    train = TrainSplit.of(table, usable)
    problems = _train_problems(usable, train)
    for distance_m in sorted({recipe.evaluation.distance_m for recipe in recipes}):
        problems += _scoring_problems(table, "val", usable, distance_m)
    if problems:
        raise UserError(f"{root_of(table)}: {problems[0]}")
    # Recipes of one search mostly ask for the same.
    for recipe in {_needs(recipe): recipe for recipe in recipes}.values():
        if isinstance(recipe.mining, NoMining):
            _require_batch(train, recipe.batch, root_of(table))
        else:
            _find_tuples(train, recipe.mining)
        if recipe.schedule.warmup_steps:
            _require_short_warmup(train, recipe)


def steps_per_epoch(
    table: pa.Table, recipe: Recipe, readable: NDArray[np.bool_] | None = None
) -> int:
    """Return how many batches the first epoch of a training has; arguments as above.

    Raises:
        UserError: there are no tuples for a recipe that mines them.
    """
    return _steps_per_epoch(TrainSplit.of(table, readable), recipe)


def num_training_queries(
    table: pa.Table, recipe: Recipe, readable: NDArray[np.bool_] | None = None
) -> TrainingQueries:
    """Return how many queries a recipe with mining trains on; arguments as above.

    Raises:
        UserError: none.
        ValueError: the recipe trains on places.
    """
    if isinstance(recipe.mining, NoMining):
        raise ValueError("mining.name none: queries are images like any other")
    found = _find_tuples(TrainSplit.of(table, readable), recipe.mining)
    return TrainingQueries(
        used=len(found.query_rows),
        dropped=found.num_without_positive + found.num_without_negative,
    )


def find_problems(
    table: pa.Table, usable: NDArray[np.bool_], min_images: int, distance_m: float
) -> list[str]:
    """Return, in one line each, what makes training on places or scoring impossible.

    Args:
        table: a manifest.
        usable: (N,) images that can be read.
        min_images: that a place must have to be trained on.
        distance_m: how near a positive is.
    """
    train = TrainSplit.of(table, usable)
    problems = _train_problems(usable, train)
    if len(train.rows) and trainable_places(train.place_ids, min_images) < 2:
        problems.append(_too_few_places(train, min_images))
    if usable.any():
        for split in EVALUATION_SPLITS:
            problems += _scoring_problems(table, split, usable, distance_m)
    return problems


def evaluate_split(
    table: pa.Table, split: str, usable: NDArray[np.bool_], distance_m: float
) -> Evaluation:
    """Return what recall is computed from in a split; ``usable`` (N,) can be read."""
    inside = usable & (table["split"].to_numpy() == split)
    roles = table["role"].to_numpy()
    positions = np.column_stack([table["east_m"].to_numpy(), table["north_m"].to_numpy()])
    queries = positions[inside & (roles == "queries")]
    database = positions[inside & (roles == "database")]
    counts = np.array([len(rows) for rows in positives_within(queries, database, distance_m)])
    return Evaluation(
        queries=len(queries),
        database=len(database),
        queries_without_positive=int((counts == 0).sum()),
        mean_positives=float(counts.mean()) if len(counts) else 0.0,
    )


def _train_problems(usable: NDArray[np.bool_], train: TrainSplit) -> list[str]:
    if not usable.any():
        return ["none of its images can be read"]
    if not len(train.rows):
        return ["no training images; expected a train split"]
    return []


def _too_few_places(train: TrainSplit, min_images: int) -> str:
    found = trainable_places(train.place_ids, min_images)
    return (
        f"{found or 'no'} training place has {min_images} images or more and a batch needs at "
        "least two; add images of the same places"
    )


def _scoring_problems(
    table: pa.Table, split: str, usable: NDArray[np.bool_], distance_m: float
) -> list[str]:
    """Return what keeps a split from being scored; only val must be there at all."""
    if split != "val" and not (table["split"].to_numpy() == split).any():
        return []
    try:
        require_one_zone(table, split)
    except UserError as error:
        return [str(error)]
    evaluation = evaluate_split(table, split, usable, distance_m)
    if not evaluation.queries or not evaluation.database:
        missing = "queries" if not evaluation.queries else "database images"
        hint = ", or --val DATA names a set to validate on" if split == "val" else ""
        return [
            f"no {split} {missing}; recall needs images in {split}/database and {split}/queries"
            + hint
        ]
    if evaluation.queries_without_positive == evaluation.queries:
        return [
            f"none of the {evaluation.queries} {split} queries has a database image within "
            f"{distance_m:g} m, so recall would be 0 whatever the model"
        ]
    return []


def _needs(recipe: Recipe) -> tuple[object, ...]:
    """Return the settings that say what a recipe needs of its train split."""
    warmup = recipe.schedule.warmup_steps
    return recipe.mining, recipe.batch, warmup, recipe.epochs if warmup else None


def _require_batch(train: TrainSplit, batch: Batch, root: str) -> None:
    least = batch.min_images_per_place
    found = trainable_places(train.place_ids, least)
    if found < 2:
        raise UserError(f"{root}: {_too_few_places(train, least)}")
    if found < batch.places:
        raise UserError(
            f"batch.places: found {batch.places}, but the data has {found} places with {least} or "
            "more images; lower it or batch.min_images_per_place, or give more images"
        )
    if batch.min_distance_m > 0 and not places_apart(
        train.place_ids, train.positions_m, batch.min_distance_m, least
    ):
        raise UserError(
            f"{root}: no two training places are {batch.min_distance_m:g} m apart, so none may "
            "share a batch; lower batch.min_distance_m"
        )


def _require_short_warmup(train: TrainSplit, recipe: Recipe) -> None:
    warmup, epochs, batch = recipe.schedule.warmup_steps, recipe.epochs, recipe.batch
    if isinstance(recipe.mining, NoMining):
        least = batch.min_images_per_place
        # At least so many; to count them takes a second in a large set.
        if warmup < epochs * (trainable_places(train.place_ids, least) // batch.places):
            return
    steps = _steps_per_epoch(train, recipe)
    if warmup >= epochs * steps:
        raise UserError(
            f"schedule.warmup_steps: found {warmup}, but training has {epochs} epochs of {steps} "
            f"step{'s'[: steps != 1]} ({epochs * steps}); lower it or train longer"
        )


def _find_tuples(train: TrainSplit, mining: Mining) -> Candidates:
    if isinstance(mining, NoMining):
        raise ValueError("mining.name none: there are no tuples")
    found = find_candidates(
        train.positions_m,
        train.is_query,
        train.is_database,
        positive_distance_m=mining.train_positive_distance_m,
        soft_distance_m=mining.soft_positive_distance_m,
    )
    if isinstance(mining, MslsWeightedMining):
        query_weights(train.is_night[found.query_rows], train.is_sideways[found.query_rows])
    return found


def _steps_per_epoch(train: TrainSplit, recipe: Recipe) -> int:
    mining, batch = recipe.mining, recipe.batch
    if isinstance(mining, NoMining):
        batches = epoch_batches(
            train.place_ids,
            train.positions_m,
            places_per_batch=batch.places,
            images_per_place=batch.images_per_place,
            min_images_per_place=batch.min_images_per_place,
            min_distance_m=batch.min_distance_m,
            seed=recipe.seed,
            epoch=1,
        )
        return len(batches)
    queries = min(len(_find_tuples(train, mining).query_rows), mining.queries_per_epoch)
    # A batch never reaches over a refresh of what negatives are chosen by.
    refreshes, rest = divmod(queries, mining.cache_refresh_rate)
    per_batch = mining.tuples_per_batch
    return refreshes * -(-mining.cache_refresh_rate // per_batch) + -(-rest // per_batch)
