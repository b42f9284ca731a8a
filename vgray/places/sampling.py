"""Batches of P places times K images, as the metric-learning losses want them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

MIN_IMAGES_PER_PLACE = 4  # as GSV-Cities; a place with fewer has too few views to learn from


def trainable_places(
    place_ids: ArrayLike,
    min_images: int = MIN_IMAGES_PER_PLACE,
    *,
    usable: NDArray[np.bool_] | None = None,
) -> int:
    """Return the number of places with at least ``min_images`` (usable) images.

    ``place_ids`` (N,) of str or int; ``usable`` (N,) leaves rows out.
    """
    ids = np.asarray(place_ids)
    if usable is not None:
        ids = ids[usable]
    return int((np.unique(ids, return_counts=True)[1] >= min_images).sum())


def places_apart(
    place_ids: ArrayLike,
    positions_m: ArrayLike,
    min_distance_m: float,
    min_images: int = MIN_IMAGES_PER_PLACE,
    *,
    usable: NDArray[np.bool_] | None = None,
) -> bool:
    """Say whether two places of at least ``min_images`` are ``min_distance_m`` or more apart.

    If not, ``epoch_batches`` has no batch to give. Arguments as there.
    """
    rows = np.arange(len(np.asarray(place_ids))) if usable is None else np.flatnonzero(usable)
    _, codes = np.unique(np.asarray(place_ids)[rows], return_inverse=True)
    counts = np.bincount(codes)
    places = np.flatnonzero(counts >= min_images)
    if len(places) < 2:
        return False
    centres = _centres(np.asarray(positions_m, np.float64)[rows], codes, counts)[places]
    if np.ptp(centres, axis=0).max() >= min_distance_m:
        return True
    tree = cKDTree(centres)
    near = tree.count_neighbors(tree, np.nextafter(min_distance_m, 0.0))
    return bool(near < len(places) ** 2)


def epoch_batches(
    place_ids: ArrayLike,
    positions_m: ArrayLike | None,
    *,
    places_per_batch: int,
    images_per_place: int,
    min_images_per_place: int = MIN_IMAGES_PER_PLACE,
    min_distance_m: float = 0.0,
    seed: int,
    epoch: int,
    usable: NDArray[np.bool_] | None = None,
) -> list[NDArray[np.int64]]:
    """Return the batches of one epoch, each the (P*K,) rows of its images, a place's side by side.

    ``place_ids`` (N,) of str or int (codes are faster), ``positions_m`` (N, 2) in metres, needed
    for ``min_distance_m`` only, ``usable`` (N,) bool leaves rows out (another split, unreadable).
    Every place with at least ``min_images_per_place`` and K images comes once, with K different
    images. The order depends on seed and epoch alone.

    Two places whose mean positions are nearer than ``min_distance_m`` never share a batch: they
    would be negatives that look alike. 0 turns this off. Where such places are many, batches
    smaller than P follow at the end; without them only the last one is. A batch of fewer than
    two places has no negatives and is left out. Raises ValueError for sizes that make no batch.
    """
    if places_per_batch < 2 or images_per_place < 1:
        raise ValueError(f"no batch of {places_per_batch} places x {images_per_place} images")
    ids = np.asarray(place_ids)
    rows = np.arange(len(ids)) if usable is None else np.flatnonzero(usable)
    _, codes = np.unique(ids[rows], return_inverse=True)
    counts = np.bincount(codes)
    places = np.flatnonzero(counts >= max(min_images_per_place, images_per_place))
    if len(places) < 2:
        return []
    rng = np.random.default_rng([seed, epoch])
    # Images in random order within their place, places one after the other; the first K count.
    shuffled = rows[np.lexsort((rng.random(len(rows)), codes))]
    starts = np.cumsum(counts) - counts
    images = shuffled[starts[places, None] + np.arange(images_per_place)]
    order = rng.permutation(len(places))
    if min_distance_m > 0:
        if positions_m is None:
            raise ValueError("min_distance_m needs positions_m")
        centres = _centres(np.asarray(positions_m, np.float64)[rows], codes, counts)[places]
        batches = _keep_apart(order, centres, places_per_batch, min_distance_m)
    else:
        cuts = range(0, len(order), places_per_batch)
        batches = [order[start : start + places_per_batch] for start in cuts]
    return [images[batch].reshape(-1) for batch in batches if len(batch) >= 2]


def _centres(
    positions_m: NDArray[np.float64], codes: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean position (M, 2) of each place; ``codes`` (N,) are 0 to M - 1."""
    sums = [np.bincount(codes, weights=axis) for axis in positions_m.T]
    return np.column_stack(sums) / counts[:, None]


def _keep_apart(
    order: NDArray[np.int64],
    centres_m: NDArray[np.float64],
    places_per_batch: int,
    min_distance_m: float,
) -> list[NDArray[np.int64]]:
    """Put each place, in order, into the first batch with room and without a neighbour of it.

    ``order`` (M,) numbers the rows of ``centres_m`` (M, 2). Full batches come first.
    """
    # Nearer than, not as near as: the tree's radius is inclusive.
    radius = np.nextafter(min_distance_m, 0.0)
    neighbours = cKDTree(centres_m).query_ball_point(centres_m, radius)
    batch_of = [-1] * len(order)
    batches: list[list[int]] = []
    with_room: list[int] = []
    for place in order.tolist():
        taken = {batch_of[other] for other in neighbours[place]}
        for batch in with_room:
            if batch not in taken:
                break
        else:
            batch = len(batches)
            batches.append([])
            with_room.append(batch)
        batches[batch].append(place)
        batch_of[place] = batch
        if len(batches[batch]) == places_per_batch:
            with_room.remove(batch)
    batches.sort(key=len, reverse=True)
    return [np.array(batch, np.int64) for batch in batches]
