"""Losses and miners against the published settings' numbers, brute force, and empty batches."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vgray.recipe.settings import Settings
from vgray.recipe.losses import MultiSimilarity, PairMargin, Triplet
from vgray.training import LOSSES, MINERS
from vgray.training.losses import compute_loss

LABELS = torch.arange(4).repeat_interleave(3)

LOSS_SETTINGS = {
    "gsv": ("multi_similarity", {"alpha": 1, "beta": 50, "base": 0}),
    "pml": ("multi_similarity", {"alpha": 2, "beta": 50, "base": 0.5}),
    "contrastive": ("contrastive", {"pos_margin": 0, "neg_margin": 1}),
    "triplet .1": ("triplet", {"margin": 0.1}),
    "triplet 1": ("triplet", {"margin": 1.0}),
}
MINER_SETTINGS = {
    "none": ("none", {}),
    "ms": ("multi_similarity", {"epsilon": 0.1}),
    "pair Lp": ("pair_margin", {"pos_margin": 0.2, "neg_margin": 0.8, "distance": "euclidean"}),
    "pair cos": ("pair_margin", {"pos_margin": 0.7, "neg_margin": 0.3, "distance": "cosine"}),
    "triplet": ("triplet_margin", {"margin": 0.1, "type_of_triplets": "semihard"}),
}
# Computed once with pytorch-metric-learning 2.9, the distances as in GSV-Cities and OpenVPRLab.
EXPECTED = {
    "gsv": (2.22610696, 2.22610696, 2.22609777, 2.22610696, 0.61417501),
    "pml": (1.68767287, 1.68767287, 1.68766368, 1.68767287, 0.58885851),
    "contrastive": (1.9325545, 1.9325545, 1.94820489, 1.9325545, 1.62552409),
    "triplet .1": (0.7157738, 0.7157738, 1.03952128, 0.94081683, 0.07283749),
    "triplet 1": (1.19041906, 1.36159089, 1.93952128, 1.84081683, 0.97283749),
}


def wave() -> Tensor:
    """Return 12 descriptors of length 8 without random numbers: sin(0.61 i), not normalised."""
    return torch.sin(0.61 * torch.arange(96, dtype=torch.float64)).reshape(12, 8)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("loss_name", LOSS_SETTINGS)
def test_losses_have_the_published_values(loss_name: str, normalised: bool) -> None:
    name, settings = LOSS_SETTINGS[loss_name]
    descriptors = functional.normalize(wave()) if normalised else wave()
    for miner_key, expected in zip(MINER_SETTINGS, EXPECTED[loss_name], strict=True):
        miner_name, miner_settings = MINER_SETTINGS[miner_key]
        miner = MINERS[miner_name](**miner_settings)
        value = compute_loss(LOSSES[name](**settings), miner, descriptors, LABELS)
        assert value.item() == pytest.approx(expected, abs=1e-6), miner_key


def test_miners_keep_the_published_numbers_of_pairs() -> None:
    expected = {
        "ms": [24, 24, 88, 88],
        "pair Lp": [24, 24, 34, 34],
        "pair cos": [24, 24, 44, 44],
        "triplet": [8, 8, 8],
    }
    for key, counts in expected.items():
        name, settings = MINER_SETTINGS[key]
        mined = MINERS[name](**settings)(functional.normalize(wave()), LABELS)
        assert [len(rows) for rows in mined] == counts, key
    assert MINERS["none"]()(wave(), LABELS) is None


def test_multi_similarity_equals_its_formula() -> None:
    descriptors = functional.normalize(torch.randn(10, 6, dtype=torch.float64))
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3, 4])
    alpha, beta, base = 1.0, 50.0, 0.0
    total = torch.zeros((), dtype=torch.float64)
    for i in range(10):
        similar = descriptors @ descriptors[i]
        same = (labels == labels[i]) & (torch.arange(10) != i)
        pull = torch.exp(-alpha * (similar[same] - base)).sum()
        push = torch.exp(beta * (similar[labels != labels[i]] - base)).sum()
        total += torch.log1p(pull) / alpha + torch.log1p(push) / beta
    loss = LOSSES["multi_similarity"](**MultiSimilarity().arguments())
    value = compute_loss(loss, MINERS["none"](), descriptors, labels)
    assert value.item() == pytest.approx(total.item() / 10)


def test_triplet_equals_its_formula() -> None:
    descriptors = functional.normalize(torch.randn(8, 4, dtype=torch.float64))
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    terms = [
        (descriptors[a] - descriptors[p]).norm() - (descriptors[a] - descriptors[n]).norm() + 0.1
        for a in range(8)
        for p in range(8)
        for n in range(8)
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    ]
    positive = [term.item() for term in terms if term > 0]
    value = compute_loss(
        LOSSES["triplet"](**Triplet().arguments()), MINERS["none"](), descriptors, labels
    )
    assert value.item() == pytest.approx(sum(positive) / len(positive))


def test_pair_margin_equals_brute_force() -> None:
    descriptors = functional.normalize(torch.randn(12, 5, dtype=torch.float64))
    for distance in ("euclidean", "cosine"):
        settings = PairMargin(pos_margin=0.5, neg_margin=0.9, distance=distance)
        mined = MINERS["pair_margin"](**settings.arguments())(descriptors, LABELS)
        positives, negatives = set(), set()
        for i in range(12):
            for j in range(12):
                if i == j:
                    continue
                d = (descriptors[i] - descriptors[j]).norm()
                s = descriptors[i] @ descriptors[j]
                if LABELS[i] == LABELS[j] and (d > 0.5 if distance == "euclidean" else s < 0.5):
                    positives.add((i, j))
                if LABELS[i] != LABELS[j] and (d < 0.9 if distance == "euclidean" else s > 0.9):
                    negatives.add((i, j))
        assert set(zip(mined[0].tolist(), mined[1].tolist(), strict=True)) == positives
        assert set(zip(mined[2].tolist(), mined[3].tolist(), strict=True)) == negatives


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(6, dtype=torch.long),  # one place: no negatives
        torch.arange(6),  # one image of each: no positives
        torch.tensor([0]),
        torch.tensor([], dtype=torch.long),
    ],
    ids=["one class", "no positives", "one image", "empty batch"],
)
def test_nothing_mined_is_a_finite_loss_with_a_gradient(labels: Tensor) -> None:
    seen = 0
    for loss in LOSSES:
        for miner in MINERS:
            descriptors = torch.randn(len(labels), 4).requires_grad_()
            value = compute_loss(LOSSES[loss](), MINERS[miner](), descriptors, labels)
            assert torch.isfinite(value), (loss, miner)
            value.backward()
            assert descriptors.grad is not None, (loss, miner)
            assert torch.isfinite(descriptors.grad).all(), (loss, miner)
            seen += 1
    assert seen == 12


def test_a_miner_that_keeps_nothing_gives_zero() -> None:
    # Two places as far from one another as can be, each of one point: nothing violates anything.
    descriptors = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]]).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    kept = {"multi_similarity": {"epsilon": 0.1}, "pair_margin": {}, "triplet_margin": {}}
    for loss in LOSSES:
        for miner, settings in kept.items():
            mined = MINERS[miner](**settings)
            value = compute_loss(LOSSES[loss](), mined, descriptors, labels)
            assert value.item() == 0, (loss, miner)
            value.backward()
            assert torch.equal(descriptors.grad, torch.zeros(4, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_are_float32_inside_autocast(dtype: torch.dtype) -> None:
    descriptors = functional.normalize(torch.randn(12, 16)).to(dtype)
    for name in LOSSES:
        for miner in MINERS:
            outside = compute_loss(LOSSES[name](), MINERS[miner](), descriptors.float(), LABELS)
            with torch.autocast("cpu", torch.bfloat16):
                inside = compute_loss(LOSSES[name](), MINERS[miner](), descriptors, LABELS)
            assert inside.dtype == torch.float32
            torch.testing.assert_close(inside, outside)


def test_settings_reach_the_loss() -> None:
    settings: Settings = MultiSimilarity(alpha=2, beta=40, base=0.5)
    loss = LOSSES["multi_similarity"](**settings.arguments())
    assert (loss.alpha, loss.beta, loss.base) == (2, 40, 0.5)
