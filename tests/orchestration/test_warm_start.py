"""Warm start: an earlier run's trials in a new study, as far as the spaces overlap."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from earlier_run import Played, optimizer, write_run
from optuna.trial import TrialState

from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.earlier import find_run, read_trials
from vgray.orchestration.plan import Plan, SweepOptions, describe_run, make_plan
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.spaces import load_space
from vgray.orchestration.warm_start import (
    add_earlier_trials,
    read_warm_start,
    recorded_warm_start,
)
from vgray.places import fingerprint, load_training_data
from vgray.recipe import Recipe

SMALL = {"image_size": [32, 32], "backbone.weights": "none", "batch.places": 4, "epochs": 9}
PLAYED: list[Played] = [
    (optimizer("sgd", 0.01, 1e-4, momentum=0.9), [10.0, 30.0, 20.0]),
    (optimizer("adam", 1e-4, 1e-3), [15.0, 20.0]),  # stopped early
    (optimizer("adamw", 1e-4, 1e-3), []),  # failed
    (optimizer("radam", 5e-4, 0.0), [11.0, 12.0, 13.0]),  # its weight decay has no logarithm
]


def _write_space(folder: Path, body: str, name: str = "own") -> str:
    path = folder / f"{name}.py"
    path.write_text(f"BASE = {{}}\nPUBLISHED = []\ndef suggest(trial):\n{body}\n")
    return str(path)


def test_trials_that_have_ended_are_taken_as_they_ended(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", "optimizers", PLAYED)
    warm = read_warm_start(run, load_space("optimizers"))
    assert (warm.name, warm.epochs, warm.fingerprint) == ("old", 3, "same")
    sgd, adam, radam = warm.trials
    assert (sgd.state, sgd.value) == (TrialState.COMPLETE, 30.0)
    assert sgd.params == {
        "optimizer.name": "sgd",
        "optimizer[sgd].lr": 0.01,
        "optimizer[sgd].momentum": 0.9,
        "optimizer[sgd].weight_decay": 1e-4,
    }
    assert adam.state == TrialState.PRUNED
    assert adam.intermediate_values == {1: 15.0, 2: 20.0}
    assert radam.params.keys() == {"optimizer.name", "optimizer[radam].lr"}
    assert [trial.user_attrs[studies.WARM_START] for trial in warm.trials] == [
        "old#0", "old#1", "old#3",
    ]  # fmt: skip


def test_only_what_the_new_space_could_draw_is_taken(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", "optimizers", PLAYED)
    same_choices = _write_space(
        tmp_path,
        """
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam", "adamw", "radam"])
    trial.suggest_float("optimizer.lr", 1e-5, 1e-3)
    trial.suggest_int("batch.places", 2, 8)""",
    )
    found = [trial.params for trial in read_warm_start(run, load_space(same_choices)).trials]
    assert found == [
        {"optimizer.name": "sgd"},  # its learning rate is beyond the new range
        {"optimizer.name": "adam", "optimizer[adam].lr": 1e-4},
        {"optimizer.name": "radam", "optimizer[radam].lr": 5e-4},
    ]
    fewer_choices = _write_space(
        tmp_path,
        """
    name = trial.suggest_categorical("optimizer.name", ["sgd", "adam"])
    trial.suggest_float("optimizer.lr", 1e-5, 1e-1, log=True)""",
        "fewer",
    )
    found = [trial.params for trial in read_warm_start(run, load_space(fewer_choices)).trials]
    assert found == [{"optimizer[sgd].lr": 0.01}, {"optimizer[adam].lr": 1e-4}]


def test_numbers_keep_their_kind_and_their_steps(tmp_path: Path) -> None:
    old = _write_space(
        tmp_path,
        """
    trial.suggest_int("batch.places", 2, 64)
    trial.suggest_float("optimizer.weight_decay", 0, 1)""",
        "old_space",
    )
    played = [
        ({"batch.places": places, "optimizer.weight_decay": decay}, [10.0, 20.0, 30.0])
        for places, decay in ((8, 0.5), (9, 0.25))
    ]
    run = write_run(tmp_path / "old", old, played)
    new = _write_space(
        tmp_path,
        """
    trial.suggest_int("batch.places", 4, 16, step=4)
    trial.suggest_float("optimizer.weight_decay", 0, 1, step=0.25)""",
    )
    found = [trial.params for trial in read_warm_start(run, load_space(new)).trials]
    assert found == [
        {"batch.places": 8, "optimizer.weight_decay": 0.5},
        {"optimizer.weight_decay": 0.25},
    ]
    other_kind = _write_space(
        tmp_path, '    trial.suggest_categorical("batch.places", [8, 9])', "kind"
    )
    with pytest.raises(UserError, match=r"old: its --space .* has nothing in common with"):
        read_warm_start(run, load_space(other_kind))


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", "optimizers", PLAYED[2:3])
    with pytest.raises(UserError, match="none of its trials has ended"):
        read_warm_start(run, load_space("optimizers"))
    with pytest.raises(UserError, match="is no run of vgray"):
        read_warm_start(RunFolder(tmp_path / "missing"), load_space("optimizers"))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "recipe.json").write_text((run.path / "recipe.json").read_text())
    with pytest.raises(UserError, match="none of its trials has ended"):
        read_warm_start(RunFolder(empty), load_space("optimizers"))
    assert not (empty / "study.journal").exists()


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "old", "optimizers", PLAYED)
    lines = run.journal.read_bytes().splitlines(keepends=True)
    run.journal.write_bytes(b"".join([*lines[:3], b"not json\n", *lines[3:]]))
    with pytest.raises(UserError, match=r"study\.journal: cannot be read"):
        read_trials(run.journal)


def test_a_run_is_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "runs" / "old", "optimizers", PLAYED[:1])
    assert find_run("old", tmp_path / "runs") == run
    assert find_run(str(run.path), tmp_path / "elsewhere") == run
    monkeypatch.chdir(tmp_path)
    assert find_run("runs/old", tmp_path / "elsewhere") == run
    assert find_run("runs/old", tmp_path / "runs") == run
    with pytest.raises(UserError, match=r"is no run of vgray, did you mean 'old'\?; runs there"):
        find_run("odl", tmp_path / "runs")
    with pytest.raises(UserError, match=r"nowhere/old: is no run of vgray"):
        find_run("nowhere/old", tmp_path / "runs")


def _plan(city: Path, earlier: RunFolder, **changes: Any) -> Plan:
    resumed = changes.pop("resumed", None)
    options = SweepOptions(
        space=changes.pop("space", "optimizers"),
        data=[str(city)],
        settings={**SMALL, **changes.pop("settings", {})},
        warm_start=str(earlier.path),
        **changes,
    )
    return make_plan(options, resumed=resumed)


@pytest.fixture()
def earlier(tiny_city: Path, tmp_path: Path) -> RunFolder:
    """A run on the tiny city whose second trial is the second published setting."""
    played = [PLAYED[0], (optimizer("sgd", 1e-2, 5e-4, momentum=0.9), [10.0] * 9)]
    data = fingerprint(load_training_data([str(tiny_city)]))
    return write_run(tmp_path / "old", "optimizers", played, base=SMALL, epochs=9, fingerprint=data)


def test_a_plan_tries_no_published_setting_again(tiny_city: Path, earlier: RunFolder) -> None:
    published = load_space("optimizers").published
    plan = _plan(tiny_city, earlier, num_trials=4, seed=7)
    assert plan.given == [published[0], published[2]]
    text = "2 trials of old inform the sampler (9 epochs there, 9 here)"
    assert plan.notes == [("warm start", text)]
    longer = _plan(tiny_city, earlier, num_trials=4, settings={"epochs": 10})
    assert longer.given == list(published[:2])  # which is another recipe
    known = _plan(tiny_city, earlier, num_trials=4, sampler="random")
    assert known.notes[0][1].startswith("what 2 trials of old tried is not repeated")


def test_a_grid_is_filled_up(tiny_city: Path, earlier: RunFolder, tmp_path: Path) -> None:
    space = _write_space(
        tmp_path,
        """
    trial.suggest_categorical("optimizer.name", ["sgd"])
    trial.suggest_categorical("optimizer.lr", [1e-2, 1e-3])
    trial.suggest_categorical("optimizer.weight_decay", [5e-4])""",
    )
    own = write_run(
        tmp_path / "grid",
        space,
        [(optimizer("sgd", 1e-2, 5e-4), [10.0] * 9)],
        base={**load_space("optimizers").base, **SMALL},
        epochs=9,
        fingerprint=json.loads((earlier.path / "recipe.json").read_text())["data"]["fingerprint"],
    )
    fixed = dict(load_space("optimizers").base)
    plan = _plan(tiny_city, own, space=space, sampler="grid", num_trials=0, settings=fixed)
    assert plan.given == [optimizer("sgd", 1e-3, 5e-4)]
    assert plan.options.num_trials == 1


def test_recalls_on_other_data_are_refused(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgray.orchestration.plan.open_store", None)
    run = write_run(tmp_path / "old", "optimizers", PLAYED)
    with pytest.raises(UserError, match=r"^--warm-start old: was run on other data than .*tiny"):
        _plan(tiny_city, run)


def test_trials_are_added_once_and_kept_when_the_earlier_run_is_gone(
    tiny_city: Path, earlier: RunFolder, tmp_path: Path
) -> None:
    plan = _plan(tiny_city, earlier, num_trials=4)
    new = RunFolder(tmp_path / "new")
    new.path.mkdir()
    described = json.loads((earlier.path / "recipe.json").read_text())
    described["options"] = {"space": "optimizers", "warm_start": str(earlier.path)}
    (new.path / "recipe.json").write_text(json.dumps(described))
    assert recorded_warm_start(new, plan.space) is None
    study = studies.open_study(new.journal)
    assert add_earlier_trials(study, plan) == 2
    assert add_earlier_trials(study, plan) == 2
    assert len(study.trials) == 2
    assert studies.latest_trials(study) == []
    studies.enqueue_given(study, plan.given, plan.space.names)
    (earlier.path / "recipe.json").unlink()
    resumed = _plan(tiny_city, earlier, num_trials=4, resumed=new)
    assert resumed.given == plan.given
    assert resumed.notes == plan.notes
    assert add_earlier_trials(study, resumed) == 2
    assert len(study.trials) == 4


def test_a_sweep_that_is_killed_while_it_adds_them_is_resumed_with_all(
    tiny_city: Path, earlier: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(tiny_city, earlier, num_trials=4)
    assert plan.warm_start is not None
    first, _ = plan.warm_start.trials
    new = RunFolder(tmp_path / "new")
    new.path.mkdir()
    (new.path / "recipe.json").write_text(json.dumps(describe_run(plan, ["tune"])))
    study = studies.open_study(new.journal)
    with monkeypatch.context() as killed:
        killed.setattr(study, "add_trials", lambda trials: study.add_trial(next(iter(trials))))
        add_earlier_trials(study, plan)
    assert [trial.params for trial in study.trials] == [first.params]
    resumed = _plan(tiny_city, earlier, num_trials=4, resumed=new)
    assert resumed.warm_start is not None
    assert resumed.warm_start.tried == plan.warm_start.tried
    assert (resumed.given, resumed.notes) == (plan.given, plan.notes)
    (earlier.path / "recipe.json").unlink()
    gone = _plan(tiny_city, earlier, num_trials=4, resumed=new)
    assert gone.given == plan.given
    assert gone.notes[0][1].startswith("1 trial of old informs the sampler")
    assert gone.notes[0][1].endswith("; 1 more are gone with that run")
    assert add_earlier_trials(study, resumed) == 2
    assert len(study.trials) == 2


def test_what_was_tried_outlasts_what_the_spaces_share(tmp_path: Path) -> None:
    """A trial without a shared parameter is none of the new study, but is not repeated."""
    played = [PLAYED[0], (optimizer("radam", 0.5, 0.0), [10.0, 20.0, 30.0])]
    run = write_run(tmp_path / "old", "optimizers", played)
    body = """
    if trial.suggest_categorical("optimizer.name", ["sgd", "radam"]) == "sgd":
        trial.suggest_float("optimizer.lr", 1e-3, 1e-1, log=True)"""
    warm = read_warm_start(run, load_space(_write_space(tmp_path, body)))
    assert (len(warm.trials), len(warm.tried)) == (1, 2)
    journal = tmp_path / "new"
    journal.mkdir()
    new = RunFolder(journal)
    (journal / "recipe.json").write_text(json.dumps({"options": {"warm_start": str(run.path)}}))
    study = studies.open_study(new.journal)
    add_earlier_trials(study, cast(Plan, SimpleNamespace(warm_start=warm)))
    recorded = recorded_warm_start(new, load_space("optimizers"))
    assert recorded is not None
    assert (len(recorded.trials), recorded.tried) == (1, warm.tried)
    assert recorded.fixed == warm.fixed


def test_published_and_drawn_trials_have_the_same_parameters(tmp_path: Path) -> None:
    space = load_space("lr_weight_decay")
    drawn = optuna.create_study().ask()
    space.draw(drawn, {})
    played = [(setting, [10.0, 20.0, 30.0]) for setting in space.published]
    run = write_run(tmp_path / "old", "lr_weight_decay", played)
    warm = read_warm_start(run, space)
    names = {"optimizer[adamw].lr", "optimizer[adamw].weight_decay"}
    assert len(warm.trials) == len(played) > 5
    assert [set(trial.params) for trial in warm.trials] == [names] * len(played)
    assert set(drawn.params) == names
    # And in a space that draws the optimizer too.
    wider = read_warm_start(run, load_space("optimizers")).trials
    assert len(wider) == len(played)
    assert set().union(*(trial.params for trial in wider)) == names


def test_what_was_fixed_otherwise_is_said(tmp_path: Path) -> None:
    there = {"backbone.name": "vgg16", "image_size": [32, 32], "aggregator.name": "avg"}
    run = write_run(tmp_path / "old", "optimizers", PLAYED[:2], base=there)
    warm = read_warm_start(run, load_space("optimizers"))
    base = Recipe().with_settings({**load_space("optimizers").base, "epochs": 9})
    varied = {"optimizer.name", "optimizer.lr", "optimizer.weight_decay", "optimizer.momentum"}
    assert warm.describe("tpe", base, varied) == (
        "2 trials of old inform the sampler (3 epochs there, 9 here); there backbone.name was "
        "vgg16, aggregator.name avg, image_size 32x32"
    )
    assert "aggregator" not in warm.describe("tpe", base, varied | {"aggregator.name"})
    same = base.with_settings({**there, "backbone.crop_last": 1})
    assert warm.describe("tpe", same, varied).endswith("(3 epochs there, 9 here)")
    many = same.with_settings({"batch.places": 4, "batch.min_distance_m": 9.0})
    many = many.with_settings({"loss.alpha": 9.0, "loss.beta": 9.0, "loss.base": 0.5})
    assert warm.describe("tpe", many, varied).endswith(" and 1 more")


def test_other_choices_of_the_same_are_said(tmp_path: Path) -> None:
    body = '    trial.suggest_categorical("batch.places", [{}])'
    old = _write_space(tmp_path, body.format("4, 8"), "old_space")
    new = _write_space(tmp_path, body.format("8, 16"), "new_space")
    run = write_run(tmp_path / "old", old, [({"batch.places": 8}, [10.0, 20.0, 30.0])])
    with pytest.raises(UserError, match=r"draws batch\.places from other choices than .*new_space"):
        read_warm_start(run, load_space(new))


def test_the_sampler_learns_from_them(tmp_path: Path) -> None:
    played = [
        (optimizer("adam", 10 ** (-5 + number / 10), 1e-4), [float(number)] * 3)
        for number in range(20)
    ]
    run = write_run(tmp_path / "old", "optimizers", played)
    space = load_space("optimizers")
    study = optuna.create_study(direction="maximize")
    study.add_trials(read_warm_start(run, space).trials)
    study.sampler = optuna.samplers.TPESampler(seed=0)
    drawn = [space.draw(study.ask(), {"optimizer.name": "adam"}) for _ in range(10)]
    assert sum(settings["optimizer.lr"] > 1e-4 for settings in drawn) >= 8


def test_a_warm_started_run_passes_on_what_it_took(tmp_path: Path) -> None:
    attributes = {0: {studies.WARM_START: "first#7"}, 1: {studies.FINALIST_OF: 0}}
    played = [PLAYED[0], PLAYED[3], PLAYED[1]]
    run = write_run(tmp_path / "second", "optimizers", played, attributes=attributes)
    warm = read_warm_start(run, load_space("optimizers"))
    labels = [trial.user_attrs[studies.WARM_START] for trial in warm.trials]
    assert labels == ["first#7", "second#2"]
