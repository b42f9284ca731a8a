"""What a report is to be of: data sets and their splits, and what does not fit."""

import json
import shutil
from pathlib import Path

import pytest
from made_runs import trial, write_checkpoint, write_run

from vgray.errors import UserError
from vgray.places import fingerprint, load_manifest
from vgray.places.combining import load_training_data
from vgray.recipe import Recipe
from vgray.reports.plan import Options, Plan, make_plan


@pytest.fixture(scope="module")
def now(tiny_city: Path) -> str:
    """The fingerprint of the city's training data."""
    return fingerprint(load_training_data([tiny_city]))


@pytest.fixture
def run(tmp_path: Path, tiny_city: Path, now: str) -> Path:
    trials = [trial(0, 9.0), trial(1, 8.0)]
    return write_run(tmp_path / "A", trials, data=[str(tiny_city)], fingerprint=now)


def _plan(run: Path, *tests: Path, **more: object) -> Plan:
    return make_plan(Options([run], [str(test) for test in tests], **more))  # type: ignore[arg-type]


def test_the_test_split_is_taken_and_validation_is_what_the_run_had(run, tiny_city) -> None:
    plan = _plan(run, tiny_city)
    (name,) = plan.tests
    assert name == tiny_city.name
    assert plan.tests[name].split == "test"
    assert plan.validation is not None
    assert (plan.validation.data.uri, plan.validation.split) == (str(tiny_city), "val")
    assert plan.searches
    assert plan.same_validation
    assert plan.chose_models == plan.trained_models == frozenset()
    assert plan.notes == []
    assert (plan.recall_at, plan.distance_m) == ([1, 5, 10, 20, 25], 25.0)


def test_a_test_set_that_chose_the_models_is_known_for_one_even_as_a_copy(
    run, tiny_city, tmp_path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_city / "images" / "val", copy / "val")
    assert _plan(run, tiny_city, split="val").chose_models == {tiny_city.name}
    plan = _plan(run, copy)
    assert plan.tests["copy"].split == "val"
    assert plan.validation is not None
    assert plan.validation.is_same(plan.tests["copy"])
    assert plan.chose_models == {"copy"}


def test_a_test_set_that_models_were_trained_on_is_known_for_one_even_as_a_copy(
    run, tiny_city, tmp_path
) -> None:
    plan = _plan(run, tiny_city, split="train")
    assert (plan.trained_models, plan.chose_models) == ({tiny_city.name}, frozenset())
    # What is a query there is an image of the database here.
    (tmp_path / "copy/test").mkdir(parents=True)
    for here, there in (("database", "queries"), ("queries", "database")):
        shutil.copytree(tiny_city / "images/train" / there, tmp_path / "copy/test" / here)
    assert _plan(run, tmp_path / "copy").trained_models == {"copy"}


def test_the_runs_say_how_many_images_they_had(run, tiny_city) -> None:
    (made,) = _plan(run, tiny_city).runs
    pairs = load_manifest(tiny_city).group_by(["split", "role"]).aggregate([([], "count_all")])
    counts = {(row["split"], row["role"]): row["count_all"] for row in pairs.to_pylist()}
    assert made.source.num_train == counts["train", "database"] + counts["train", "queries"]
    assert made.source.validation == {role: counts["val", role] for role in ("database", "queries")}


def test_data_that_have_changed_since_the_run_are_noted(tmp_path, tiny_city, now) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city)
    run = write_run(tmp_path / "A", [trial(0, 9.0)], data=[str(city)], fingerprint=now)
    assert not any("have changed" in note for note in _plan(run, tiny_city).notes)
    next((city / "images/val/queries").iterdir()).unlink()
    (note,) = (note for note in _plan(run, tiny_city).notes if "have changed" in note)
    assert note.startswith(f"The data of A have changed since it was trained, in {city}: the ")
    assert f"fingerprint was {now[:12]} and is " in note


def test_test_data_without_queries_are_refused(run, tiny_city, tmp_path) -> None:
    shutil.copytree(tiny_city / "images" / "test" / "database", tmp_path / "c/test/database")
    with pytest.raises(UserError, match=r"--test .*c: nothing to test on.*it has test/database"):
        _plan(run, tmp_path / "c")
    with pytest.raises(UserError, match="no split train has a database and queries") as refused:
        _plan(run, tmp_path / "c", split="train")
    assert "\n" not in str(refused.value)


def test_a_test_set_is_given_once(run, tiny_city, tmp_path) -> None:
    with pytest.raises(UserError, match=r"--test: .* is given twice"):
        _plan(run, tiny_city, tiny_city)
    shutil.copytree(tiny_city, tmp_path / "copy")
    with pytest.raises(UserError, match=r"copy: given twice, as "):
        _plan(run, tiny_city, tmp_path / "copy")


def test_missing_test_data_are_said(run, tmp_path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        _plan(run, tmp_path / "nowhere")


def test_runs_validated_on_other_images_are_not_searched(run, tiny_city, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_city, other)
    next((other / "images/val/queries").iterdir()).unlink()
    second = write_run(
        tmp_path / "B", [trial(0, 7.0)], data=[str(other)],
        fingerprint=fingerprint(load_training_data([other])),
    )  # fmt: skip
    plan = make_plan(Options([run, second], [str(tiny_city)]))
    assert plan.validation is None
    assert not plan.same_validation
    assert not plan.searches
    assert "A was validated on" in plan.notes[0]
    assert "B on" in plan.notes[0]
    assert "No ensemble was searched for" in plan.notes[1]


def test_data_that_are_gone_are_noted(run, tmp_path, tiny_city) -> None:
    gone = write_run(tmp_path / "B", [trial(0, 9.0), trial(1, 8.0)], data=["/nowhere"])
    plan = _plan(gone, tiny_city)
    assert plan.validation is None
    assert plan.same_validation  # of the only run
    assert "What B was trained and validated on cannot be read" in plan.notes[0]
    assert plan.runs[0].source.num_train is None
    both = make_plan(Options([run, gone], [str(tiny_city)]))
    assert both.validation is not None
    assert not both.same_validation


def test_a_checkpoint_joins_what_the_runs_were_validated_on(run, tiny_city, tmp_path) -> None:
    official = write_checkpoint(tmp_path / "official", Recipe(), 70.0)
    plan = make_plan(Options([run, official], [str(tiny_city)]))
    assert plan.validation is not None
    assert [each.name for each in plan.candidates] == ["A#0", "A#1", "official"]
    assert "official is a checkpoint by itself" in plan.notes[0]
    assert plan.same_validation


def test_recipes_of_two_distances_need_one(run, tiny_city, tmp_path) -> None:
    second = write_run(
        tmp_path / "B", [trial(0, 7.0)], data=[str(tiny_city)],
        settings={"evaluation.distance_m": 10.0},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"within 10 and 25 m; .*--distance"):
        make_plan(Options([run, second], [str(tiny_city)]))
    assert make_plan(Options([run, second], [str(tiny_city)], distance_m=5.0)).distance_m == 5.0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pca": 500}, r"--pca 500: .* has \d+ training images"),
        ({"pca": 16, "search": False}, "--pca 16: reduces ensembles, and there is none"),
        ({"budget": 64, "search": False}, "--budget: .*--no-search"),
        ({"weights": (1.0,), "search": False}, "--weights: .*--no-search"),
        ({"budget": 127}, r"--budget 127: no model fits; the smallest, A#0, has 128 dimensions"),
        ({"baseline": "A#9"}, "--baseline A#9: no such model"),
        ({"baseline": "search", "search": False}, "--baseline search: no such model"),
        ({"ensembles": ("search=A#0,A#1",)}, "the name search is taken"),
        ({"weights": (0.0,)}, "--weights"),
        ({"recall_at": (0, 1)}, "--recall-at"),
        ({"distance_m": -1.0}, "--distance"),
        ({"ensembles": ("both=A#0,A#9",)}, "A#9: no such model"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_done(run, tiny_city, more, message) -> None:
    with pytest.raises(UserError, match=message) as refused:
        _plan(run, tiny_city, **more)
    assert "\n" not in str(refused.value)


def test_the_baseline_may_be_any_row(run, tiny_city) -> None:
    more = {"ensembles": ("both=A#0,A#1",), "pca": 16}
    wanted = ["A#1", "both", "both by similarity", "both PCA 16", "search", "search PCA 16"]
    assert [_plan(run, tiny_city, baseline=each, **more).options.baseline for each in wanted] == (
        wanted
    )


def test_what_the_search_tries_may_be_given(run, tiny_city) -> None:
    assert _plan(run, tiny_city).weights == (0.5, 1.0, 2.0)
    plan = _plan(run, tiny_city, weights=[3.0], budget=128)
    assert (plan.weights, plan.searches) == ((3.0,), True)


def test_the_pca_is_fitted_on_what_the_run_was_trained_on(run, tiny_city) -> None:
    described = json.loads((run / "recipe.json").read_text())
    plan = _plan(run, tiny_city, pca=16)
    assert plan.training is not None
    assert plan.training.uri == described["options"]["data"][0]
