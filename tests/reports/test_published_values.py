"""Printed recalls: found for the setting that they are printed of, and for no other."""

import csv
from importlib import resources

import pytest

from search_spaces.literature import RUNS, Run
from vgray.recipe import Recipe
from vgray.reports.published import FILE, printed_rows, published_values
from vgray.retrieval import wilson_interval

DATA_SETS = {
    "sf-xs-val": ("sf_xs", "val"),
    "sf-xs-test": ("SF-XS", "test"),
    "tokyo-xs": ("Tokyo XS", "test"),
    "tokyo-night": ("tokyo_night", "test"),
    "pitts30k-test": ("pitts30k", "test"),
}
# Of other training images, or of two models side by side.
NO_SETTING = {("alidousti2023", f"Table {table}", row) for table, row in
              [(2, "1"), (2, "2"), (2, "3"), (4, "2"), (4, "3")]}  # fmt: skip


def recipe_of(run: Run) -> Recipe:
    return Recipe().with_settings({**run.settings, "epochs": run.epochs or 10})


def all_rows() -> list[dict[str, str]]:
    text = resources.files("vgray.reports").joinpath(FILE).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def found_for(recipe: Recipe) -> set[tuple[str, ...]]:
    """Return study, table, row, data set and N of every value that a recipe is found to have."""
    return {
        (value.study, value.table, value.row, dataset, f"R@{value.n}")
        for dataset, (name, split) in DATA_SETS.items()
        for value in published_values(recipe, name, split)
    }


def test_every_printed_value_is_found_from_its_own_setting_and_no_other() -> None:
    columns = ("study", "table", "row", "dataset", "metric")
    printed = {tuple(row[column] for column in columns) for row in all_rows()}
    assert len(printed) == 268
    seen = set()
    for run in RUNS:
        places = {(run.study, table, str(row)) for table, row in run.rows}
        own = {value for value in printed if value[:3] in places}
        assert found_for(recipe_of(run)) == own, run
        seen |= own
    assert {value[:3] for value in printed - seen} == NO_SETTING


def test_values_are_those_of_the_file() -> None:
    run = next(run for run in RUNS if ("Table 3", 2) in run.rows and run.study == "dashti2024")
    first, second = published_values(recipe_of(run), "sf-xs", "test")
    assert (first.n, first.value, first.num_queries, first.possible) == (1, 24.23, 1000, False)
    assert (second.n, second.value, second.low, second.high) == (5, 39.3, 36.3, 42.4)
    assert second.possible
    assert (first.trained_on, first.differs) == ("gsv-xs", [])
    # Printed epoch by epoch; that of the last.
    values = {value.n: value.value for value in published_values(recipe_of(run), "sf-xs", "val")}
    last = {
        int(row["metric"][2:]): float(row["value"])
        for row in all_rows()
        if (row["study"], row["table"], row["row"]) == ("dashti2024", "Table 3", "2")
        and row["epoch"] == "9"
    }
    assert values == last
    assert set(last) == {1, 5}


def test_wilson_intervals_of_the_file_are_ours() -> None:
    rows = all_rows()
    assert len(rows) == 430
    for row in rows:
        total, share = int(row["n_queries"]), float(row["value"]) / 100
        hits = int(row["hits"]) if row["hits"] else round(share * total)
        # Printed to one decimal; of a value that cannot occur, from the nearest that can.
        within = 0.051 if row["hits"] else 0.051 + 50 / total
        low, high = wilson_interval(hits, total)
        assert low == pytest.approx(float(row["wilson_lo"]), abs=within)
        assert high == pytest.approx(float(row["wilson_hi"]), abs=within)
        assert (row["hits"] == "") == (row["reachable"] != "True")


def test_what_is_not_reachable_cannot_occur() -> None:
    impossible = [row for row in printed_rows() if row["reachable"] != "True"]
    assert len(impossible) == 9
    for row in impossible:
        total, decimals = int(row["n_queries"]), len(row["value"].partition(".")[2])
        of_all = {f"{100 * hits / total:.{decimals}f}" for hits in range(total + 1)}
        assert row["value"] not in of_all


@pytest.mark.parametrize(
    ("name", "split", "is_known"),
    [
        ("sf_xs", "test", True),
        ("SF-XS", "test", True),
        ("sf-xs-test", "test", True),
        ("sf-xs-test", "val", False),
        ("sf-xs-test", "train", False),
        ("tokyo_night", "val", False),
        ("sfxs test", "test", True),
        ("sf_xs", "train", False),
        ("sf_xs_small", "test", False),
        ("night", "test", False),
        ("", "test", False),
    ],
)
def test_names_of_data_sets(name: str, split: str, is_known: bool) -> None:
    run = next(run for run in RUNS if run.study == "alidousti2023")
    assert bool(published_values(recipe_of(run), name, split)) == is_known


def test_a_set_without_a_split_in_its_name_is_a_test_set() -> None:
    recipe = recipe_of(next(run for run in RUNS if run.study == "alidousti2023"))
    assert published_values(recipe, "tokyo-xs", "test")
    assert published_values(recipe, "tokyo-xs-test", "test")
    assert not published_values(recipe, "pitts30k", "val")


def test_what_is_not_printed_may_differ_and_is_said() -> None:
    run = next(run for run in RUNS if ("Table 1", 1) in run.rows and run.study == "dashti2024")
    ours = recipe_of(run).with_settings(
        {"image_size": "64x96", "epochs": 3, "batch.places": 32, "seed": 5,
         "augmentation.blur.p": 0.2}
    )  # fmt: skip
    value, *_ = published_values(ours, "sf-xs", "test")
    assert value.differs == [
        "image_size 224x224, here 64x96",
        "batch.places 64, here 32",
        "epochs 10, here 3",
        "augmentation.blur.sigma_px none, here 2",
        "augmentation.blur.p none, here 0.2",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer.lr": 2e-5},
        {"attention.name": "cbam"},
        {"projection.dim": 128},
        {"backbone.name": "resnet34"},
        {"miner.name": "multi_similarity"},
        {"schedule.name": "cosine"},
    ],
)
def test_another_method_or_printed_number_is_another_setting(change: dict[str, object]) -> None:
    run = next(run for run in RUNS if ("Table 1", 1) in run.rows and run.study == "dashti2024")
    assert published_values(recipe_of(run), "sf-xs", "test")
    assert not published_values(recipe_of(run).with_settings(change), "sf-xs", "test")
