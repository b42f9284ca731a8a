"""Miners against loops over pairs and triplets."""

import pytest
import torch
from torch.nn import functional

from vgray.recipe.losses import PairMargin, TripletMargin
from vgray.training import MINERS

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
ROWS = range(len(LABELS))
DESCRIPTORS = functional.normalize(
    torch.randn(len(LABELS), 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
)
DISTANCES = (DESCRIPTORS.unsqueeze(0) - DESCRIPTORS.unsqueeze(1)).norm(dim=2)
SIMILARITIES = DESCRIPTORS @ DESCRIPTORS.T


def rows(mined: tuple[torch.Tensor, ...]) -> set[tuple[int, ...]]:
    found = list(zip(*(index.tolist() for index in mined), strict=True))
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_pair_margin(distance: str) -> None:
    settings = PairMargin(pos_margin=0.5, neg_margin=0.9, distance=distance)
    mined = MINERS["pair_margin"](**settings.arguments())(DESCRIPTORS, LABELS)
    positives, negatives = set(), set()
    for i in ROWS:
        for j in ROWS:
            d, s = DISTANCES[i, j], SIMILARITIES[i, j]
            if i != j and LABELS[i] == LABELS[j]:
                if d > 0.5 if distance == "euclidean" else s < 0.5:
                    positives.add((i, j))
            elif i != j and (d < 0.9 if distance == "euclidean" else s > 0.9):
                negatives.add((i, j))
    assert rows(mined[:2]) == positives
    assert rows(mined[2:]) == negatives
    assert positives


def test_multi_similarity() -> None:
    mined = MINERS["multi_similarity"](epsilon=0.3)(DESCRIPTORS, LABELS)
    positives, negatives = set(), set()
    for i in ROWS:
        same = [j for j in ROWS if j != i and LABELS[i] == LABELS[j]]
        others = [j for j in ROWS if LABELS[i] != LABELS[j]]
        s = SIMILARITIES[i]
        positives |= {(i, j) for j in same if s[j] - 0.3 < max(s[k] for k in others)}
        # No negative is kept for an image without a positive.
        if same:
            negatives |= {(i, j) for j in others if s[j] + 0.3 > min(s[k] for k in same)}
    assert rows(mined[:2]) == positives
    assert rows(mined[2:]) == negatives
    assert 0 < len(negatives) < sum(LABELS[i] != LABELS[j] for i in range(8) for j in ROWS)


def test_triplet_margin() -> None:
    gaps = {
        (a, p, n): (DISTANCES[a, n] - DISTANCES[a, p]).item()
        for a in ROWS
        for p in ROWS
        for n in ROWS
        if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]
    }
    expected = {
        "all": {t for t, gap in gaps.items() if gap <= 0.4},
        "hard": {t for t, gap in gaps.items() if gap <= 0},
        "semihard": {t for t, gap in gaps.items() if 0 < gap <= 0.4},
        "easy": {t for t, gap in gaps.items() if gap > 0.4},
    }
    for kind, triplets in expected.items():
        settings = TripletMargin(margin=0.4, type_of_triplets=kind)
        mined = MINERS["triplet_margin"](**settings.arguments())(DESCRIPTORS, LABELS)
        assert rows(mined) == triplets, kind
        assert triplets, kind


def test_none() -> None:
    assert MINERS["none"]()(DESCRIPTORS, LABELS) is None
