"""Aggregators against numbers computed with their published implementations, in float64."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vgray.models.aggregators import ConvAP, CosPlace, GeM, MixVPR, NetVLAD
from vgray.models.aggregators.base import l2_normalize


def wave(*shape: int, f: float, a: float = 1.0) -> Tensor:
    """A closed-form input: a * sin(f * i) in float64."""
    n = int(torch.tensor(shape).prod())
    return a * torch.sin(f * torch.arange(n, dtype=torch.float64)).reshape(shape)


def filled(module: nn.Module) -> nn.Module:
    """A module whose parameters are waves, but for GeM's exponent."""
    module.double().eval()
    for i, (name, parameter) in enumerate(sorted(module.named_parameters())):
        if name.rpartition(".")[2] != "p":
            parameter.data = wave(*parameter.shape, f=0.11 + 0.01 * i, a=0.2)
    return module


CENTROIDS = wave(3, 8, f=0.53)
DESCRIPTORS = nn.functional.normalize(wave(40, 8, f=0.29), dim=1)


def initialised() -> NetVLAD:
    netvlad = NetVLAD(3, 8).double()
    netvlad.init_params(CENTROIDS, DESCRIPTORS)
    return netvlad


# Name in the file -> what it should be of features, the first numbers, their sum.
PUBLISHED: dict[str, tuple[Callable[[Tensor], Tensor], list[float], float]] = {
    "gem_gsv (L2 after) x=wave(2,8,5,6,f=.37)": (
        GeM().double(),
        [0.37010263, 0.37010243, 0.34336977, 0.328838],
        5.64640203,
    ),
    "gem_cirtorch p=3 eps=1e-6 (no norm)": (
        GeM().double().pool,
        [0.62165689, 0.62165654, 0.57675403, 0.55234519],
        9.52791658,
    ),
    "gem_dvgl l2=before_pool": (
        lambda x: GeM().double().pool(l2_normalize(x)),
        [0.30573043, 0.31593456, 0.28878008, 0.28037635],
        4.76704285,
    ),
    "convap in=8 out=4 s=2x2": (
        filled(ConvAP(8, 4)),
        [0.03235016, -0.02787563, 0.03673879, 0.05561347],
        6.44561921,
    ),
    "cosplace in=8 out=4": (
        filled(CosPlace(8, 4)),
        [0.29199462, 0.74828026, 0.5956253, -0.00680346],
        3.25679927,
    ),
    "mixvpr in=8 5x6 out=4 depth=2 rows=3": (
        filled(MixVPR(8, 5, 6, 4, 2, out_rows=3)),
        [0.14991231, -0.23610229, -0.13579965, 0.45139227],
        -0.83296438,
    ),
    "netvlad K=3 dim=8 after that init": (
        initialised(),
        [0.04275374, -0.12865078, -0.31482084, -0.36018227],
        -0.08151787,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_agrees_with_the_published_implementation(name: str) -> None:
    describe, first, total = PUBLISHED[name]
    out = describe(wave(2, 8, 5, 6, f=0.37)).flatten()
    assert out[:4].tolist() == pytest.approx(first, abs=1e-6)
    assert out.sum().item() == pytest.approx(total, abs=1e-6)


def test_netvlad_is_initialised_as_published() -> None:
    netvlad = NetVLAD(3, 8).double()
    assert netvlad.init_params(CENTROIDS, DESCRIPTORS) == pytest.approx(6.45342309, abs=1e-6)
    weight = netvlad.conv.weight.flatten()
    assert weight[:3].tolist() == pytest.approx([0, 1.8075113, 3.11906706], abs=1e-6)
    assert weight.sum().item() == pytest.approx(0.85279696, abs=1e-6)
    assert torch.equal(netvlad.centroids, CENTROIDS)


def test_mixvpr_has_as_many_parameters_as_published() -> None:
    mixvpr = MixVPR(8, 5, 6, 4, 2, out_rows=3)
    assert sum(p.numel() for p in mixvpr.parameters()) == 3969


@pytest.mark.photos
def test_agrees_with_every_reference_output(reference: Path) -> None:
    fixtures = json.loads((reference / "parity_fixtures.json").read_text())
    init = fixtures["netvlad_init"]
    netvlad = NetVLAD(3, 8).double()
    assert netvlad.init_params(CENTROIDS, DESCRIPTORS) == pytest.approx(init["alpha"], abs=1e-6)
    outputs = {"conv.weight": (netvlad.conv.weight, init["conv_weight"])}
    for name, expected in fixtures["aggregators"].items():
        outputs[name] = (PUBLISHED[name][0](wave(2, 8, 5, 6, f=0.37)), expected)
    for name, (tensor, expected) in outputs.items():
        out = tensor.flatten()
        assert len(out) == expected["n"], name
        assert out[:6].tolist() == pytest.approx(expected["first"], abs=1e-6), name
        assert out.sum().item() == pytest.approx(expected["sum"], abs=1e-6), name
        assert out.abs().sum().item() == pytest.approx(expected["abs_sum"], abs=1e-6), name
    assert len(outputs) == len(PUBLISHED) + 1
    params = fixtures["aggregators"]["mixvpr in=8 5x6 out=4 depth=2 rows=3"]["params"]
    mixvpr = PUBLISHED["mixvpr in=8 5x6 out=4 depth=2 rows=3"][0]
    assert sum(p.numel() for p in mixvpr.parameters()) == params
