"""Schedules: the rate of each step, against formulas and the published factors."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from vgray import UserError
from vgray.training import SCHEDULES
from vgray.training.schedules import Schedule


def build(
    name: str, *, epochs: int = 10, steps: int = 4, lr: float = 1.0, **settings: Any
) -> tuple[Schedule, torch.optim.Optimizer]:
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)]},
        {"params": [torch.zeros(1, requires_grad=True)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=lr)
    schedule = SCHEDULES[name](optimizer, epochs=epochs, steps_per_epoch=steps, **settings)
    return schedule, optimizer


def rates(
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int = 10,
    steps: int = 4,
    recalls: Sequence[float] | None = None,
) -> list[list[float]]:
    """Return the rate at each step of each epoch."""
    found = []
    for epoch in range(epochs):
        found.append([])
        for _ in range(steps):
            first, second = (group["lr"] for group in optimizer.param_groups)
            assert first == second
            found[-1].append(first)
            optimizer.step()
            schedule.end_step()
        schedule.end_epoch(recalls[epoch] if recalls else float(epoch))
    return found


def flat(found: list[list[float]]) -> list[float]:
    return [rate for epoch in found for rate in epoch]


def per_epoch(values: Sequence[float], steps: int = 4) -> list[list[float]]:
    return [[pytest.approx(value, abs=5e-4)] * steps for value in values]


def test_periodic_cosine_has_the_published_factors() -> None:
    # torch's CosineAnnealingLR with T_max 5 over 10 epochs, as the studies ran it.
    published = [1, 0.905, 0.655, 0.345, 0.095, 0, 0.095, 0.345, 0.655, 0.905]
    assert rates(*build("cosine", t_max=5)) == per_epoch(published)


def test_cosine_over_all_epochs() -> None:
    expected = [(1 + math.cos(math.pi * epoch / 10)) / 2 for epoch in range(10)]
    assert rates(*build("cosine")) == per_epoch(expected)
    assert expected[-1] == pytest.approx(0.024, abs=1e-3)


def test_cosine_per_step_and_its_floor() -> None:
    found = flat(rates(*build("cosine", per="step", lr=2.0, eta_min=0.5)))
    expected = [0.5 + 1.5 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    assert found == pytest.approx(expected)


def test_epochs_with_a_batch_more_or_less_end_at_the_same_rates() -> None:
    even = rates(*build("cosine", per="step"))
    schedule, optimizer = build("cosine", per="step")
    uneven = [rates(schedule, optimizer, epochs=1, steps=4 + i % 3 - 1)[0] for i in range(10)]
    assert [epoch[0] for epoch in uneven] == [epoch[0] for epoch in even]
    assert min(flat(uneven)) >= 0


def test_multistep_drops_after_its_milestones() -> None:
    found = rates(*build("multistep", milestones=(2, 5), gamma=0.3))
    assert found == per_epoch([1, 1, 0.3, 0.3, 0.3] + 5 * [0.09])


def test_plateau_waits_for_recall_to_rise() -> None:
    recalls = [10, 20, 20, 20, 20, 30, 29, 29, 31, 31]
    found = rates(*build("plateau", factor=0.1, patience=1), recalls=recalls)
    # Epochs 3 and 4 (from 1) are the second without a rise: the drop comes with epoch 5.
    assert found == per_epoch([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_is_linear_and_ends_at_the_rate() -> None:
    found = flat(rates(*build("none", warmup_steps=6)))
    assert found[:7] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])
    assert found[6:] == [1.0] * 34


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("none", {}),
        ("cosine", {"t_max": 5}),
        ("cosine", {"per": "step"}),
        ("multistep", {"milestones": (1, 2), "gamma": 0.1}),
        ("plateau", {"patience": 0}),
    ],
)
def test_warm_up_is_a_factor_on_any_schedule(name: str, settings: dict) -> None:
    recalls = [10.0] * 10
    plain = flat(rates(*build(name, **settings), recalls=recalls))
    warmed = flat(rates(*build(name, warmup_steps=12, **settings), recalls=recalls))
    expected = [rate * min(1, (step + 1) / 12) for step, rate in enumerate(plain)]
    # A drop inside the warm-up is still there when it ends.
    assert warmed == pytest.approx(expected)


@pytest.mark.parametrize("stop", [1, 3, 7])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("none", {}),
        ("cosine", {"t_max": 3}),
        ("cosine", {"per": "step"}),
        ("multistep", {"milestones": (2, 4)}),
        ("plateau", {"patience": 1}),
    ],
)
def test_state_goes_on_where_it_was(tmp_path: Any, name: str, settings: dict, stop: int) -> None:
    recalls = [5.0, 9, 9, 9, 9, 12, 12, 12, 12, 12]
    whole = rates(*build(name, warmup_steps=10, **settings), recalls=recalls)
    schedule, optimizer = build(name, warmup_steps=10, **settings)
    first = rates(schedule, optimizer, epochs=stop, recalls=recalls)
    torch.save(schedule.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    # The number of steps of the first epoch is in the state, so another one does no harm.
    schedule, optimizer = build(name, warmup_steps=10, steps=5, **settings)
    schedule.load_state_dict(state)
    rest = rates(schedule, optimizer, epochs=10 - stop, recalls=recalls[stop:])
    assert first + rest == whole


def test_no_warnings_from_torch() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in SCHEDULES:
            rates(*build(name))


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_in_epochs_is_that_in_steps(name: str) -> None:
    in_epochs = rates(*build(name, warmup_epochs=1.5))
    assert in_epochs == rates(*build(name, warmup_steps=6))
    assert in_epochs[0] == [pytest.approx((i + 1) / 6) for i in range(4)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warm_up_as_long_as_the_training_is_refused(name: str) -> None:
    build(name, warmup_steps=39)
    with pytest.raises(UserError, match=r"warmup_steps: found 40, but training has 40 steps \(10 "):
        build(name, warmup_steps=40)
