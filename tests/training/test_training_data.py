"""What a training reads, cut from a manifest and its decoded images."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vgray import Recipe, UserError
from vgray.places import ImageStore
from vgray.training import TrainingData


def manifest(rows: list[tuple[str, str, str, float]]) -> pa.Table:
    split, role, place, east = zip(*rows, strict=True)
    return pa.table(
        {
            "path": [f"{i}.jpg" for i in range(len(rows))],
            "split": split,
            "role": role,
            "place_id": place,
            "east_m": east,
            "utm_zone": ["33N"] * len(rows),
            "north_m": np.zeros(len(rows)),
            "size_bytes": np.arange(len(rows)),
        }
    )


ROWS = [
    ("train", "database", "b", 0.0),
    ("val", "queries", "x", 510.0),
    ("train", "queries", "a", 100.0),
    ("val", "database", "x", 500.0),
    ("test", "database", "t", 0.0),
    ("val", "database", "y", 530.0),
    ("val", "queries", "z", 900.0),
    ("train", "train", "b", 1.0),
    ("train", "train", "b", 2.0),
]


def store(unreadable: tuple[int, ...] = ()) -> ImageStore:
    readable = np.ones(len(ROWS), dtype=bool)
    readable[list(unreadable)] = False
    pixels = np.zeros((len(ROWS), 32, 48, 3), dtype=np.uint8)
    return ImageStore(Path("store"), pixels, readable, [])


def test_rows_places_and_positives() -> None:
    table = manifest(ROWS)
    data = TrainingData.prepare(table, store(unreadable=(7,)))
    assert data.train.rows.tolist() == [0, 2, 8]
    assert data.train.place_ids.tolist() == [1, 0, 1]
    assert data.train.positions_m.tolist() == [[0, 0], [100, 0], [2, 0]]
    assert data.train.is_query.tolist() == [False, True, False]
    assert data.train.is_database.tolist() == [True, False, False]
    assert not data.train.is_night.any() and not data.train.is_sideways.any()
    assert data.database_rows.tolist() == [3, 5]
    assert data.query_rows.tolist() == [1, 6]
    assert [rows.tolist() for rows in data.positives] == [[0, 1], []]
    narrow = TrainingData.prepare(table, store(), 15.0)
    assert [rows.tolist() for rows in narrow.positives] == [[0], []]
    assert data.fingerprint == narrow.fingerprint


@pytest.mark.parametrize(
    ("unreadable", "what"),
    [
        ((0, 2, 7, 8), "training images"),
        ((3, 5), "validation database"),
        ((1, 6), "validation queries"),
    ],
)
def test_a_part_without_images_is_refused(unreadable: tuple[int, ...], what: str) -> None:
    with pytest.raises(UserError, match=f"no readable {what}"):
        TrainingData.prepare(manifest(ROWS), store(unreadable))


def test_it_fits_recipes_of_its_size_and_distance() -> None:
    data = TrainingData.prepare(manifest(ROWS), store())
    recipe = Recipe().with_settings({"image_size": [32, 48]})
    data.require_fits(recipe)
    with pytest.raises(ValueError, match="images of"):
        data.require_fits(Recipe())
    with pytest.raises(ValueError, match="positives within"):
        data.require_fits(recipe.with_settings({"evaluation.distance_m": 10}))


def test_images_of_two_zones_are_far_apart() -> None:
    table = manifest(ROWS)
    zones = ["33N", "33N", "32N", *[""] * 6]
    table = table.set_column(table.column_names.index("utm_zone"), "utm_zone", [zones])
    data = TrainingData.prepare(table, store(unreadable=(7,)))
    east, north = data.train.positions_m.T
    assert north.tolist() == [0, 0, 0]
    assert abs(east[0] - east[1]) > 1e7  # 33N and 32N
    assert east[2] - east[1] == 2.0 - 100.0  # an unknown zone is taken for the first


def test_notes_in_file_names_say_night_and_sideways() -> None:
    names = ["@1@2@@@@@@@@@@@@night_sideways@.jpg", "@1@2@@@@@@@@@@@@day_forward@.jpg"]
    paths = [f"a/night/{names[0]}", f"a/{names[1]}", "a/night.jpg", "a/@1@2@@@@@@@@@@@@night@.jpg"]
    table = manifest(ROWS)
    rows = [0, 2, 7, 8]
    column = [paths[rows.index(i)] if i in rows else f"{i}.jpg" for i in range(len(ROWS))]
    table = table.set_column(table.column_names.index("path"), "path", [column])
    data = TrainingData.prepare(table, store())
    assert data.train.is_night.tolist() == [True, False, False, True]
    assert data.train.is_sideways.tolist() == [True, False, False, False]
