"""What every aggregator does: any batch, map and type, finite gradients, export."""

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from vgray.models.aggregators import (
    AGGREGATORS,
    CRN,
    RMAC,
    SALAD,
    Aggregator,
    Average,
    BoQ,
    ClassToken,
    ConvAP,
    CosPlace,
    GeM,
    Maximum,
    MixVPR,
    NetVLAD,
    SequencePool,
)

CHANNELS = 6
HEIGHT, WIDTH = 3, 5

# What each is built with, for a map of CHANNELS x height x width, and its dimension then.
BUILD: dict[str, tuple[Callable[[int, int], Aggregator], int]] = {
    "avg": (lambda h, w: Average(), 6),
    "max": (lambda h, w: Maximum(), 6),
    "rmac": (lambda h, w: RMAC(), 6),
    "gem": (lambda h, w: GeM(), 6),
    "netvlad": (lambda h, w: NetVLAD(3, CHANNELS), 18),
    "crn": (lambda h, w: CRN(3, CHANNELS), 18),
    "cosplace": (lambda h, w: CosPlace(CHANNELS, 4), 4),
    "convap": (lambda h, w: ConvAP(CHANNELS, 4), 16),
    "mixvpr": (lambda h, w: MixVPR(CHANNELS, h, w, 4, mix_depth=2, out_rows=3), 12),
    "boq": (lambda h, w: BoQ(CHANNELS, 64, 5, 2, 3), 192),
    "salad": (lambda h, w: SALAD(CHANNELS, 3, 4, 5), 17),
    "cls": (lambda h, w: ClassToken(), 6),
    "seqpool": (lambda h, w: SequencePool(CHANNELS), 6),
}
NAMES = sorted(AGGREGATORS)
WITH_TOKEN = {"salad", "cls"}


def build(name: str, height: int = HEIGHT, width: int = WIDTH) -> Aggregator:
    torch.manual_seed(0)
    return BUILD[name][0](height, width)


def inputs(name: str, features: Tensor) -> Any:
    """What the aggregator is called with; the token is a location of the map."""
    return (features, features[:, :, 0, 0]) if name in WITH_TOKEN else features


def features(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_the_names() -> None:
    assert set(NAMES) == set(BUILD)
    assert len(NAMES) == 13
    assert {name for name, cls in AGGREGATORS.items() if cls.needs_token} == WITH_TOKEN
    for name, cls in AGGREGATORS.items():
        assert type(build(name)) is cls


def test_any_batch_map_and_type() -> None:
    seen = 0
    maps = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (7, 4), (20, 20))
    for name, dtype, batch, (height, width) in product(
        NAMES, (torch.float32, torch.bfloat16, torch.float64), (0, 1, 3), maps
    ):
        if name == "salad" and height * width <= 3:
            continue
        aggregator = build(name, height, width)
        if dtype == torch.float64:
            aggregator.double()
        x = features(batch, CHANNELS, height, width, dtype=dtype).abs()
        out = aggregator(inputs(name, x))
        assert out.shape == (batch, BUILD[name][1]), name
        assert out.dtype == (torch.float64 if dtype == torch.float64 else torch.float32), name
        torch.testing.assert_close(out.norm(dim=1), torch.ones(batch, dtype=out.dtype))
        seen += 1
    assert seen == (13 * len(maps) - 3) * 9


@pytest.mark.parametrize("name", NAMES)
def test_images_do_not_depend_on_their_batch_or_its_layout(name: str) -> None:
    aggregator = build(name).double().eval()
    x = features(4, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64)
    expected = aggregator(inputs(name, x))
    for i in range(4):
        torch.testing.assert_close(aggregator(inputs(name, x[i : i + 1])), expected[i : i + 1])
    wider = features(4, 2 * CHANNELS, HEIGHT, 2 * WIDTH, dtype=torch.float64)
    wider[:, ::2, :, ::2] = x
    for layout in (x.contiguous(memory_format=torch.channels_last), wider[:, ::2, :, ::2]):
        assert not layout.is_contiguous()
        torch.testing.assert_close(aggregator(inputs(name, layout)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_inside_autocast(name: str) -> None:
    aggregator = build(name).eval()
    x = features(3, CHANNELS, HEIGHT, WIDTH).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = aggregator(inputs(name, x))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.norm(dim=1), torch.ones(3))
    exact = aggregator(inputs(name, x.float()))
    # Layers of learned projections are products in bfloat16; the rest is float32.
    projected = name in ("cosplace", "convap", "mixvpr", "boq", "salad")
    torch.testing.assert_close(out, exact, atol=2e-2 if projected else 1e-6, rtol=0)
    out[:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("value", ["negative", "zero", "one location zero", "large", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite(name: str, value: str) -> None:
    aggregator = build(name)
    x = features(2, CHANNELS, HEIGHT, WIDTH)
    if value == "negative":
        x = -x.abs()
    elif value == "zero":
        x = torch.zeros_like(x)
    elif value == "one location zero":
        x[:, :, 0, 0] = 0
    else:
        x = x * (1e4 if value == "large" else 1e-4)
    x.requires_grad_()
    weights = features(2, BUILD[name][1])
    (aggregator(inputs(name, x)) * weights).sum().backward()
    assert x.grad is not None
    grads = [x.grad, *(p.grad for p in aggregator.parameters() if p.requires_grad)]
    for grad in grads:
        assert grad is not None
        assert grad.isfinite().all()
        # A step along it must not end a training either.
        assert grad.abs().max() < 1e6
    for parameter, grad in zip(aggregator.parameters(), grads[1:], strict=False):
        parameter.data -= 0.1 * grad
    out = aggregator(inputs(name, features(2, CHANNELS, HEIGHT, WIDTH)))
    assert out.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_zeros_scale_no_gradient(name: str) -> None:
    # Division by a norm of zero, kept from it by an epsilon, would multiply by its inverse.
    aggregator = build(name).double()
    x = torch.zeros(2, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    aggregator(inputs(name, x)).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() < 1e3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_exported_program_equals_it_for_any_batch(name: str) -> None:
    aggregator = build(name).eval()
    batch = {0: torch.export.Dim.DYNAMIC}
    example = inputs(name, features(2, CHANNELS, HEIGHT, WIDTH))
    dynamic = ((batch, batch),) if name in WITH_TOKEN else (batch,)
    program = torch.export.export(aggregator, (example,), dynamic_shapes=dynamic)
    other = inputs(name, features(5, CHANNELS, HEIGHT, WIDTH))
    for x in (example, other):
        torch.testing.assert_close(program.module()(x), aggregator(x), atol=1e-6, rtol=0)
    decomposed = program.run_decompositions().module()
    torch.testing.assert_close(decomposed(other), aggregator(other), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_evaluation(name: str) -> None:
    aggregator = build(name).eval()
    x = inputs(name, features(2, CHANNELS, HEIGHT, WIDTH))
    expected = aggregator(x)
    torch.testing.assert_close(copy.deepcopy(aggregator)(x), expected)
    with torch.inference_mode():
        assert torch.equal(aggregator(x), expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found a map of 3x5, expected 5x3"):
        build("mixvpr", 5, 3)(features(1, CHANNELS, 3, 5))
    x = features(1, CHANNELS, 1, 3)
    with pytest.raises(ValueError, match=r"1x3 = 3 locations, expected more than num_clusters=3"):
        build("salad")(inputs("salad", x))
    with pytest.raises(ValueError, match=r"proj_channels=96, expected a multiple of 64"):
        BoQ(proj_channels=96)
    with pytest.raises(ValueError, match=r"levels=0"):
        RMAC(levels=0)
    for cls in (NetVLAD, CRN):
        with pytest.raises(ValueError, match=r"clusters_num=1, expected at least 2"):
            cls(clusters_num=1)


@pytest.mark.parametrize("p", [3.0, 40.0, 100.0])
@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_gem_gradients_are_finite(p: float, value: float) -> None:
    gem = GeM(p=p)
    x = torch.full((2, 4, 3, 3), value, requires_grad=True)
    gem(x)[:, 0].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(gem.p.grad).all()
