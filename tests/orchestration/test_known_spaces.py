"""The spaces that come with vgray: complete, valid, and true to what they say."""

from dataclasses import replace
from typing import Any

import pytest

import search_spaces.aggregators as aggregators
import search_spaces.attention as attention
import search_spaces.backbones as backbones
import search_spaces.image_sizes as image_sizes
from vgray.orchestration.branches import Feasible, find_branches, sample_settings
from vgray.orchestration.probes import Probe
from vgray.orchestration.spaces import known_spaces, load_space
from vgray.recipe import Recipe
from vgray.recipe.architectures import ARCHITECTURES
from vgray.settings import known_names, settings_in

SPACES = ["aggregators", "attention", "backbones", "image_sizes", "optimizers"]


def _family(path: str) -> set[str]:
    """Return the names that a recipe offers for one of its families."""
    members = settings_in(Recipe.model_fields[path].annotation)
    return {name for member in members for name in known_names(member)}


def test_these_are_the_known_spaces() -> None:
    assert known_spaces() == SPACES


@pytest.mark.parametrize("name", SPACES)
def test_every_branch_and_published_setting_is_a_recipe(name: str) -> None:
    space = load_space(name)
    base = Recipe().with_settings(space.base)
    feasible = Feasible(space, base)
    found = find_branches(space, feasible, {})
    assert len(found.kept) >= 4
    assert found.left_out == []
    assert found.published == list(space.published)
    assert space.published
    for branch in found.kept:
        assert Recipe.from_dict(branch.recipe.to_dict()) == branch.recipe
    for setting in space.published:
        base.with_settings(setting)
        probe = Probe(setting, [], 0.5)
        space.run(probe)
        # Nothing of it is left to chance.
        assert {*probe.ranges, *probe.picked} <= setting.keys()
    assert len({base.with_settings(setting) for setting in space.published}) == len(space.published)
    drawn = sample_settings(replace(space, allows=feasible), base, 300, seed=0)
    choices = [branch.choices for branch in found.kept]
    seen = [choice for choice in choices if any(choice.items() <= each.items() for each in drawn)]
    assert seen == choices


def test_aggregators_are_all_that_need_no_class_token() -> None:
    assert {*aggregators.NAMES, "salad", "cls"} == _family("aggregator")


def test_attention_modules_are_all() -> None:
    assert set(attention.NAMES) == _family("attention")


def test_backbones_with_a_token_are_all_and_have_one() -> None:
    with_token = {name for name, each in ARCHITECTURES.items() if each.has_token}
    assert set(backbones.WITH_TOKEN) == with_token
    names = {*backbones.RESNETS, *backbones.LATEST, *backbones.WITH_TOKEN}
    assert names <= _family("backbone")
    assert set(backbones.RESNETS) == {name for name in ARCHITECTURES if "resnet" in name}


def test_some_of_every_network_learns() -> None:
    drawn = sample_settings(load_space("backbones"), Recipe(), 400, seed=0)
    left = set()
    for settings in drawn:
        backbone = Recipe().with_settings(settings).backbone
        blocks = len(ARCHITECTURES[backbone.name].channels) - backbone.crop_last
        assert backbone.train_from < blocks
        left.add((backbone.name, blocks - backbone.train_from))
    assert {("vgg16", 1), ("resnet18", 1), ("vit_b_16", 1), ("vit_b_16", 6)} <= left


def test_what_two_spaces_publish_is_the_same_network() -> None:
    base = Recipe().with_settings(aggregators.BASE)
    here = [base.with_settings(setting) for setting in aggregators.PUBLISHED]
    there = {Recipe().with_settings(setting) for setting in backbones.PUBLISHED}
    # All that have a figure.
    assert [recipe in there for recipe in here] == [True] * 4 + [False] * 3
    assert all("backbone" not in path for each in aggregators.PUBLISHED for path in each)


def test_image_sizes_go_from_small_to_large() -> None:
    def pixels(size: str) -> int:
        height, width = size.split("x")
        return int(height) * int(width)

    counts = [pixels(size) for size in image_sizes.SIZES]
    assert counts == sorted(counts)
    assert len(set(image_sizes.SIZES)) == 8


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("aggregators", {"aggregator.name": "mixvpr", "aggregator.out_channels": 256}),
        ("attention", {"attention.name": "none"}),
        ("backbones", {"backbone.name": "dinov2_vitb14", "aggregator.name": "boq"}),
        ("image_sizes", {"image_size": "320x320"}),
    ],
)
def test_the_best_published_setting_comes_first(name: str, first: dict[str, Any]) -> None:
    assert first.items() <= load_space(name).published[0].items()
