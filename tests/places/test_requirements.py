"""What recipes need of a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_set import add_images, remove_images, write_small_set

from vgray.errors import UserError
from vgray.places import (
    TrainingQueries,
    TrainSplit,
    load_manifest,
    load_training_data,
    num_training_queries,
    require_data_for,
    steps_per_epoch,
)
from vgray.places.train_split import zones_apart
from vgray.recipe import Recipe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_small_set(tmp_path)


@pytest.fixture
def queries(root: Path) -> Path:
    """The same with training queries: two near a place, one near none."""
    for east in (4, 108, 250):
        add_images(root, "train/queries", east)
    return root


def recipe(**settings: Any) -> Recipe:
    return Recipe().with_settings(
        {"batch.places": 3, **{key.replace("__", "."): value for key, value in settings.items()}}
    )


def mining(**settings: Any) -> Recipe:
    return recipe(**{"mining__name": "random", "miner__name": "none", **settings})


def test_sound_data_is_enough(queries: Path) -> None:
    table = load_training_data([queries])
    require_data_for(table, [recipe(), mining(), recipe(batch__places=2)])
    require_data_for(table, [recipe()], np.ones(table.num_rows, bool))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train/database"], "no training images"),
        (["val/queries"], "no val queries"),
        (["val/database"], "no val database images"),
    ],
)
def test_splits_must_be_there(root: Path, folders: list[str], message: str) -> None:
    remove_images(root, *folders)
    table = load_training_data([root])
    for asked in (recipe(), mining()):
        with pytest.raises(UserError, match=message) as caught:
            require_data_for(table, [asked])
        assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_val_lies_in_one_zone(root: Path) -> None:
    add_images(root, "val/database", 1000, zone=11)
    with pytest.raises(UserError, match="val split lies in 2 UTM zones"):
        require_data_for(load_training_data([root]), [recipe()])


def test_queries_far_from_the_database(root: Path) -> None:
    remove_images(root, "val/queries")
    add_images(root, "val/queries", 3000)
    table = load_training_data([root])
    far = recipe(evaluation__distance_m=5000)
    require_data_for(table, [far])
    with pytest.raises(UserError, match="none of the 1 val queries has a database image"):
        require_data_for(table, [far, recipe()])


def test_places_that_are_all_near(root: Path) -> None:
    table = load_training_data([root])
    near = recipe(batch__min_distance_m=200)
    require_data_for(table, [near])
    with pytest.raises(UserError, match=r"no two .* 201 m apart.*batch\.min_distance_m"):
        require_data_for(table, [near, recipe(batch__min_distance_m=201)])


def test_places_of_two_zones_are_apart(root: Path) -> None:
    add_images(root, "train/database", 0, zone=11, count=4)
    table = load_training_data([root])
    require_data_for(table, [recipe(batch__min_distance_m=9000)])
    split = TrainSplit.of(table)
    assert np.ptp(split.positions_m[:, 0]) > 1e7
    assert len(split.rows) == 18 and split.place_ids.max() == 4


def test_unknown_zones_are_taken_for_known_ones() -> None:
    zones = np.array(["10N", "", "10", "11S", "11", "12"], object)
    shifts = zones_apart(np.zeros((6, 2)), zones)[:, 0] / 1e8
    assert shifts.tolist() == [0, 0, 0, 1, 1, 2]
    assert zones_apart(np.zeros((0, 2)), np.array([], object)).shape == (0, 2)


def test_batches_larger_than_the_data(root: Path) -> None:
    table = load_training_data([root])
    with pytest.raises(UserError, match=r"batch\.places: found 4, but the data has 3 places"):
        require_data_for(table, [recipe(), recipe(batch__places=4)])
    many = {"batch__images_per_place": 5, "batch__min_images_per_place": 5}
    with pytest.raises(UserError, match="no training place has 5 images"):
        require_data_for(table, [recipe(), recipe(**many)])
    readable = np.ones(table.num_rows, bool)
    readable[:4] = False
    with pytest.raises(UserError, match="found 3, but the data has 2 places with 4 or more"):
        require_data_for(table, [recipe()], readable)
    with pytest.raises(UserError, match="none of its images can be read"):
        require_data_for(table, [recipe()], np.zeros(table.num_rows, bool))


def test_tuples_need_queries_and_distances(queries: Path) -> None:
    table = load_training_data([queries])
    large = mining(batch__places=4)  # batches of places are not asked for
    require_data_for(table, [large])
    for settings, message in (
        ({"mining__train_positive_distance_m": 0.1}, r"mining\.train_positive_distance_m: found"),
        ({"mining__soft_positive_distance_m": 9000}, r"mining\.soft_positive_distance_m: found"),
        ({"mining__name": "msls_weighted"}, "notes night or sideways"),
    ):
        with pytest.raises(UserError, match=message):
            require_data_for(table, [large, mining(**settings)])
    add_images(queries, "train/queries", 204, note="night")
    require_data_for(load_training_data([queries]), [mining(mining__name="msls_weighted")])
    remove_images(queries, "train/queries")
    with pytest.raises(UserError, match="no queries"):
        require_data_for(load_training_data([queries]), [large])


def test_queries_of_tuples_are_counted(queries: Path) -> None:
    table = load_training_data([queries])
    assert num_training_queries(table, mining()) == TrainingQueries(used=2, dropped=1)
    with pytest.raises(ValueError, match="none"):
        num_training_queries(table, recipe())


def test_steps_of_an_epoch(queries: Path) -> None:
    table = load_training_data([queries])
    assert steps_per_epoch(table, recipe()) == 1
    assert steps_per_epoch(table, recipe(batch__places=2, batch__min_images_per_place=4)) == 1
    assert steps_per_epoch(table, recipe(batch__min_distance_m=150)) == 1
    assert steps_per_epoch(table, mining()) == 1
    assert steps_per_epoch(table, mining(mining__tuples_per_batch=1)) == 2
    assert steps_per_epoch(table, mining(mining__cache_refresh_rate=1)) == 2
    assert steps_per_epoch(table, mining(mining__queries_per_epoch=1)) == 1


def test_steps_are_those_of_the_training(queries: Path) -> None:
    from vgray.places import open_store
    from vgray.training import TrainingData
    from vgray.training.batches import build_batches

    table = load_training_data([queries])
    data = TrainingData.prepare(table, open_store(table, (32, 32)))
    for asked in (
        recipe(),
        recipe(batch__places=2, batch__min_images_per_place=2, batch__images_per_place=2),
        recipe(batch__min_distance_m=150),
        mining(),
        mining(mining__tuples_per_batch=1, mining__cache_refresh_rate=1),
    ):
        assert steps_per_epoch(table, asked) == build_batches(asked, data).num_batches


def test_warm_up_is_shorter_than_training(queries: Path) -> None:
    table = load_training_data([queries])
    for short, long in (
        (recipe(schedule__warmup_steps=8, epochs=9), recipe(schedule__warmup_steps=9, epochs=9)),
        (mining(schedule__warmup_steps=8, epochs=9), mining(schedule__warmup_steps=9, epochs=9)),
    ):
        require_data_for(table, [short])
        with pytest.raises(UserError, match=r"warmup_steps: found 9, .* 9 epochs of 1 step \(9\)"):
            require_data_for(table, [short, long])


def test_both_ways_to_read_a_set_will_do(root: Path) -> None:
    require_data_for(load_manifest(root), [recipe()])
