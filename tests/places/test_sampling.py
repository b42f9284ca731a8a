import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgray.places import epoch_batches, trainable_places


def sample(ids: object, positions: object = None, **options: object) -> list[np.ndarray]:
    defaults = {"places_per_batch": 4, "images_per_place": 4, "seed": 0, "epoch": 0}
    return epoch_batches(ids, positions, **{**defaults, **options})  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), max_size=25),
    places=st.integers(2, 6),
    images=st.integers(1, 5),
    least=st.integers(1, 5),
    distance=st.sampled_from([0.0, 3.0]),
    seed=st.integers(0, 5),
)
def test_every_large_place_once(
    sizes: list[int], places: int, images: int, least: int, distance: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.uniform(0, 12, (len(sizes), 2))
    batches = sample(
        ids,
        centres[ids],
        places_per_batch=places,
        images_per_place=images,
        min_images_per_place=least,
        min_distance_m=distance,
        seed=seed,
    )
    seen: list[int] = []
    for batch in batches:
        assert len(set(batch.tolist())) == len(batch) > images
        of_place = ids[batch].reshape(-1, images)
        assert (of_place == of_place[:, :1]).all()
        here = of_place[:, 0].tolist()
        assert len(here) <= places
        if distance:
            gaps = np.linalg.norm(centres[here][:, None] - centres[here][None], axis=2)
            assert (gaps[~np.eye(len(here), dtype=bool)] >= distance - 1e-9).all()
        seen += here
    large = [place for place, size in enumerate(sizes) if size >= max(images, least)]
    assert len(set(seen)) == len(seen)
    if distance:
        assert set(seen) <= set(large)
    else:
        # All but those of a last batch of a single place.
        assert len(seen) == (len(large) - 1 if len(large) % places == 1 else len(large))
        assert sum(len(batch) < places * images for batch in batches) <= 1
    assert trainable_places(ids, max(images, least)) == len(large)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    ids = np.repeat([f"place {number}" for number in range(20)], 6)
    first = np.concatenate(sample(ids, seed=1, epoch=3))
    np.testing.assert_array_equal(first, np.concatenate(sample(ids, seed=1, epoch=3)))
    codes = np.unique(ids, return_inverse=True)[1]
    np.testing.assert_array_equal(first, np.concatenate(sample(codes, seed=1, epoch=3)))
    assert not np.array_equal(first, np.concatenate(sample(ids, seed=1, epoch=4)))
    assert not np.array_equal(first, np.concatenate(sample(ids, seed=2, epoch=3)))


def test_all_images_of_a_place_get_their_turn() -> None:
    ids = np.repeat([0, 1], 10)
    drawn = np.concatenate([batch for epoch in range(60) for batch in sample(ids, epoch=epoch)])
    counts = np.bincount(drawn, minlength=20)
    assert counts.min() > 10 and counts.sum() == 60 * 8


def test_rows_that_are_not_usable_are_left_out() -> None:
    ids = np.repeat([0, 1, 2], 5)
    usable = np.ones(15, bool)
    usable[[0, 5, 6]] = False
    batches = sample(ids, usable=usable)
    assert len(batches) == 1 and set(ids[batches[0]]) == {0, 2}
    assert usable[batches[0]].all()
    assert trainable_places(ids, 4, usable=usable) == 2


def test_a_crowd_of_neighbours_goes_to_batches_of_their_own() -> None:
    ids = np.repeat(np.arange(12), 4)
    centres = np.repeat([[0.0, 0.0], [1000.0, 0.0]], 6, axis=0)  # six headings at two corners
    batches = sample(ids, centres[ids], min_distance_m=25)
    assert len(batches) == 6
    assert all(np.ptp(centres[ids[batch], 0]) == 1000 for batch in batches)
    assert sample(ids, np.zeros((48, 2)), min_distance_m=25) == []


def test_nothing_to_sample_and_no_batch() -> None:
    assert sample(np.empty(0, int)) == []
    assert sample([1, 1, 1, 1]) == []
    with pytest.raises(ValueError, match="no batch"):
        sample([1], places_per_batch=1)
    with pytest.raises(ValueError, match="positions_m"):
        sample(np.repeat([1, 2], 4), min_distance_m=1.0)


def test_sixty_thousand_places_are_fast() -> None:
    ids = np.repeat(np.arange(60_000), 8)
    positions = np.random.default_rng(0).uniform(0, 20_000, (60_000, 2))[ids]
    start = time.process_time()
    batches = sample(ids, positions, places_per_batch=100, min_distance_m=25)
    assert time.process_time() - start < 4  # 0.3 s where it was measured
    assert sum(map(len, batches)) == 240_000
