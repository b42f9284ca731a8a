"""The spaces that come with vgray: complete, valid, and true to what they say."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import search_spaces.aggregators as aggregators
import search_spaces.augmentations as augmentations
import search_spaces.backbones as backbones
import search_spaces.batch_shape as batch_shape
import search_spaces.brightness as brightness
import search_spaces.image_sizes as image_sizes
import search_spaces.losses as losses
import search_spaces.miners as miners
from vgray.errors import UserError
from vgray.orchestration.branches import find_branches, sample_settings
from vgray.orchestration.feasible import Feasible
from vgray.orchestration.grid import grid_settings
from vgray.orchestration.probes import Probe
from vgray.orchestration.spaces import known_spaces, load_space
from vgray.places.augmentation import augment
from vgray.recipe import Recipe
from vgray.recipe.architectures import ARCHITECTURES
from vgray.settings import known_names, settings_in

# Each with how many branches it has, or how many of them cover its choices.
BRANCHES = {
    "aggregators": 11, "attention": 5, "augmentations": 1, "backbones": 27, "batch_shape": 1,
    "brightness": 1, "everything": 64, "image_sizes": 8, "losses": 12, "lr_weight_decay": 1,
    "miners": 4, "mining": 3, "optimizers": 4, "schedulers": 4, "train_distance": 1,
}  # fmt: skip
SPACES = sorted(BRANCHES)
# Those that draw no number from a range, and how many settings they have.
GRIDS = {
    "attention": 22, "backbones": 199, "batch_shape": 15, "brightness": 7, "image_sizes": 8,
    "mining": 36, "schedulers": 60, "train_distance": 5,
}  # fmt: skip


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
    assert len(found.kept) == BRANCHES[name]
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
    # What goes together takes long to find out where there is much of it.
    is_large = name == "everything"
    drawn = sample_settings(replace(space, allows=feasible), base, 10 if is_large else 300, seed=0)
    if is_large:
        assert not found.are_all
        return
    choices = [branch.choices for branch in found.kept]
    seen = [choice for choice in choices if any(choice.items() <= each.items() for each in drawn)]
    assert seen == choices


def _offered(name: str, path: str) -> set[str]:
    """Return what one of the spaces offers for a path."""
    space = load_space(name)
    feasible = Feasible(space, Recipe().with_settings(space.base))
    kept = find_branches(space, feasible, {}).kept
    return {branch.choices[path] for branch in kept if path in branch.choices}


@pytest.mark.parametrize(
    ("name", "family", "not_offered"),
    [
        ("aggregators", "aggregator", {"salad", "cls"}),
        ("attention", "attention", set()),
        ("everything", "aggregator", set()),
        ("everything", "attention", set()),
        ("everything", "loss", set()),
        ("everything", "miner", set()),
        ("everything", "mining", {"msls_weighted"}),
        ("everything", "optimizer", set()),
        ("everything", "schedule", set()),
        ("losses", "loss", {"hphn"}),
        ("miners", "miner", set()),
        ("mining", "mining", {"none", "msls_weighted"}),
        ("optimizers", "optimizer", set()),
        ("schedulers", "schedule", set()),
    ],
)
def test_a_family_is_offered_whole(name: str, family: str, not_offered: set[str]) -> None:
    offered = _offered(name, f"{family}.name")
    assert offered == _family(family) - not_offered
    assert not_offered <= _family(family)


def test_losses_and_miners_compose_to_their_product() -> None:
    space = load_space("losses+miners")
    base = Recipe().with_settings(space.base)
    pairs = {
        (loss, miner): space.recipe(base, {"loss.name": loss, "miner.name": miner})
        for loss in losses.NAMES
        for miner in miners.NAMES
    }
    assert len(set(pairs.values())) == 12 * 4
    drawn = sample_settings(space, base, 400, seed=0)
    assert {(each["loss.name"], each["miner.name"]) for each in drawn} == pairs.keys()
    printed = {
        (setting["loss.name"], setting["miner.name"])
        for setting in space.published
        if "loss.name" in setting
    }
    for loss in ("contrastive", "multi_similarity"):
        assert {(loss, "none"), (loss, "multi_similarity"), (loss, "pair_margin")} <= printed


@pytest.mark.parametrize(
    ("names", "num_branches", "num_left_out"),
    [
        ("mining+train_distance", 4, 0),
        # Losses that were published with a miner, which tuples have not.
        ("mining+losses", 15, 5),
        ("augmentations+brightness", 2, 0),
        ("mining+brightness+train_distance", 5, 0),
        ("lr_weight_decay+schedulers+batch_shape", 6, 0),
        ("aggregators+losses+miners", 27, 0),
    ],
)
def test_spaces_compose(names: str, num_branches: int, num_left_out: int) -> None:
    space = load_space(names)
    base = Recipe().with_settings(space.base)
    found = find_branches(space, Feasible(space, base), {})
    assert (len(found.kept), len(found.left_out)) == (num_branches, num_left_out)
    assert len(sample_settings(space, base, 50, seed=0)) == 50


def test_everything_draws_only_what_belongs_together() -> None:
    space = load_space("everything")
    base = Recipe().with_settings(space.base)
    space = replace(space, allows=Feasible(space, base))
    seen = []
    for settings in sample_settings(space, base, 20, seed=0):
        recipe = space.recipe(base, settings)
        on_places = recipe.mining.name == "none"
        assert ("miner.name" in settings) == ("batch.places" in settings) == on_places
        assert ("mining.negatives" in settings) == (not on_places)
        seen.append(on_places)
    assert 0 < sum(seen) < 20
    for known, fits in [
        ({"loss.name": "hphn", "mining.name": "full"}, True),
        ({"loss.name": "hphn", "mining.name": "none"}, False),
        ({"aggregator.name": "salad", "backbone.name": "dinov2_vitb14"}, True),
        ({"aggregator.name": "salad", "backbone.name": "resnet50"}, False),
    ]:
        assert space.allows is not None
        assert space.allows(known) == fits


def test_a_grid_goes_through_these_spaces() -> None:
    sizes = {}
    for name in SPACES:
        space = load_space(name)
        base = Recipe().with_settings(space.base)
        try:
            sizes[name] = len(grid_settings(space, base))
        except UserError as error:
            assert "is drawn from a range" in str(error)
    assert sizes == GRIDS


def test_every_shape_of_a_batch_trains_on_the_same_places() -> None:
    space = load_space("batch_shape")
    base = Recipe().with_settings(space.base)
    drawn = [space.recipe(base, each).batch for each in sample_settings(space, base, 200, seed=0)]
    assert {batch.min_images_per_place for batch in drawn} == {4}
    shapes = {(batch.places, batch.images_per_place) for batch in drawn}
    assert len(shapes) == len(batch_shape.PLACES) * 3


def test_ranges_of_brightness_are_what_they_say() -> None:
    found = [
        Recipe().with_settings({"augmentation.brightness": text}).augmentation.brightness
        for text in brightness.RANGES
    ]
    assert found[:3] == [None, (0.1, 0.3), (0.1, 0.9)]
    assert len(set(found)) == 7
    published = {setting["augmentation.brightness"] for setting in brightness.PUBLISHED}
    assert published == {"none", "0.1-0.3", "0.3-0.9"} <= set(brightness.RANGES)


def test_augmentations_that_are_off_change_nothing() -> None:
    images = (torch.arange(4 * 3 * 24 * 32) * 7 % 256).to(torch.uint8).view(4, 3, 24, 32)
    for setting, is_off in zip(augmentations.PUBLISHED, [False, True, False], strict=True):
        recipe = Recipe().with_settings(setting)
        changed = augment(images, recipe.augmentation, seed=0, epoch=1, step=0)
        assert torch.equal(changed, images) == is_off
    drawn = sample_settings(load_space("augmentations"), Recipe(), 200, seed=0)
    assert augmentations.OFF.keys() <= set(drawn[0])
    for path, off in augmentations.OFF.items():
        values = [each[path] for each in drawn]
        assert 40 < values.count(off) < 160


def test_lr_and_weight_decay_begin_with_the_cases_and_the_grid_of_the_studies() -> None:
    tried = {
        (setting["optimizer.lr"], setting["optimizer.weight_decay"])
        for setting in load_space("lr_weight_decay").published
    }
    cases = {(1e-5, 0.01), (1e-5, 0.05), (1e-3, 0.01), (1e-4, 0.05), (1e-4, 0.1), (1e-4, 0.3)}
    grid = {(lr, weight_decay) for lr in (1e-2, 1e-3) for weight_decay in (1e-2, 1e-3)}
    assert cases | grid <= tried


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
        ("everything", {"loss.name": "multi_similarity", "schedule.t_max": 5}),
        ("image_sizes", {"image_size": "320x320"}),
        ("losses", {"loss.name": "multi_similarity", "loss.base": 0.5, "miner.name": "none"}),
        ("lr_weight_decay", {"optimizer.lr": 1e-4, "optimizer.weight_decay": 1e-3}),
        ("miners", {"miner.name": "none"}),
        ("mining", {"mining.name": "partial", "mining.negatives": 10}),
        ("optimizers", {"optimizer.name": "adamw", "optimizer.lr": 1e-4}),
        ("schedulers", {"schedule.name": "cosine", "schedule.t_max": 5}),
    ],
)
def test_the_best_published_setting_comes_first(name: str, first: dict[str, Any]) -> None:
    assert first.items() <= load_space(name).published[0].items()
