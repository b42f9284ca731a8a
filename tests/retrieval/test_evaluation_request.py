"""What an evaluation is asked for: which folders, split, distance and N, and what comes next."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
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
    with pytest.raises(UserError, match=r"\(A 25 m, B 10 m\); give --distance"):
        request.settle_distance(described, None)
    assert request.settle_distance(described, 40.0) == 40


def test_the_next_command_is_the_report_of_the_runs(tmp_path: Path) -> None:
    described = {}
    for name in "AB":
        run = tmp_path / "runs" / f"run {name}"
        (run / "best").mkdir(parents=True)
        (run / "trials.parquet").write_bytes(b"")
        described[name] = make(tmp_path / name, model=str(run / "best"), data="my city")
    words = shlex.split(request.next_command(described, []))
    runs = [str(tmp_path / "runs" / f"run {name}") for name in "AB"]
    assert words == ["python", "jobs/report.py", "--runs", *runs, "--test", "my city"]


@pytest.mark.parametrize("text", ["", "0", "1,x", "1,,5", "-1", "1.5"])
def test_values_of_n_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--recall-at"):
        request.parse_recall_at(text)
    assert request.parse_recall_at("10, 1,5,1") == (1, 5, 10)
