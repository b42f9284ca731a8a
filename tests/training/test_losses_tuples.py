"""Losses of batches of tuples: what is compared with what."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vgray.training import LOSSES, MINERS
from vgray.training.losses import TupleShape, compute_loss, violating_tuples

SHAPE = TupleShape(positives=2, negatives=3, others=1)
OF_PAIRS = {"contrastive", "multi_similarity", "circle", "ntxent", "supcon", "lifted_structure"}


def randn(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64)


def value(loss: nn.Module, x: Tensor, shape: TupleShape, labels: Tensor | None = None) -> float:
    labels = torch.arange(len(x)) if labels is None else labels
    return compute_loss(loss, None, x, labels, shape).value.item()


def test_size() -> None:
    assert SHAPE.size == 7


def test_contrastive_sees_each_pair_of_a_query() -> None:
    x = randn(2 * SHAPE.size)
    units = functional.normalize(x)
    near = [(units[q] - units[q + p]).norm().item() for q in (0, 7) for p in (1, 2)]
    far = [1 - (units[q] - units[q + n]).norm().item() for q in (0, 7) for n in (3, 4, 5)]
    far = [term for term in far if term > 0]
    expected = sum(near) / len(near) + sum(far) / len(far)
    assert value(LOSSES["contrastive"](), x, SHAPE) == pytest.approx(expected)


def test_ntxent_counts_a_negative_once_however_many_positives_there_are() -> None:
    x = randn(2 * SHAPE.size)
    units = functional.normalize(x)
    terms = []
    for q in (0, 7):
        push = sum(math.exp(units[q] @ units[q + n] / 0.07) for n in (3, 4, 5))
        for p in (1, 2):
            pull = math.exp(units[q] @ units[q + p] / 0.07)
            terms.append(-math.log(pull / (pull + push)))
    expected = sum(terms) / len(terms)
    assert value(LOSSES["ntxent"](), x, SHAPE) == pytest.approx(expected)


def test_a_tuple_alone_counts_even_with_one_positive_and_one_negative() -> None:
    shape = TupleShape(1, 1, 0)
    alone = torch.tensor([[1, 0, 0], [-1, 1, 0], [1, 0.1, 0]], dtype=torch.float64)
    seen = set()
    for name in set(LOSSES) - {"hphn", "fastap"}:
        loss = LOSSES[name]()
        one, two = value(loss, alone, shape), value(loss, alone.repeat(2, 1), shape)
        assert one == pytest.approx(two), name
        assert one > 0, name
        seen.add(name)
    assert seen > OF_PAIRS


def test_labels_and_others_have_no_say() -> None:
    x = randn(2 * SHAPE.size)
    changed = x.clone()
    changed[6::7] *= -1
    one_label = torch.zeros(len(x), dtype=torch.long)
    seen = set()
    for name in set(LOSSES) - {"hphn", "fastap"}:
        loss = LOSSES[name]()
        assert value(loss, changed, SHAPE, one_label) == value(loss, x, SHAPE), name
        seen.add(name)
    assert len(seen) == 11
    assert value(LOSSES["hphn"](), changed, SHAPE) != value(LOSSES["hphn"](), x, SHAPE)


def test_fastap_goes_by_labels() -> None:
    x = randn(2 * SHAPE.size)
    labels = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9])
    right = value(LOSSES["fastap"](), x, SHAPE, labels)
    assert 0 < right < 1
    assert right != value(LOSSES["fastap"](), x, SHAPE, labels.roll(1))


def test_the_query_is_drawn_to_its_positives_by_every_loss() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9])
    near = randn(2 * SHAPE.size)
    far = near.clone()
    for q in (0, 7):
        near[q + 1 : q + 3] = near[q] + 0.01 * near[q + 1 : q + 3]
        far[q + 3] = far[q] + 0.01 * far[q + 3]
    for name in LOSSES:
        loss = LOSSES[name]()
        assert value(loss, near, SHAPE, labels) < value(loss, far, SHAPE, labels), name


def test_no_miner_is_asked() -> None:
    def miner(descriptors: Tensor, labels: Tensor) -> None:
        raise AssertionError

    made = compute_loss(LOSSES["triplet"](), miner, randn(7), torch.arange(7), SHAPE)
    assert made.kept == {}


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (13, SHAPE, "found 13 descriptors, expected tuples of 7"),
        (12, TupleShape(2, 3, 0), "found tuples with 0 others; HPHN takes one"),
        (7, None, "found a batch of places; HPHN is a loss of tuples"),
    ],
)
def test_what_is_refused(rows: int, shape: TupleShape | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_loss(LOSSES["hphn"](), MINERS["none"](), randn(rows), torch.arange(rows), shape)


def test_violating_tuples_are_counted() -> None:
    shape = TupleShape(positives=2, negatives=2, others=1)
    angles = torch.tensor(
        [
            [0, 0.5, 0.9, 0.6, 1.0, 0.1],  # a negative is nearer than one positive only
            [0, 0.5, 0.9, 0.4, 1.0, 0.1],  # than both
            [1, 1.2, 1.3, 2.0, 0.5, 1.0],  # the further negative does not count
        ]
    ).flatten()
    descriptors = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert violating_tuples(descriptors, shape).item() == 1
    assert violating_tuples(descriptors.bfloat16(), shape).item() == 1
