"""Losses where there is nothing to learn, nothing to tell apart, or little precision."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vgray.recipe import Recipe
from vgray.training import LOSSES, MINERS
from vgray.training.losses import TupleShape, compute_loss

OF_PLACES = sorted(set(LOSSES) - {"hphn"})
LABELS = torch.arange(4).repeat_interleave(3)
SHAPE = TupleShape(positives=2, negatives=2, others=1)


def gradient(value: Tensor, descriptors: Tensor) -> Tensor:
    (made,) = torch.autograd.grad(value, descriptors)
    assert torch.isfinite(value)
    assert torch.isfinite(made).all()
    return made


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(6, dtype=torch.long),
        torch.arange(6),
        torch.tensor([0, 0]),
        torch.tensor([0, 1]),
        torch.tensor([0]),
        torch.tensor([], dtype=torch.long),
    ],
    ids=["one class", "no positives", "a pair", "two places", "one image", "empty batch"],
)
def test_half_of_what_a_loss_needs_is_finite_with_a_gradient(labels: Tensor, miner: str) -> None:
    assert len(OF_PLACES) == 12
    for name in OF_PLACES:
        descriptors = torch.randn(len(labels), 4).requires_grad_()
        made = compute_loss(LOSSES[name](), MINERS[miner](), descriptors, labels)
        assert gradient(made.value, descriptors).shape == descriptors.shape, name


@pytest.mark.parametrize("labels", [torch.zeros(4, dtype=torch.long), torch.arange(4)])
def test_no_triplet_is_a_loss_of_zero(labels: Tensor) -> None:
    for name in ("triplet", "weak_triplet", "sare_joint", "sare_independent", "solar"):
        descriptors = torch.randn(4, 3).requires_grad_()
        made = compute_loss(LOSSES[name](), MINERS["none"](), descriptors, labels)
        assert made.value.item() == 0, name
        assert not gradient(made.value, descriptors).any(), name


@pytest.mark.parametrize("miner", sorted(set(MINERS) - {"none"}))
@pytest.mark.parametrize("loss", OF_PLACES)
def test_a_miner_that_keeps_nothing_gives_zero(loss: str, miner: str) -> None:
    # Two places as far from one another as can be, each of one point: nothing violates anything.
    descriptors = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]]).requires_grad_()
    made = compute_loss(LOSSES[loss](), MINERS[miner](), descriptors, torch.tensor([0, 0, 1, 1]))
    assert made.kept and not any(made.kept.values())
    assert made.value.item() == 0
    assert torch.equal(gradient(made.value, descriptors), torch.zeros(4, 2))


def at(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1).requires_grad_()


@pytest.mark.parametrize(
    ("miner", "settings", "kept"),
    [
        ("multi_similarity", {"epsilon": 0.0}, {"positives": 1, "negatives": 1}),
        ("triplet_margin", {"margin": 0.0}, {"triplets": 1}),
    ],
)
def test_one_pair_of_each_kind_counts(miner: str, settings: dict, kept: dict) -> None:
    # Two places of two images; only the second is nearer to the other place than to its own.
    labels = torch.tensor([0, 0, 1, 1])
    seen = set()
    for name in OF_PLACES:
        descriptors = at(0, 40, 75, 95)
        made = compute_loss(LOSSES[name](), MINERS[miner](**settings), descriptors, labels)
        assert made.kept == kept
        assert made.value > 0, name
        assert gradient(made.value, descriptors).any(), name
        seen.add(name)
    assert len(seen) == 12


@pytest.mark.parametrize("positives", [0, 1])
@pytest.mark.parametrize("negatives", [0, 1])
def test_contrastive_of_single_pairs(positives: int, negatives: int) -> None:
    first, second, third = torch.tensor([0]), torch.tensor([1]), torch.tensor([2])
    rows = (first[:positives], second[:positives], first[:negatives], third[:negatives])
    descriptors = at(0, 40, 45)
    made = compute_loss(
        LOSSES["contrastive"](), lambda x, y: rows, descriptors, torch.tensor([0, 0, 1])
    )
    assert made.kept == {"positives": positives, "negatives": negatives}
    near, far = (descriptors[1:] - descriptors[0]).norm(dim=1).tolist()
    assert made.value.item() == pytest.approx(positives * near + negatives * (1 - far))


@pytest.mark.parametrize("loss", LOSSES)
def test_identical_descriptors(loss: str) -> None:
    for dtype in (torch.float32, torch.float64):
        for rows, labels, shape in (
            (12, LABELS, None),
            (12, torch.tensor([0, 0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 7]), SHAPE),
        ):
            if shape is None and loss == "hphn":
                continue
            # Both all alike, and alike within what is compared.
            alike = torch.ones(1, 4, dtype=dtype).repeat(rows, 1)
            by_label = torch.randn(12, 4, dtype=dtype)[labels]
            for given in (alike, by_label):
                descriptors = given.clone().requires_grad_()
                made = compute_loss(LOSSES[loss](), MINERS["none"](), descriptors, labels, shape)
                gradient(made.value, descriptors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_float32_inside_autocast(loss: str, dtype: torch.dtype) -> None:
    descriptors = functional.normalize(torch.randn(12, 16)).to(dtype)

    def value(loss: nn.Module, miner: str, x: Tensor, shape: TupleShape | None) -> Tensor:
        return compute_loss(loss, MINERS[miner](), x, LABELS, shape).value

    shapes = [("none", SHAPE), *((miner, None) for miner in MINERS if loss != "hphn")]
    for miner, shape in shapes:
        outside = value(LOSSES[loss](), miner, descriptors.float(), shape)
        with torch.autocast("cpu", torch.bfloat16):
            inside = value(LOSSES[loss](), miner, descriptors, shape)
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, outside)


def test_float64_stays() -> None:
    for name in OF_PLACES:
        descriptors = torch.randn(12, 4, dtype=torch.float64)
        made = compute_loss(LOSSES[name](), MINERS["multi_similarity"](), descriptors, LABELS)
        assert made.value.dtype == torch.float64, name


@pytest.mark.parametrize("loss", LOSSES)
def test_length_of_a_descriptor_has_no_say(loss: str) -> None:
    descriptors = torch.randn(12, 8, dtype=torch.float64)
    lengths = torch.linspace(0.1, 30, 12, dtype=torch.float64).unsqueeze(1)
    one, other = (
        compute_loss(LOSSES[loss](), MINERS["none"](), x, LABELS, SHAPE).value
        for x in (descriptors, descriptors * lengths)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "loss", ["weak_triplet", "sare_joint", "sare_independent", "solar", "hphn"]
)
def test_gradients_equal_differences(loss: str) -> None:
    descriptors = torch.randn(12, 4, dtype=torch.float64).requires_grad_()

    def value(x: Tensor) -> Tensor:
        return compute_loss(LOSSES[loss](), MINERS["none"](), x, LABELS, SHAPE).value

    assert torch.autograd.gradcheck(value, descriptors)


def test_settings_reach_the_loss() -> None:
    settings = {
        "multi_similarity": {"alpha": 2.0, "beta": 40.0, "base": 0.5},
        "lifted_structure": {"neg_margin": 0.2, "pos_margin": 0.7},
        "weak_triplet": {"margin": 0.316},
        "solar": {"margin": 0.2, "second_order_weight": 10.0},
    }
    for name, values in settings.items():
        recipe = Recipe().with_settings(
            {"loss.name": name, **{f"loss.{key}": value for key, value in values.items()}}
        )
        loss = LOSSES[name](**recipe.loss.arguments())
        assert {key: getattr(loss, key) for key in values} == values
