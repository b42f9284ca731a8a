"""Losses against plain loops over anchors, positives and negatives; of places and of tuples."""

import math
from collections.abc import Callable, Iterable
from itertools import groupby

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vgray.recipe.losses import MultiSimilarity, Triplet
from vgray.training import LOSSES, MINERS
from vgray.training.losses import TupleShape, compute_loss

Triplets = list[tuple[int, int, int]]
LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 3]
SHAPE = TupleShape(positives=2, negatives=3, others=1)


def randn(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64)


def triplets_of_places() -> Triplets:
    rows = range(len(LABELS))
    return [
        (a, p, n)
        for a in rows
        for p in rows
        for n in rows
        if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]
    ]


def triplets_of_tuples(tuples: int) -> Triplets:
    return [
        (q, q + p, q + n)
        for q in range(0, tuples * SHAPE.size, SHAPE.size)
        for p in (1, 2)
        for n in (3, 4, 5)
    ]


def distance(x: Tensor, i: int, j: int) -> float:
    one, other = x[i] / x[i].square().sum().sqrt(), x[j] / x[j].square().sum().sqrt()
    return math.sqrt(sum((one - other).square().tolist()))


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def weak_triplet(x: Tensor, triplets: Triplets) -> float:
    return mean(max(0, 0.4 + distance(x, a, p) - distance(x, a, n)) for a, p, n in triplets)


def sare_independent(x: Tensor, triplets: Triplets) -> float:
    losses = []
    for a, p, n in triplets:
        near, far = math.exp(-(distance(x, a, p) ** 2)), math.exp(-(distance(x, a, n) ** 2))
        losses.append(-math.log(near / (near + far)))
    return mean(losses)


def sare_joint(x: Tensor, triplets: Triplets) -> float:
    losses = []
    for (a, p), group in groupby(triplets, lambda t: t[:2]):
        near = math.exp(-(distance(x, a, p) ** 2))
        far = sum(math.exp(-(distance(x, a, n) ** 2)) for _, _, n in group)
        losses.append(-math.log(near / (near + far)))
    return mean(losses)


def solar(x: Tensor, triplets: Triplets) -> float:
    losses = []
    for (a, p), group in groupby(triplets, lambda t: t[:2]):
        first, second = 0.0, 0.0
        for _, _, n in group:
            far = distance(x, a, n) ** 2
            first += max(0, 0.3 + distance(x, a, p) ** 2 - far)
            second += (far - distance(x, p, n) ** 2) ** 2
        losses.append(first + 2 * math.sqrt(second))
    return mean(losses)


LOOPS: dict[str, tuple[dict[str, float], Callable[[Tensor, Triplets], float]]] = {
    "weak_triplet": ({"margin": 0.4}, weak_triplet),
    "sare_independent": ({}, sare_independent),
    "sare_joint": ({}, sare_joint),
    "solar": ({"margin": 0.3, "second_order_weight": 2}, solar),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_batch_of_places(name: str) -> None:
    settings, loop = LOOPS[name]
    loss, labels = LOSSES[name](**settings), torch.tensor(LABELS)
    x = randn(len(LABELS))
    made = compute_loss(loss, MINERS["none"](), x, labels)
    assert made.value.item() == pytest.approx(loop(x, triplets_of_places()))
    assert made.kept == {}


@pytest.mark.parametrize("name", LOOPS)
def test_what_a_miner_of_triplets_keeps(name: str) -> None:
    settings, loop = LOOPS[name]
    x = randn(len(LABELS))
    kept = [t for t in triplets_of_places() if distance(x, *t[::2]) - distance(x, *t[:2]) <= 0.1]
    made = compute_loss(
        LOSSES[name](**settings), MINERS["triplet_margin"](0.1), x, torch.tensor(LABELS)
    )
    assert 0 < len(kept) < len(triplets_of_places())
    assert made.kept == {"triplets": len(kept)}
    assert made.value.item() == pytest.approx(loop(x, kept))


@pytest.mark.parametrize("name", LOOPS)
def test_what_a_miner_of_pairs_keeps(name: str) -> None:
    settings, loop = LOOPS[name]
    x = randn(len(LABELS))
    pairs = [(i, j) for i in range(len(LABELS)) for j in range(len(LABELS)) if i != j]
    far = {(i, j) for i, j in pairs if LABELS[i] == LABELS[j] and distance(x, i, j) > 1.0}
    near = {(i, j) for i, j in pairs if LABELS[i] != LABELS[j] and distance(x, i, j) < 1.3}
    kept = [(a, p, n) for a, p, n in triplets_of_places() if (a, p) in far and (a, n) in near]
    miner = MINERS["pair_margin"](pos_margin=1.0, neg_margin=1.3)
    made = compute_loss(LOSSES[name](**settings), miner, x, torch.tensor(LABELS))
    assert 0 < len(kept) < len(triplets_of_places())
    assert made.kept == {"positives": len(far), "negatives": len(near)}
    assert made.value.item() == pytest.approx(loop(x, kept))


@pytest.mark.parametrize("tuples", [1, 3])
@pytest.mark.parametrize("name", LOOPS)
def test_a_batch_of_tuples(name: str, tuples: int) -> None:
    settings, loop = LOOPS[name]
    x = randn(tuples * SHAPE.size)
    made = compute_loss(LOSSES[name](**settings), None, x, torch.arange(len(x)), SHAPE)
    assert made.value.item() == pytest.approx(loop(x, triplets_of_tuples(tuples)))
    assert made.kept == {}


def test_hphn() -> None:
    x = randn(3 * SHAPE.size)
    x[1:3] = x[0] + 0.1 * x[1:3]
    terms = []
    for q in range(0, len(x), SHAPE.size):
        farthest = max(distance(x, q, q + p) ** 2 for p in (1, 2))
        nearest = min(distance(x, q, q + n) ** 2 for n in (3, 4, 5))
        to_other = min(distance(x, q + 6, q + n) ** 2 for n in (3, 4, 5))
        terms.append(0.5 + farthest - min(nearest, to_other))
    made = compute_loss(LOSSES["hphn"](0.5), None, x, torch.arange(len(x)), SHAPE)
    assert min(terms) < 0 < max(terms)
    assert made.value.item() == pytest.approx(mean(max(0, term) for term in terms))


def test_weak_triplet_is_the_mean_of_torchs_triplet_loss() -> None:
    x = randn(3 * SHAPE.size)
    anchor, positive, negative = functional.normalize(x)[torch.tensor(triplets_of_tuples(3)).T]
    expected = functional.triplet_margin_loss(anchor, positive, negative, margin=0.1)
    made = compute_loss(LOSSES["weak_triplet"](0.1), None, x, torch.arange(len(x)), SHAPE)
    assert made.value.item() == pytest.approx(expected.item(), abs=3e-6)


def test_multi_similarity() -> None:
    x, labels = functional.normalize(randn(len(LABELS))), torch.tensor(LABELS)
    alpha, beta, base = 1.0, 50.0, 0.0
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(x)):
        similar = x @ x[i]
        same = (labels == labels[i]) & (torch.arange(len(x)) != i)
        pull = torch.exp(-alpha * (similar[same] - base)).sum()
        push = torch.exp(beta * (similar[labels != labels[i]] - base)).sum()
        total += torch.log1p(pull) / alpha + torch.log1p(push) / beta
    loss = LOSSES["multi_similarity"](**MultiSimilarity().arguments())
    made = compute_loss(loss, MINERS["none"](), x, labels)
    assert made.value.item() == pytest.approx(total.item() / len(x))


def test_triplet() -> None:
    x = randn(len(LABELS))
    terms = [distance(x, a, p) - distance(x, a, n) + 0.1 for a, p, n in triplets_of_places()]
    loss = LOSSES["triplet"](**Triplet().arguments())
    made = compute_loss(loss, MINERS["none"](), x, torch.tensor(LABELS))
    assert made.value.item() == pytest.approx(mean(term for term in terms if term > 0))


def test_lifted_structure() -> None:
    x, labels = randn(len(LABELS)), torch.tensor(LABELS)
    similar = functional.normalize(x) @ functional.normalize(x).T
    terms = []
    for i in range(len(x) - 1):  # the last has no positive
        same = (labels == labels[i]) & (torch.arange(len(x)) != i)
        pull = torch.exp(0.2 - similar[i, same]).sum().log()
        push = torch.exp(similar[i, labels != labels[i]] - 0.5).sum().log()
        terms.append(max(0, (pull + push).item()))
    last = torch.exp(similar[-1, :-1] - 0.5).sum().log()
    loss = LOSSES["lifted_structure"](neg_margin=0.5, pos_margin=0.2)
    made = compute_loss(loss, MINERS["none"](), x, labels)
    # As published, an anchor without a positive is pushed all the same.
    assert made.value.item() == pytest.approx(mean([*terms, max(0, last.item())]))
