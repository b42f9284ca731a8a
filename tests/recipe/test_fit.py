"""What cannot make a network is refused by the recipe, with the remedy."""

from typing import Any

import pytest

from vgray import Recipe, UserError


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
    ],
)
def test_what_does_not_fit_is_one_line_with_its_remedy(
    settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        Recipe().with_settings(settings)
    message = str(caught.value)
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
