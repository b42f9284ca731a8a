"""Every backbone with every attention and every aggregator: shapes, and what is refused."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgray import Recipe
from vgray.errors import UserError
from vgray.models import AGGREGATORS, ATTENTION, BACKBONES
from vgray.models.backbones import Features
from vgray.models.build import aggregate, build_aggregator, build_attention
from vgray.recipe.architectures import ARCHITECTURES

# Small enough for SALAD on a map of 2 x 2.
SMALL = {
    "netvlad": {"clusters_num": 4},
    "crn": {"clusters_num": 4},
    "boq": {"proj_channels": 64, "num_queries": 3, "row_dim": 2},
    "salad": {"num_clusters": 3, "cluster_dim": 5, "token_dim": 6},
}
REDUCTION = {"cbam": {"attention.reduction": 4}}


def dimension(name: str, recipe: Recipe, channels: int) -> int:
    """Return the length of a descriptor, by each aggregator's own definition."""
    a = recipe.aggregator
    return {
        "netvlad": lambda: a.clusters_num * channels,
        "crn": lambda: a.clusters_num * channels,
        "cosplace": lambda: a.out_dim,
        "convap": lambda: a.out_channels * a.s1 * a.s2,
        "mixvpr": lambda: a.out_channels * a.out_rows,
        "boq": lambda: a.proj_channels * a.row_dim,
        "salad": lambda: a.cluster_dim * a.num_clusters + a.token_dim,
    }.get(name, lambda: channels)()


def combinations(name: str, crop_last: int, grid: tuple[int, int], batch: int) -> Counter:
    """Check every attention with every aggregator on maps such as a backbone gives.

    That it gives them is the business of the test of the architectures. Returns how many were
    described, and how many aggregators were refused.
    """
    seen = Counter()
    architecture = ARCHITECTURES[name]
    stride = architecture.strides[-1 - crop_last]
    grid = (max(grid[0], -(-32 // stride)), max(grid[1], -(-32 // stride)))  # of 32 px at least
    base = Recipe().with_settings(
        {
            "backbone.name": name,
            "backbone.crop_last": crop_last,
            "image_size": [side * stride for side in grid],
        }
    )
    shape = (batch, architecture.channels[-1 - crop_last])
    backbone = SimpleNamespace(out_channels=shape[1], classifier=None)
    features = Features(
        torch.randn(*shape, *grid), torch.randn(shape) if architecture.has_token else None
    )
    attended = []
    for attention in ATTENTION:
        chosen = base.with_settings({"attention.name": attention, **REDUCTION.get(attention, {})})
        attended.append(build_attention(chosen.attention, backbone).eval()(features.map))
        assert attended[-1].shape == features.map.shape, attention
    for aggregator_name, cls in AGGREGATORS.items():
        small = {f"aggregator.{k}": v for k, v in SMALL.get(aggregator_name, {}).items()}
        small["aggregator.name"] = aggregator_name
        if cls.needs_token and features.token is None:
            with pytest.raises(UserError, match="needs a class token"):
                base.with_settings(small)
            seen["refused"] += 1
            continue
        recipe = base.with_settings(small)
        aggregator = build_aggregator(recipe.aggregator, features).eval()
        expected = (batch, dimension(aggregator_name, recipe, shape[1]))
        for map_ in attended:
            descriptors = aggregate(aggregator, Features(map_, features.token))
            assert descriptors.shape == expected, aggregator_name
            torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(batch))
            seen["described"] += 1
    return seen


@pytest.mark.slow
@torch.no_grad()
def test_every_combination_has_the_shape_that_it_says() -> None:
    examples = []

    @settings(max_examples=2, deadline=None, derandomize=True, database=None)
    @given(
        grid=st.tuples(st.integers(2, 4), st.integers(2, 4)),
        batch=st.integers(1, 3),
        crop_last=st.integers(0, 3),
    )
    def check(grid: tuple[int, int], batch: int, crop_last: int) -> None:
        seen = Counter()
        for name in ARCHITECTURES:
            seen += combinations(name, crop_last, grid, batch)
        examples.append(seen)

    check()
    # 29 backbones, of which 5 have a token; 13 aggregators, of which 2 need one; 5 attentions.
    assert set(ARCHITECTURES) == set(BACKBONES) - {"timm"}
    assert (len(ARCHITECTURES), len(AGGREGATORS), len(ATTENTION)) == (29, 13, 5)
    assert len(examples) >= 2
    for seen in examples:
        assert seen == {"described": 5 * (29 * 11 + 5 * 2), "refused": 24 * 2}
