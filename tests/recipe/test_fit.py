"""What cannot make a network is refused by the recipe, with the remedy."""

import itertools
from typing import Any

import pytest

from vgray import Recipe, UserError
from vgray.recipe import is_misfit
from vgray.recipe.fit import scaled_size


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"aggregator.name": "mixvpr", "aggregator.in_h": 20},
            ["aggregator.in_h: found 20", "224x224", "map of 14x14", "leave it out"],
        ),
        (
            {"aggregator.name": "mixvpr", "aggregator.in_w": 20, "image_size": "320x640"},
            ["aggregator.in_w: found 20", "map of 20x40"],
        ),
        (
            {"aggregator.name": "salad"},
            ["aggregator.name: salad needs a class token", "vit_b_16", "dinov2_vits14"],
        ),
        ({"aggregator.name": "cls"}, ["aggregator.name: cls needs a class token"]),
        (
            {"aggregator.name": "convap", "aggregator.in_channels": 512},
            ["aggregator.in_channels: found 512", "gives 256 channels", "leave it out"],
        ),
        ({"aggregator.name": "cosplace", "aggregator.in_dim": 9}, ["aggregator.in_dim: found 9"]),
        ({"aggregator.name": "netvlad", "aggregator.dim": 9}, ["aggregator.dim: found 9"]),
        ({"backbone.crop_last": 4}, ["backbone.crop_last: found 4", "5 blocks", "0 to 3"]),
        ({"backbone.name": "vgg16", "backbone.crop_last": 4}, ["vgg16 has 5 blocks", "0 to 3"]),
        ({"backbone.train_from": 5}, ["backbone.train_from: found 5", "0 to 4"]),
        (
            {"backbone.name": "dinov2_vits14", "image_size": "320x224"},
            ["image_size: found 320x224", "multiples of 14", "308 or 322", "224 for the width"],
        ),
        ({"backbone.name": "vit_b_16", "image_size": 40}, ["multiples of 16", "32 or 48"]),
        (
            {"backbone.name": "dinov2_vits14", "image_size": 112, "aggregator.name": "salad"},
            ["aggregator.num_clusters: found 64", "map of 8x8", "lower it or raise image_size"],
        ),
        (
            {"attention.name": "non_local", "attention.reduction": 300},
            ["attention.reduction: found 300", "only 256 channels"],
        ),
        (
            {
                "backbone.name": "dinov2_vits14",
                "aggregator.name": "salad",
                "multi_scale.name": "average",
            },
            ["multi_scale.scales: found 0.5", "112x112", "map of 8x8", "salad needs 65 locations"],
        ),
        (
            {
                "backbone.name": "convnext_tiny",
                "image_size": 64,
                "multi_scale.name": "average",
                "multi_scale.scales": [1, 0.25],
            },
            ["multi_scale.scales: found 0.25", "images of 16x16", "gem needs 1 location,"],
        ),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_remedy(
    settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        Recipe().with_settings(settings)
    message = str(caught.value)
    assert is_misfit(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "settings",
    [
        {"aggregator.name": "mixvpr", "aggregator.in_h": 14, "aggregator.in_w": 14},
        {"aggregator.name": "convap", "aggregator.in_channels": 256},
        {"backbone.name": "dinov2_vits14", "aggregator.name": "salad"},
        {"backbone.name": "vit_b_16", "aggregator.name": "cls"},
        {"backbone.crop_last": 3, "backbone.train_from": 2},
        {"backbone.name": "dinov2_vitb14", "backbone.train_from": 9, "image_size": 322},
        {"backbone.name": "timm/anything", "aggregator.name": "salad", "image_size": 33},
    ],
)
def test_what_fits_is_taken(settings: dict[str, Any]) -> None:
    Recipe().with_settings(settings)


def test_what_is_wrong_by_itself_is_no_misfit() -> None:
    with pytest.raises(UserError) as caught:
        Recipe().with_settings({"backbone.crop_last": -1})
    assert not is_misfit(caught.value)


def test_advice_is_itself_valid() -> None:
    for given, advice in ((40, "the nearest is 42"), (4090, "the nearest is 4088")):
        with pytest.raises(UserError, match=advice):
            Recipe().with_settings({"backbone.name": "dinov2_vits14", "image_size": given})


def test_scaled_sizes_are_the_nearest_valid_ones() -> None:
    seen = 0
    scales = (0.01, 0.5, 2**-0.5, 1.0, 2**0.5, 2.0)
    for side, scale, multiple in itertools.product((1, 64, 224, 322), scales, (1, 14, 16)):
        height, width = scaled_size((side, 322), scale, multiple)
        valid = range(multiple, 1000, multiple)
        assert abs(height - side * scale) == min(abs(v - side * scale) for v in valid)
        assert abs(width - 322 * scale) == min(abs(v - 322 * scale) for v in valid)
        assert height in valid
        assert width in valid
        seen += 1
    assert seen == 4 * 6 * 3
    assert scaled_size((480, 640), 1.0, 1) == (480, 640)
    assert scaled_size((7, 5), 0.5, 1) == (4, 3)
    assert scaled_size((21, 35), 1.0, 14) == (28, 42)
