import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgray.errors import UserError
from vgray.places import positives_within, require_one_zone
from vgray.places.filenames import parse_vpr_name
from vgray.places.positives import may_be_one_zone

points = st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), max_size=30)


@given(queries=points, database=points, distance=st.integers(0, 50))
def test_agrees_with_all_pairs(
    queries: list[tuple[int, int]], database: list[tuple[int, int]], distance: int
) -> None:
    found = positives_within(queries, database, distance)
    assert len(found) == len(queries)
    for query, rows in zip(queries, found, strict=True):
        expected = [
            row
            for row, other in enumerate(database)
            if (query[0] - other[0]) ** 2 + (query[1] - other[1]) ** 2 <= distance**2
        ]
        assert rows.tolist() == expected
        assert rows.dtype == np.int64


def test_the_distance_is_inclusive_and_not_a_bit_more() -> None:
    query = [[553000.0, 4175000.0]]
    database = [[553015.0, 4175020.0], [553025.0, 4175000.0], [553000.0, 4175025.0 + 1e-8]]
    assert positives_within(query, database, 25)[0].tolist() == [0, 1]


def test_empty_sides() -> None:
    assert positives_within(np.empty((0, 2)), [[0, 0]], 25) == []
    assert [rows.tolist() for rows in positives_within([[0, 0], [1, 1]], [], 25)] == [[], []]


@pytest.mark.parametrize(
    ("queries", "distance"),
    [
        ([[0, 0, 0]], 25),
        ([0, 0], 25),
        ([[np.nan, 0]], 25),
        ([[0, np.inf]], 25),
        ([[0, 0]], -1),
        ([[0, 0]], np.nan),
    ],
)
def test_refuses(queries: list[object], distance: float) -> None:
    with pytest.raises(ValueError):
        positives_within(queries, [[0.0, 0.0]], distance)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        positives_within([[0.0, 0.0]], queries if distance == 25 else [[0, 0]], distance)  # type: ignore[arg-type]


def test_one_zone_per_split() -> None:
    table = pa.table({"split": ["val", "val", "test"], "utm_zone": ["10N", "", "56S"]})
    require_one_zone(table, "val")
    require_one_zone(table, "train")
    mixed = pa.table({"split": ["val", "val"], "utm_zone": ["10N", "10S"]})
    with pytest.raises(UserError, match=r"val split lies in 2 UTM zones \(10N, 10S\)"):
        require_one_zone(mixed, "val")


@pytest.mark.photos
def test_san_francisco_xs_val(reference: Path) -> None:
    with gzip.open(reference / "sf_xs_val_images.csv.gz", "rt") as file:
        names = [(row["role"], parse_vpr_name(row["file_name"])) for row in csv.DictReader(file)]
    assert all(name is not None and name.utm_zone == "10N" for _, name in names)
    positions = {
        role: [(name.east_m, name.north_m) for given, name in names if name and given == role]
        for role in ("queries", "database")
    }
    assert (len(positions["database"]), len(positions["queries"])) == (8015, 7993)
    counts = [len(rows) for rows in positives_within(*positions.values(), 25)]
    assert min(counts) > 0
    assert np.mean(counts) == pytest.approx(9.2989, abs=5e-5)


@pytest.mark.parametrize(
    ("one", "other", "comparable"),
    [
        ("10N", "10N", True),
        ("10", "10N", True),
        ("10S", "10", True),
        ("", "10N", True),
        ("", "", True),
        ("10N", "10S", False),
        ("10N", "11N", False),
        ("1N", "11N", False),
        ("10", "11N", False),
    ],
)
def test_zones_whose_metres_may_be_compared(one: str, other: str, comparable: bool) -> None:
    assert may_be_one_zone(one, other) is may_be_one_zone(other, one) is comparable
