"""What an evaluation is asked for: which folders, split, distance and N, and what comes next."""

import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.retrieval import evaluation_request as request
from vgray.retrieval.descriptors import Descriptors


def make(folder: Path, *parts: str, **more: object) -> Descriptors:
    """Write two images of each part."""
    described = {part: np.ones((2, 3)) for part in parts or ("test-database", "test-queries")}
    return write_descriptors(folder, described, described, **more)


def test_names_are_as_short_as_may_be(tmp_path: Path) -> None:
    for each in ("x/a", "y/a", "y/b"):
        make(tmp_path / each)
    named = request.open_folders([tmp_path / "x/a", tmp_path / "y/b"])
    assert list(named) == ["a", "b"]
    assert list(request.open_folders([tmp_path / "x/a", tmp_path / "y/a"])) == ["x/a", "y/a"]
    with pytest.raises(UserError, match="given twice"):
        request.open_folders([tmp_path / "y/b", tmp_path / "y/b"])
    with pytest.raises(UserError, match="given twice"):
        request.open_folders([tmp_path / "y/b", tmp_path / "x/../y/b"])


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path / "a")
    monkeypatch.setenv("HOME", str(tmp_path))
    (found,) = request.open_folders([Path("~/a")]).values()
    assert found.folder == tmp_path / "a"


def test_the_split_is_the_tests_unless_asked(tmp_path: Path) -> None:
    def made(*parts: str) -> dict[str, Descriptors]:
        return {"A": make(tmp_path / "-".join(parts), *parts)}

    both = made("val-database", "val-queries", "test-database", "test-queries")
    assert request.choose_split(both, None) == "test"
    assert request.choose_split(both, "val") == "val"
    only = made("val-database", "val-queries", "train-train")
    assert request.choose_split(only, None) == "val"
    with pytest.raises(UserError, match=r"--split test: .*A has val-database, val-queries, train"):
        request.choose_split(only, "test")
    with pytest.raises(UserError, match="a database and queries of a split"):
        request.choose_split(made("train-train"), None)


def test_recipes_of_different_distances_need_one(tmp_path: Path) -> None:
    described = {"A": make(tmp_path / "a")}
    assert request.settle_distance(described, None) == 25
    recipe = described["A"].description.recipe
    described["B"] = make(
        tmp_path / "b", recipe={**recipe, "evaluation": {"distance_m": 10.0, "recall_at": [1]}}
    )
    with pytest.raises(UserError, match=r"\(A 25.0, B 10.0\); give --distance"):
        request.settle_distance(described, None)
    assert request.settle_distance(described, 40.0) == 40


@pytest.mark.parametrize("distance_m", [0.0, -1.0, 1e6, float("inf"), float("nan")])
def test_distances_that_no_recipe_may_have(tmp_path: Path, distance_m: float) -> None:
    with pytest.raises(UserError, match=r"--distance .*at most 100,000"):
        request.settle_distance({"A": make(tmp_path / "a")}, distance_m)
    with pytest.raises(UserError, match="less than or equal to 100000"):
        Recipe().with_settings({"evaluation.distance_m": request.MAX_DISTANCE_M + 1})


def test_night_is_as_asked_or_as_the_recipe_says(tmp_path: Path) -> None:
    recipe = Recipe().with_settings({"evaluation.night_below": 60.0}).to_dict()
    described = {"A": make(tmp_path / "a", recipe=recipe)}
    queries = pa.table({"brightness": [10.0, 50.0, 70.0]})

    def num_night(asked: float | None) -> int:
        (slicing,) = request.divide(described, queries, ["brightness"], asked)
        return int(slicing.of("night").sum())

    assert (num_night(None), num_night(20.0)) == (2, 1)
    described["B"] = make(tmp_path / "b")
    assert num_night(20.0) == 1
    with pytest.raises(UserError, match=r"night_below \(A 60.0, B None\); give --night-below"):
        num_night(None)
    for asked in (-1.0, 256.0, float("nan")):
        with pytest.raises(UserError, match="0 to 255"):
            num_night(asked)
    with pytest.raises(UserError, match="--slice source: given twice"):
        request.divide(described, queries, ["source", "source"], None)


def test_what_is_done_is_in_the_folders_name(tmp_path: Path) -> None:
    described = {"A": make(tmp_path / "a")}

    def name(*done: str | None) -> str:
        folder = request.default_folder(described, done)
        assert folder.parent == tmp_path / "a"
        return folder.name

    assert name("recall", None) == "recall"
    assert name("recall", "val", "pca256") == "recall-val-pca256"
    described["x/b"] = make(tmp_path / "x/b")
    assert name("recall") == "recall-with-x_b"
    described |= {f"{row}{'b' * 50}": described["A"] for row in range(9)}
    assert name("recall").startswith("recall-with-10-others-") and len(name("recall")) < 40


def test_crops_are_of_queries_in_crops(tmp_path: Path) -> None:
    described = {"A": make(tmp_path / "a")}
    assert request.settle_crops(described, None) == "mean"
    with pytest.raises(UserError, match=r"--crops mean: .* in crops but by resize"):
        request.settle_crops(described, "mean")
    described["B"] = make(tmp_path / "b", query_method="five_crops")
    assert request.settle_crops(described, "maj_voting") == "maj_voting"


def test_the_next_command_is_the_report_of_the_runs(tmp_path: Path) -> None:
    described = {}
    for name in "AB":
        run = tmp_path / "runs" / f"run {name}"
        (run / "best").mkdir(parents=True)
        (run / "trials.parquet").write_bytes(b"")
        described[name] = make(tmp_path / name, model=str(run / "best"), data="my city")
    queries = described["A"].images("test", "queries")
    words = shlex.split(request.next_command(["evaluate.py"], described, queries, []))
    runs = [str(tmp_path / "runs" / f"run {name}") for name in "AB"]
    assert words == ["python", "jobs/report.py", "--runs", *runs, "--test", "my city"]


def test_the_next_command_repeats_the_options_and_asks_something_new(tmp_path: Path) -> None:
    years = {"test-queries": {"taken_at": ["2019", "2020"]}}
    described = {"A": make(tmp_path / "a", columns=years)}
    queries = described["A"].images("test", "queries")
    command = ["jobs/evaluate.py", "--descriptors", "a", "--pca", "2", "--out", "my results"]
    words = shlex.split(request.next_command(command, described, queries, []))
    assert words == ["python", *command, "--slice", "year"]
    # Neither headings nor folders nor sources tell these queries apart.
    words = shlex.split(request.next_command(command, described, queries, ["year"]))
    assert words == ["python", "jobs/report.py", "--runs", "runs/made/best", "--test", "city"]


@pytest.mark.parametrize("text", ["", "0", "1,x", "1,,5", "-1", "1.5"])
def test_values_of_n_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--recall-at"):
        request.parse_recall_at(text)
    assert request.parse_recall_at("10, 1,5,1") == (1, 5, 10)
