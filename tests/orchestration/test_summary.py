"""What a dry run shows: every branch of a space, what it costs, what is left out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import search_spaces.image_sizes
import vgray.console
from vgray.errors import UserError
from vgray.orchestration import cost
from vgray.orchestration.epoch_images import EpochImages
from vgray.orchestration.plan import Plan, SweepOptions, make_plan
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.summary import show_plan
from vgray.orchestration.sweep import RunOptions
from vgray.training.speed import Speed

SMALL = {"backbone.weights": "none", "batch.places": 4, "epochs": 9}


def _plan(city: Path, space: str, **changes: Any) -> Plan:
    presets = {**SMALL, "image_size": [64, 64]}
    return make_plan(SweepOptions(space=space, data=str(city), presets=presets, settings=changes))


def _with_images(plan: Plan, trained: int) -> Plan:
    """Return the plan with so many images in an epoch of every branch, and none to validate on."""
    images = [EpochImages(1, trained, 0)] * len(plan.branches)
    return replace(plan, num_validation_images=0, branch_images=images)


def _shown(plan: Plan, monkeypatch: pytest.MonkeyPatch, *, width: int = 120) -> list[str]:
    console = Console(width=width, record=True)
    monkeypatch.setattr(vgray.console, "console", console)
    show_plan(plan, RunFolder(Path("run")), RunOptions(), console, dry_run=True)
    return console.export_text().splitlines()


def _row(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


@pytest.fixture()
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_spaces.image_sizes, "SIZES", ["32x32", "32x48"])
    monkeypatch.setattr(search_spaces.image_sizes, "PUBLISHED", [{"image_size": "32x48"}])


@pytest.mark.parametrize(
    ("space", "rows"),
    [
        (
            "aggregators",
            {
                "aggregator mixvpr": "1  out_channels {64, 128, 256, 512}, mix_depth 1..8",
                "aggregator gem": "1  p 1..8",
                "aggregator netvlad": "1  clusters_num {16, 32, 64, 128}",
                "aggregator boq": "0  proj_channels {128, 256, 512}, num_queries {16, 32, 64}",
                "aggregator seqpool": "0",
            },
        ),
        (
            "backbones",
            {
                # Of those that are tried, which are at most half of the trials.
                "backbone resnet18": "7  crop_last 0..2, train_from 0..3",
                "backbone vgg16": "0  train_from 0..4",
                "backbone vit_b_16, aggregator cls": "0  train_from 7..12",
                "left out:  backbone dinov2_vitb14 (2 published)": "needs multiples of 14",
            },
        ),
        ("attention", {"attention cbam": "1  reduction {4, 8, 16, 32}, kernel_size {3, 5, 7}"}),
        ("image_sizes", {"image_size 32x48": "1", "image_size 32x32": "0"}),
        ("optimizers", {"optimizer sgd": "1  lr 0.001..0.1 log, momentum 0.8..0.99"}),
    ],
)
def test_every_branch_is_shown(
    space: str,
    rows: dict[str, str],
    tiny_city: Path,
    small_sizes: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = iter(range(1, 100))

    def measured(recipe: Any, *, threads: int) -> Speed:
        return Speed(100.0 * next(speeds), 1000.0)

    monkeypatch.setattr(cost, "BUDGET_S", 0.0)
    monkeypatch.setattr(cost, "measure_speed", measured)
    plan = _plan(tiny_city, space)
    lines = _shown(plan, monkeypatch, width=160)
    for start, text in rows.items():
        assert text in _row(lines, start)
    for branch in plan.branches:
        assert _row(lines, f"{branch} ")
    assert "100 images/s each in training" in _row(lines, "cost:")
    assert any(line.split()[:2] == ["0", "published"] for line in lines)


def test_branches_are_measured_and_a_failure_is_said_in_its_row(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(recipe: Any, *, threads: int) -> Speed:
        if recipe.attention.name == "soa":
            raise RuntimeError("out of memory")
        return Speed(200.0 if recipe.attention.name == "none" else 100.0, 1000.0)

    monkeypatch.setattr(cost, "measure_speed", measured)
    plan = _plan(tiny_city, "attention")
    lines = _shown(plan, monkeypatch)
    assert _row(lines, "attention none").split()[:4] == ["attention", "none", "1", "200"]
    assert _row(lines, "attention cbam").split()[:4] == ["attention", "cbam", "1", "100"]
    assert "–" in _row(lines, "attention soa")
    assert "not measured: RuntimeError" in _row(lines, "attention soa")
    assert "100 to 200 images/s each in training and 1,000 in validation" in _row(lines, "cost:")
    # Four of them were measured: 200, 100, 100 and 100 images/s; the fifth counts as nothing.
    assert _row(lines, "cost:").split()[1:3] == ["at", "least"]
    speeds = cost.measure_speeds(plan, threads=1)
    plan = _with_images(plan, 1000)
    assert speeds.seconds_per_epoch(plan) == pytest.approx((5 + 10 + 10 + 10) / 5)


def test_composed_spaces_multiply_what_they_cost(
    tiny_city: Path, small_sizes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(recipe: Any, *, threads: int) -> Speed:
        pixels = recipe.image_size[0] * recipe.image_size[1]
        slow = 2 if recipe.attention.name != "none" else 1
        return Speed(1e5 / pixels / slow, 1e9)

    monkeypatch.setattr(cost, "measure_speed", measured)
    plan = _plan(tiny_city, "attention+image_sizes+optimizers")
    speeds = cost.measure_speeds(plan, threads=1)
    mean_pixels = (32 * 32 + 32 * 48) / 2
    assert speeds.seconds_per_epoch(_with_images(plan, 1)) == pytest.approx(
        9 / 5 * mean_pixels / 1e5, rel=1e-3
    )


def test_a_long_table_is_cut(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "measure_speed", lambda recipe, *, threads: Speed(100.0, 1000.0))
    monkeypatch.setattr("vgray.orchestration.summary.SHOWN_BRANCHES", 2)
    lines = _shown(_plan(tiny_city, "attention"), monkeypatch)
    assert _row(lines, "attention cbam")
    assert not [line for line in lines if line.startswith("attention non_local")]
    assert "... and 3 more branches" in lines


def test_one_branch_of_each_backbone_is_measured_first(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(recipe: Any, *, threads: int) -> Speed:
        asked.append(recipe.backbone.name)
        return Speed(100.0, 1000.0)

    plan = _plan(tiny_city, "backbones")
    names = list(dict.fromkeys(branch.choices["backbone.name"] for branch in plan.branches))
    monkeypatch.setattr(cost, "measure_speed", measured)
    monkeypatch.setattr(cost, "monotonic", lambda: cost.BUDGET_S * (len(asked) >= len(names)))
    lines = _shown(plan, monkeypatch)
    assert asked == names
    assert len(plan.branches) - len(names) == 1  # vit_b_16 with its token alone
    assert "at least" in _row(lines, "cost:")
    assert "without 1 of 14 branches for lack of time" in _row(lines, "cost:")


def test_without_any_measurement_the_first_reason_is_said(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(recipe: Any, *, threads: int) -> Speed:
        raise UserError(f"{recipe.attention.name} cannot be built")

    monkeypatch.setattr(cost, "measure_speed", measured)
    with pytest.raises(UserError, match="no branch can be measured: none cannot be built"):
        cost.measure_speeds(_plan(tiny_city, "attention"), threads=1)


def test_real_networks_are_measured(tiny_city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(tiny_city, "attention", image_size=32)
    speeds = cost.measure_speeds(plan, threads=1)
    assert len(speeds.branches) == 5
    assert all(isinstance(speed, Speed) and speed.training > 0 for speed in speeds.branches)


def test_finalists_are_announced_and_paid_for(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "measure_speed", lambda recipe, *, threads: Speed(100.0, 1000.0))
    options = SweepOptions(
        space="attention",
        data=(str(tiny_city),),
        presets={**SMALL, "image_size": [64, 64]},
        num_trials=6,
        scheduler="none",
        finalists=2,
        repeats=3,
    )
    lines = _shown(make_plan(options), monkeypatch)
    expected = "finalists: the best 2 settings, trained 3 times more, with other seeds"
    assert _row(lines, "finalists:") == expected
    assert "about 108 of at most 108" in _row(lines, "epochs:")  # 9 epochs x (6 + 2 x 3)


def test_the_longest_title_is_kept_apart_from_its_text(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "measure_speed", lambda recipe, *, threads: Speed(100.0, 1000.0))
    plan = replace(_plan(tiny_city, "attention"), notes=[("warm start", "4 trials")])
    assert "warm start: 4 trials" in _shown(plan, monkeypatch)
