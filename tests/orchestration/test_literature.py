"""The studies' tables: every row of them is a recipe that a space tries, or says why it is none."""

import csv
from pathlib import Path
from typing import Any

import pytest

import search_spaces.backbones as backbones
import search_spaces.everything as everything
import search_spaces.image_sizes as image_sizes
from search_spaces.literature import RUNS, Run, printed_epochs, published
from vgray.orchestration.spaces import known_spaces
from vgray.recipe import Recipe
from vgray.settings import flatten_settings

Row = tuple[str, str, int]

# Rows of the tables that no space can try, and why.
UNMAPPED: dict[Row, str] = {
    ("alidousti2023", "Table 2", 1): "night images of a GAN are data, of which no recipe knows",
    ("alidousti2023", "Table 2", 2): "the same",
    ("alidousti2023", "Table 2", 3): "the same",
    ("alidousti2023", "Table 4", 2): "the same",
    ("alidousti2023", "Table 4", 3): "two models side by side, each of which has its own recipe",
    ("bracco2024", "Figure 1", 4): "trained with SGD and with AdamW; which of them is not printed",
}
# Settings without a figure: they are not in the file of results.
CASES: set[Row] = {("alidousti2023", "Table 3", case) for case in range(1, 7)}

RUN_OF: dict[Row, Run] = {(run.study, *row): run for run in RUNS for row in run.rows}


def _recipe(settings: dict[str, Any]) -> Recipe:
    return Recipe().with_settings({**everything.BASE, **settings})


def _settings_tried(run: Run) -> dict[str, Any] | None:
    """Return the settings of a run as `everything` publishes them."""
    said = run.settings
    del said["image_size"]  # which no study prints
    return next((each for each in everything.PUBLISHED if said.items() <= each.items()), None)


def _printed(row: dict[str, str]) -> dict[str, Any]:
    """Return what the columns of a row say, by dotted path."""
    crops = {
        "removed: none": 0, "removed: layer4": 1, "layer4 ('last convolutional layer')": 1,
        "removed: layer3,layer4": 2,
    }  # fmt: skip
    tuples = row["study"] == "alidousti2023"
    names = {"cosine_annealing": "cosine", "triplet": "weak_triplet" if tuples else "triplet"}
    values: dict[str, Any] = {
        f"{family}.name": names.get(row[column], row[column]) or None
        for family, column in [
            ("aggregator", "aggregator"), ("loss", "loss"), ("miner", "miner"),
            ("optimizer", "optimizer"), ("schedule", "scheduler"),
        ]
    }  # fmt: skip
    values |= {
        f"{path}": float(row[column]) if row[column] else None
        for path, column in [
            ("optimizer.lr", "lr"), ("optimizer.weight_decay", "weight_decay"),
            ("schedule.t_max", "T_max"),
        ]
    }  # fmt: skip
    # "con3" can be read in two ways.
    if row["crop"] and "con3" not in row["crop"]:
        values["backbone.crop_last"] = crops[row["crop"]]
    return {path: value for path, value in values.items() if value is not None}


def _rows(reference: Path) -> dict[Row, dict[str, str]]:
    with (reference / "published_results.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["study"], row["table"], int(row["row"])): row for row in csv.DictReader(file)}
    assert len(rows) == 60
    return rows


@pytest.mark.photos
def test_every_row_of_the_tables_is_tried_or_says_why_not(reference: Path) -> None:
    rows = _rows(reference)
    tried = {row for row, run in RUN_OF.items() if _settings_tried(run) is not None}
    assert rows.keys() | CASES == tried | UNMAPPED.keys()
    assert not tried & UNMAPPED.keys()
    num_columns = 0
    for row in rows.keys() - UNMAPPED.keys():
        settings = _settings_tried(RUN_OF[row])
        assert settings is not None
        recipe = flatten_settings(_recipe(settings).to_dict())
        printed = _printed(rows[row])
        assert {path: recipe[path] for path in printed} == printed, row
        # What is in a column is not said to be inferred.
        assert printed.keys() <= RUN_OF[row].printed.keys(), row
        num_columns += len(printed)
    assert num_columns == 258


@pytest.mark.photos
def test_the_figures_are_those_of_the_tables(reference: Path) -> None:
    with (reference / "published_results.csv").open(newline="", encoding="utf-8") as file:
        figures = {
            (row["study"], row["table"], int(row["row"])): float(row["value"])
            for row in csv.DictReader(file)
            if (row["dataset"], row["metric"], row["epoch"]) == ("sf-xs-test", "R@1", "")
        }
    assert len(figures) > 40
    for row, run in RUN_OF.items():
        # A run that is printed twice has figures in one of the tables.
        here = {figures.get((run.study, *each)) for each in run.rows} - {None}
        assert here == ({run.recall} - {None}), row


@pytest.mark.photos
def test_the_epochs_are_those_of_the_tables(reference: Path) -> None:
    rows = _rows(reference)
    epochs = {row: int(columns["epochs"]) for row, columns in rows.items() if columns["epochs"]}
    assert len(epochs) == 48
    assert epochs == {row: run.epochs for row, run in RUN_OF.items() if run.epochs is not None}


def test_printed_epochs_are_those_of_the_runs_with_the_settings() -> None:
    whole = {row: _settings_tried(run) for row, run in RUN_OF.items()}
    epochs = {row: printed_epochs(tried) for row, tried in whole.items() if tried is not None}
    assert len(epochs) == 60
    assert {row for row, each in epochs.items() if each == {20}} == {("curello2023", "Baseline", 1)}
    # alidousti2023 does not print them.
    unsaid = {row for row, each in epochs.items() if not each}
    assert unsaid == {row for row in epochs if row[0] == "alidousti2023"}
    assert sum(each == {10} for each in epochs.values()) == 60 - 1 - len(unsaid) == 46
    # A part of a recipe may be that of several runs, or of none.
    assert printed_epochs({"aggregator.name": "avg"}) == {10, 20}
    assert printed_epochs({"aggregator.name": "avg", "loss.name": "multi_similarity"}) == {10}
    assert printed_epochs({"aggregator.name": "boq"}) == set()
    assert printed_epochs({"attention.name": "none"}) == set()


def test_no_row_is_there_twice() -> None:
    assert sum(len(run.rows) for run in RUNS) == len(RUN_OF) == 61
    settings = [run.settings for run in RUNS]
    assert all(settings.count(each) == 1 for each in settings)
    for run in RUNS:
        assert not run.printed.keys() & run.inferred.keys()


def test_every_run_is_the_recipe_that_everything_tries() -> None:
    refused = [run for run in RUNS if _settings_tried(run) is None]
    assert [(run.study, *row) for run in refused for row in run.rows] == [
        ("bracco2024", "Figure 1", 4)
    ]
    for run in RUNS:
        if (settings := _settings_tried(run)) is not None:
            recipe = flatten_settings(_recipe(settings).to_dict())
            for path, value in run.settings.items():
                # Brightness is a text here; of sizes see above.
                if path not in ("augmentation.brightness", "image_size"):
                    assert recipe[path] == value, path
    assert len(everything.PUBLISHED) == len(RUNS) - 1 == 50


def test_every_network_of_the_studies_is_one_that_backbones_and_image_sizes_try() -> None:
    tried = [_recipe(setting) for setting in backbones.PUBLISHED]
    networks = {(recipe.backbone, recipe.aggregator) for recipe in tried}
    for settings in published("backbone", "aggregator"):
        recipe = _recipe(settings)
        assert (recipe.backbone, recipe.aggregator) in networks
    assert len(published("backbone", "aggregator")) == 12
    sizes = [setting["image_size"] for setting in image_sizes.PUBLISHED]
    assert sorted(sizes) == sorted(setting["image_size"] for setting in published("image_size"))


def test_published_takes_turns_and_begins_with_the_best_of_each_study() -> None:
    first, second, third, *_ = published("optimizer", where={"mining.name": "none"})
    assert first == {
        "optimizer.name": "adamw", "optimizer.lr": 1e-4, "optimizer.weight_decay": 1e-3,
    }  # fmt: skip
    assert second["optimizer.momentum"] == 0.9
    assert (third["optimizer.lr"], third["optimizer.weight_decay"]) == (1e-3, 1e-2)
    only = published("schedule", where={"optimizer.name": "radam"})
    assert [each.get("schedule.t_max") for each in only] == [None, 5]
    assert published("augmentation.blur") == []
    assert published("loss", "augmentation.blur") == []


def test_literature_is_no_space() -> None:
    assert "everything" in known_spaces()
    assert "literature" not in known_spaces()
