"""Slices of queries: every query is in one, and its name says which."""

import numpy as np
import pyarrow as pa
import pytest

from vgray.errors import UserError
from vgray.retrieval.slices import (
    MAX_VALUES,
    Slicing,
    otsu_threshold,
    separation,
    slice_queries,
)


def sizes(slicing: Slicing) -> dict[str, int]:
    """Return how many queries each slice has, and check that none is lost."""
    found = {label: int(slicing.of(label).sum()) for label in slicing.labels}
    assert sum(found.values()) == len(slicing.members) and min(found.values()) > 0
    return found


def table(**columns: object) -> pa.Table:
    return pa.table(columns)


def two_nights(num_night: int, num_day: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    night, day = rng.normal(40, 8, num_night), rng.normal(120, 12, num_day)
    return np.concatenate([night, day]).astype(np.float32)


@pytest.mark.parametrize(("num_night", "num_day"), [(500, 500), (100, 900), (950, 50)])
def test_otsu_divides_two_normal_distributions(num_night: int, num_day: int) -> None:
    values = two_nights(num_night, num_day)
    assert 60 < otsu_threshold(values) < 95
    slicing = slice_queries(table(brightness=values), "brightness")
    assert sizes(slicing) == pytest.approx({"night": num_night, "day": num_day}, abs=3)
    assert slicing.label_of()[0] == "night" and slicing.label_of()[-1] == "day"
    assert f"({100 * num_night / 1000:.0f} % of the queries), by Otsu" in slicing.how


def test_otsu_is_the_best_of_all_thresholds() -> None:
    values = np.round(two_nights(70, 130))

    def between(threshold: float) -> float:
        low, high = values[values < threshold], values[values >= threshold]
        if not (len(low) and len(high)):
            return 0.0
        return float(len(low) * len(high) * (low.mean() - high.mean()) ** 2)

    best = max(between(threshold) for threshold in np.arange(0.5, 256))
    assert between(otsu_threshold(values)) == pytest.approx(best)


def test_otsu_of_few() -> None:
    assert otsu_threshold(np.array([10.0, 30.0])) == pytest.approx(20, abs=0.2)
    assert 0 <= otsu_threshold(np.array([7.0, 7.0])) <= 256
    with pytest.raises(ValueError, match="no brightnesses"):
        otsu_threshold(np.array([]))


@pytest.mark.parametrize("shape", ["normal", "even", "exponential"])
def test_one_group_is_not_called_night_and_day(shape: str) -> None:
    rng = np.random.default_rng(1)
    values = {
        "normal": rng.normal(120, 20, 2000),
        "even": rng.uniform(50, 200, 2000),
        "exponential": 20 + rng.exponential(25, 2000),
    }[shape]
    slicing = slice_queries(table(brightness=values.clip(0, 255)), "brightness")
    assert slicing.labels == ("darker", "brighter")
    assert "not night and day" in slicing.how


@pytest.mark.parametrize(
    ("low", "high", "why"),
    [
        (np.linspace(110, 130, 75), np.linspace(180, 200, 75), "means are 120 and 190"),
        (np.linspace(15, 25, 75), np.linspace(50, 60, 75), "means are 20 and 55"),
        (np.linspace(119, 121, 149), [200.0], "one group has 1 of the 150 queries"),
        ([20.0], np.linspace(119, 121, 149), "one group has 1 of the 150 queries"),
        (np.linspace(15, 25, 15), np.linspace(115, 125, 985), "one group has 15 of the 1,000"),
        ([20.0, 21.0], [120.0, 121.0], "one group has 2 of the 4 queries"),
    ],
)
def test_two_groups_need_not_be_night_and_day(low, high, why) -> None:
    slicing = slice_queries(table(brightness=np.concatenate([low, high])), "brightness")
    assert slicing.labels == ("darker", "brighter")
    assert "by Otsu's method; " in slicing.how
    assert why in slicing.how and "not night and day" in slicing.how


def test_separation_is_in_standard_deviations() -> None:
    assert separation(np.array([0.0, 2.0, 10.0, 12.0]), 5) == pytest.approx(10)
    assert separation(np.array([1.0, 2.0]), 5) == 0


def test_a_given_threshold_is_taken() -> None:
    slicing = slice_queries(table(brightness=[10.0, 90.0, 100.0]), "brightness", night_below=90)
    assert sizes(slicing) == {"night": 1, "day": 2}
    assert "below 90.0 of 255" in slicing.how and "as it was set" in slicing.how
    assert slice_queries(table(brightness=[1.0]), "brightness", night_below=50).labels == ("night",)


def test_years_in_order() -> None:
    taken_at = ["2019-05", "2017-12-01", None, "2019", "", "2018-01"]
    slicing = slice_queries(table(taken_at=taken_at), "year")
    assert list(sizes(slicing).items()) == [("2017", 1), ("2018", 1), ("2019", 2), ("unknown", 2)]


def test_headings_by_sector() -> None:
    heading = [0.0, 22.4, 22.6, 337.4, 337.6, 359.9, 180.0, None, float("nan"), -45.0, 450.0]
    slicing = slice_queries(table(heading_deg=pa.array(heading, pa.float32())), "heading")
    assert slicing.label_of() == [
        "N", "N", "NE", "NW", "N", "N", "S", "unknown", "unknown", "NW", "E",
    ]  # fmt: skip
    assert slicing.labels == ("N", "NE", "E", "S", "NW", "unknown")


def test_folders_without_what_all_share() -> None:
    paths = ["/data/city/a/x/1.jpg", "/data/city/a/y/2.jpg", "/data/city/b/3.jpg"]
    assert slice_queries(table(path=paths), "folder").label_of() == ["a/x", "a/y", "b"]
    assert slice_queries(table(path=["/d/q/1.jpg", "/d/q/2.jpg"]), "folder").labels == ("q",)
    assert slice_queries(table(path=["1.jpg"]), "folder").labels == (".",)


def test_text_by_value_and_the_rare_together() -> None:
    values = [f"v{row:02d}" for row in range(30) for _ in range(30 - row)] + [None, ""]
    slicing = slice_queries(table(source=values), "source")
    assert len(slicing.labels) == MAX_VALUES + 2
    assert slicing.labels[0] == "v00" and slicing.labels[-2:] == ("other", "unknown")
    assert sizes(slicing)["other"] == sum(range(1, 11)) and sizes(slicing)["unknown"] == 2
    assert "10 rarer values" in slicing.how


def test_a_value_that_is_called_other_is_with_the_other() -> None:
    slicing = slice_queries(table(source=["other", "x", "unknown", None]), "source")
    assert sizes(slicing) == {"x": 1, "other": 1, "unknown": 2}


def test_whole_numbers_by_value_and_many_by_quartiles() -> None:
    few = slice_queries(table(height_px=[480, 640, 480, 1080]), "height_px")
    assert list(sizes(few).items()) == [("480", 2), ("640", 1), ("1080", 1)]
    many = slice_queries(table(size_bytes=list(range(100))), "size_bytes")
    assert list(sizes(many).values()) == [25] * 4


def test_other_numbers_by_quartiles() -> None:
    values = [*np.arange(8.0), float("nan"), None]
    slicing = slice_queries(table(lat=values), "lat")
    assert list(sizes(slicing).items()) == [
        ("0 to 1.75", 2), ("1.75 to 3.5", 2), ("3.5 to 5.25", 2), ("5.25 to 7", 2), ("unknown", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("values", [[None, None], [5.0] * 9, [5.0] * 8 + [6.0]])
def test_quartiles_that_coincide_lose_nobody(values: list[float | None]) -> None:
    slicing = slice_queries(table(lat=pa.array(values, pa.float64())), "lat")
    assert sum(sizes(slicing).values()) == len(values)
    assert len(set(slicing.labels)) == len(slicing.labels)


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(
        UserError, match=r"--slice soruce: .* mean 'source'.*there are folder, heading"
    ):
        slice_queries(table(source=["a"]), "soruce")


@pytest.mark.parametrize("by", ["brightness", "year", "source"])
def test_no_queries_are_no_slices(by: str) -> None:
    empty = table(brightness=pa.array([], pa.float32()), source=[], taken_at=[])
    assert slice_queries(empty, by).labels == ()
