"""Aggregators against the reference implementation's numbers and against plain loops."""

import copy

import pytest
import torch
from torch import Tensor

from vgray.models import AGGREGATORS
from vgray.models.aggregators import GeM


def wave(*shape: int, f: float) -> Tensor:
    """A closed-form input: sin(f * i) in float64."""
    n = int(torch.tensor(shape).prod())
    return torch.sin(f * torch.arange(n, dtype=torch.float64)).reshape(shape)


def test_gem_agrees_with_gsv_cities() -> None:
    # Computed once with the GeM of GSV-Cities on the same input.
    expected = [0.37010263, 0.37010243, 0.34336977, 0.328838, 0.37009912, 0.37010044]
    out = GeM().double()(wave(2, 8, 5, 6, f=0.37)).flatten()
    assert out[:6].tolist() == pytest.approx(expected, abs=1e-6)
    assert out.sum().item() == pytest.approx(5.64640203, abs=1e-6)


@pytest.mark.parametrize("p", [1.0, 3.0, 4.5])
def test_gem_equals_a_plain_loop(p: float) -> None:
    x = torch.randn(3, 4, 5, 2, dtype=torch.float64)
    pooled = torch.empty(3, 4, dtype=torch.float64)
    for b in range(3):
        for c in range(4):
            values = [max(v, 1e-6) ** p for v in x[b, c].flatten().tolist()]
            pooled[b, c] = (sum(values) / len(values)) ** (1 / p)
    expected = pooled / pooled.norm(dim=1, keepdim=True)
    torch.testing.assert_close(GeM(p=p).double()(x), expected)


def test_every_aggregator_on_any_map_type_and_batch() -> None:
    seen = 0
    for name, cls in AGGREGATORS.items():
        for dtype in (torch.float32, torch.bfloat16):
            for batch, height, width in ((1, 1, 1), (3, 7, 4), (0, 4, 4)):
                aggregator = cls()
                x = torch.randn(batch, 6, height, width, dtype=dtype).abs().requires_grad_()
                out = aggregator(x)
                assert out.shape == (batch, 6), name
                assert out.dtype == torch.float32
                torch.testing.assert_close(out.norm(dim=1), torch.ones(batch))
                seen += 1
    assert seen == 12


@pytest.mark.parametrize("p", [3.0, 40.0, 100.0])
@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_gem_gradients_are_finite(p: float, value: float) -> None:
    gem = GeM(p=p)
    x = torch.full((2, 4, 3, 3), value, requires_grad=True)
    gem(x)[:, 0].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(gem.p.grad).all()


def test_gem_is_computed_in_float32_inside_autocast() -> None:
    gem = GeM()
    x = torch.rand(2, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        half = gem(x.bfloat16())
    torch.testing.assert_close(half, gem(x.bfloat16().float()))


def test_state_and_copies() -> None:
    assert list(GeM().state_dict()) == ["p"]
    assert GeM(p=5).p.item() == 5
    assert copy.deepcopy(GeM(p=5)).p.item() == 5
