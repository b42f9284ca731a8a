"""Losses and miners against the numbers of the published implementations."""

import json
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning import losses
from torch import Tensor, nn
from torch.nn import functional

from vgray.training import LOSSES, MINERS
from vgray.training.losses import TupleShape, compute_loss

LABELS = torch.arange(4).repeat_interleave(3)

LOSS_SETTINGS = {
    "ms a=1 b=50 base=0 dot (gsv-cities)": (
        "multi_similarity",
        {"alpha": 1, "beta": 50, "base": 0},
    ),
    "ms a=2 b=50 base=.5 cos (PML, curello2023)": (
        "multi_similarity",
        {"alpha": 2, "beta": 50, "base": 0.5},
    ),
    "contrastive 0/1 Lp": ("contrastive", {"pos_margin": 0, "neg_margin": 1}),
    "triplet .1": ("triplet", {"margin": 0.1}),
    "triplet .05": ("triplet", {"margin": 0.05}),
    "triplet 1.0": ("triplet", {"margin": 1.0}),
    "circle .4/80": ("circle", {"m": 0.4, "gamma": 80}),
    "supcon .07": ("supcon", {"temperature": 0.07}),
    "ntxent .07": ("ntxent", {"temperature": 0.07}),
    "fastap 30": ("fastap", {"num_bins": 30}),
    "lifted dot 0/1": ("lifted_structure", {"neg_margin": 0, "pos_margin": 1}),
}
MINER_SETTINGS = {
    "none": ("none", {}),
    "ms eps=.1 cosine": ("multi_similarity", {"epsilon": 0.1}),
    "pair pos=.2 neg=.8 Lp (PML, curello2023)": (
        "pair_margin",
        {"pos_margin": 0.2, "neg_margin": 0.8, "distance": "euclidean"},
    ),
    "pair pos=.7 neg=.3 dot (gsv-cities)": (
        "pair_margin",
        {"pos_margin": 0.7, "neg_margin": 0.3, "distance": "cosine"},
    ),
    "triplet semihard .1": ("triplet_margin", {"margin": 0.1, "type_of_triplets": "semihard"}),
}
# With each of the miners, in their order.
EXPECTED = {
    "ms a=1 b=50 base=0 dot (gsv-cities)": (
        (2.22610696, 2.22610696, 2.22609777, 2.22610696, 0.61417501)
    ),
    "ms a=2 b=50 base=.5 cos (PML, curello2023)": (
        (1.68767287, 1.68767287, 1.68766368, 1.68767287, 0.58885851)
    ),
    "contrastive 0/1 Lp": (1.9325545, 1.9325545, 1.94820489, 1.9325545, 1.62552409),
    "triplet .1": (0.7157738, 0.7157738, 1.03952128, 0.94081683, 0.07283749),
    "triplet .05": (0.6657738, 0.6657738, 0.98952128, 0.89081683, 0.02283749),
    "triplet 1.0": (1.19041906, 1.36159089, 1.93952128, 1.84081683, 0.97283749),
    "circle .4/80": (267.37631582, 267.37631582, 267.37631452, 267.37631582, 204.3100658),
    "supcon .07": (16.12800776, 16.12800775, 16.11813919, 16.12798468, 3.06915122),
    "ntxent .07": (16.12790939, 16.12790938, 16.11804068, 16.12788631, 4.07378102),
    "fastap 30": (0.79372866, 0.71288467, 0.63951689, 0.75345663, 0.32342954),
    "lifted dot 0/1": (4.37999094, 4.28375951, 3.83494046, 4.01895385, 0.7602893),
}
KEPT = {
    "ms eps=.1 cosine": [24, 24, 88, 88],
    "pair pos=.2 neg=.8 Lp (PML, curello2023)": [24, 24, 34, 34],
    "pair pos=.7 neg=.3 dot (gsv-cities)": [24, 24, 44, 44],
    "triplet semihard .1": [8, 8, 8],
}
TUPLES = {
    "sare_joint q=E0 p=E1 n=E3..7": 2.440656552826458,
    "sare_ind summed over 5 negatives": 4.369267943524631,
    "dvgl triplet margin .1 sum over 5 negs / 5": 0.323857060184329,
    "solar sos_loss 1 tuple": 4.360175939654444,
    "solar triplet (squared) margin .1": 3.264061735992419,
    "hphn m=.5 q=E0 pos=E1,E2 neg=E3..7 other=E9 (unit vectors)": 4.004507235067138,
}
NORMALISED = [
    "contrastive 0/1 on UN-normalised E (PML normalises): same as normalised?",
    "ms dot on UN-normalised E: same as normalised?",
]
NOT_COVERED = {"cirtorch contrastive margin .7"}


def wave() -> Tensor:
    """Return 12 descriptors of length 8 without random numbers: sin(0.61 i), not normalised."""
    return torch.sin(0.61 * torch.arange(96, dtype=torch.float64)).reshape(12, 8)


def of_places(loss_key: str, miner_key: str, descriptors: Tensor) -> tuple[float, dict[str, int]]:
    loss, loss_settings = LOSS_SETTINGS[loss_key]
    miner, miner_settings = MINER_SETTINGS[miner_key]
    made = compute_loss(
        LOSSES[loss](**loss_settings), MINERS[miner](**miner_settings), descriptors, LABELS
    )
    return made.value.item(), made.kept


def of_one_tuple() -> dict[str, float]:
    """Return the losses of the tuples that :data:`TUPLES` names."""
    tuple_, shape = wave()[[0, 1, 3, 4, 5, 6, 7]], TupleShape(1, 5, 0)
    quadruplet, larger = wave()[[0, 1, 2, 3, 4, 5, 6, 7, 9]], TupleShape(2, 5, 1)

    def value(loss: nn.Module, of: Tensor = tuple_, shape: TupleShape = shape) -> float:
        return compute_loss(loss, None, of, torch.arange(len(of)), shape).value.item()

    first = value(LOSSES["solar"](0.1, second_order_weight=0))
    values = [
        value(LOSSES["sare_joint"]()),
        5 * value(LOSSES["sare_independent"]()),
        value(LOSSES["weak_triplet"](0.1)),
        value(LOSSES["solar"](0.1, second_order_weight=1)) - first,
        first,
        value(LOSSES["hphn"](0.5), quadruplet, larger),
    ]
    return dict(zip(TUPLES, values, strict=True))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("loss", LOSS_SETTINGS)
def test_losses_of_places(loss: str, normalised: bool) -> None:
    descriptors = functional.normalize(wave()) if normalised else wave()
    for miner, expected in zip(MINER_SETTINGS, EXPECTED[loss], strict=True):
        value, kept = of_places(loss, miner, descriptors)
        assert value == pytest.approx(expected, abs=1e-6), miner
        counts = KEPT.get(miner, [])
        assert list(kept.values()) == (counts[::2] if len(counts) == 4 else counts[:1]), miner


def test_losses_of_tuples() -> None:
    # torch adds 1e-6 to each component before it takes a distance.
    assert of_one_tuple() == pytest.approx(TUPLES, abs=2e-6)


def test_miners() -> None:
    for key, counts in KEPT.items():
        name, settings = MINER_SETTINGS[key]
        mined = MINERS[name](**settings)(wave(), LABELS)
        assert [len(rows) for rows in mined] == counts, key
    assert MINERS["none"]()(wave(), LABELS) is None


@pytest.mark.parametrize("miner", MINER_SETTINGS)
def test_ntxent_is_the_librarys_to_its_gradient(miner: str) -> None:
    name, settings = MINER_SETTINGS[miner]
    descriptors, labels = (
        wave().requires_grad_(),
        torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 5]),
    )
    mined = MINERS[name](**settings)(descriptors, labels)
    gradients = []
    for loss in (losses.NTXentLoss(temperature=0.1), LOSSES["ntxent"](temperature=0.1)):
        value = loss(descriptors, labels, mined)
        gradients.append(torch.autograd.grad(value, descriptors)[0])
    assert gradients[0].any()
    torch.testing.assert_close(*gradients)


@pytest.mark.photos
def test_agrees_with_every_reference_number(reference: Path) -> None:
    fixtures = json.loads((reference / "parity_fixtures.json").read_text())
    published = fixtures["losses"]
    places = {
        f"{loss} | {miner}": of_places(loss, miner, wave())[0]
        for loss in LOSS_SETTINGS
        for miner in MINER_SETTINGS
    }
    assert len(places) == 55
    assert set(published) == {*places, *TUPLES, *NORMALISED, *NOT_COVERED}
    for key, value in {**places, **of_one_tuple()}.items():
        assert value == pytest.approx(published[key], abs=2e-6), key
    assert all(published[key] is True for key in NORMALISED)
    assert fixtures["miners"] == KEPT
