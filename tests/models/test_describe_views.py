"""Images described at the size that they have, and models used at another than their own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vgray import Recipe, UserError, load_model
from vgray.models import AGGREGATORS, Network, checkpoint, save_checkpoint
from vgray.models.multi_scale import combine, resize_images

CONVOLUTIONS = {"name": "resnet18", "weights": "none"}
TRANSFORMER = {"name": "timm/vit_tiny_patch16_224", "weights": "none", "crop_last": 9}
SMALL = {
    "netvlad": {"clusters_num": 4},
    "crn": {"clusters_num": 4},
    "boq": {"proj_channels": 64, "num_queries": 3, "row_dim": 2},
    "salad": {"num_clusters": 3, "cluster_dim": 5, "token_dim": 6},
}


def build(**settings: object) -> Network:
    torch.manual_seed(0)
    values = {"image_size": [48, 64], "backbone": CONVOLUTIONS, "precision": "float32"}
    return Network(Recipe.from_dict({**values, **settings})).eval()


def smooth(number: int, height: int, width: int) -> Tensor:
    """Return images whose descriptors stay much the same when they are resized."""
    coarse = np.random.default_rng(0).integers(0, 256, (number, 3, 3, 4)).astype(np.float32)
    large = functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic")
    return large.clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("backbone", [CONVOLUTIONS, TRANSFORMER], ids=["resnet", "vit"])
def test_every_aggregator_describes_any_size(backbone: dict) -> None:
    seen = 0
    for name, cls in AGGREGATORS.items():
        if cls.needs_token and backbone is CONVOLUTIONS:
            continue
        network = build(backbone=backbone, aggregator={"name": name, **SMALL.get(name, {})})
        own = smooth(2, 48, 64)
        expected = network.describe(own)
        assert torch.equal(network.describe_views(own), expected), name
        with torch.inference_mode():
            assert torch.equal(network(own), expected), name
        for height, width in ((48, 48), (51, 83), (97, 32), (96, 128)):
            out = network.describe_views(smooth(2, height, width))
            assert out.shape == expected.shape, name
            assert out.dtype == torch.float32
            torch.testing.assert_close(out.norm(dim=1), torch.ones(2))
            assert not torch.allclose(out, expected), name
        seen += 1
    assert seen == (11 if backbone is CONVOLUTIONS else 13)


def test_what_is_made_for_one_size_is_interpolated() -> None:
    images = smooth(2, 80, 48)
    mixer = build(aggregator={"name": "mixvpr"})
    with torch.inference_mode():
        map_ = resize_images(mixer.local_features(images), (3, 4))
        expected = functional.normalize(mixer.aggregator(map_), dim=1)
    torch.testing.assert_close(mixer.describe_views(images), expected)
    # Sides that are no multiples of the patch become the nearest that are.
    vit = build(backbone=TRANSFORMER)
    scale, offset = vit._scale, vit._offset
    with torch.inference_mode():
        x = resize_images(smooth(1, 57, 55) * scale + offset, (64, 48))
        expected = vit.aggregator(vit.backbone(x).map)
    torch.testing.assert_close(vit.describe_views(smooth(1, 57, 55)), expected)


@pytest.mark.parametrize("aggregator", ["gem", "mixvpr"])
def test_scales_are_of_the_size_that_images_have(aggregator: str) -> None:
    scales = {"name": "concatenate", "scales": [1, 0.5]}
    network = build(aggregator={"name": aggregator}, multi_scale=scales)
    single = build(aggregator={"name": aggregator})
    images = smooth(2, 80, 96)
    with torch.inference_mode():
        half = resize_images(images * network._scale + network._offset, (40, 48))
        described = [single.describe_views(images), single._describe(half, any_size=True)]
    torch.testing.assert_close(network.describe_views(images), combine(described, "concatenate"))
    own = smooth(2, 48, 64)
    assert torch.equal(network.describe_views(own), network.describe(own))


def test_large_images_go_through_the_network_a_few_at_a_time() -> None:
    network = build()
    sizes = []
    network.backbone.register_forward_pre_hook(lambda _, given: sizes.append(tuple(given[0].shape)))
    images = smooth(5, 48 * 3, 64 * 2)
    together = network.describe_views(images)
    assert [size[0] for size in sizes] == [2, 2, 1]
    torch.testing.assert_close(network.describe_views(images[3:]), together[3:])
    sizes.clear()
    network.describe_views(smooth(17, 33, 32))
    assert [size[0] for size in sizes] == [16, 1]
    assert network.describe_views(images[:0]).shape == (0, network.dimension)


@pytest.mark.parametrize(
    ("settings", "size", "reason"),
    [
        ({}, (31, 64), "expected 32 pixels"),
        ({}, (0, 64), "expected 32 pixels"),
        ({"backbone": {"name": "vgg16", "weights": "none", "crop_last": 0},
          "multi_scale": {"name": "average", "scales": [1, 0.4]}}, (32, 32), "too small"),
        ({"backbone": TRANSFORMER, "aggregator": {"name": "salad", "num_clusters": 4}},
         (32, 39), "2x2 = 4 locations"),
    ],
)  # fmt: skip
def test_images_that_are_too_small_are_one_line(
    settings: dict, size: tuple[int, int], reason: str
) -> None:
    network = build(**settings)
    message = f"found images of {size[0]}x{size[1]}, .*{reason}.*; resize them to 48x64"
    with pytest.raises(UserError, match=message) as refused:
        network.describe_views(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert "\n" not in str(refused.value)


def test_what_is_no_image() -> None:
    network = build()
    for wrong in (torch.zeros(1, 3, 48, 64), torch.zeros(3, 48, 64, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="uint8 tensor"):
            network.describe_views(wrong)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "best", build(aggregator={"name": "mixvpr"}), {"history": []})


def test_a_model_is_used_at_another_size(saved: Path) -> None:
    model = load_model(saved, "cpu", settings={"image_size": "80x96"})
    assert model.recipe.image_size == (80, 96)
    assert model.recipe == checkpoint.test_recipe(saved, {"image_size": [80, 96]})
    own = load_model(saved, "cpu")
    images = smooth(2, 80, 96)
    expected = own.describe_views(images)
    assert torch.equal(model.describe_views(images), expected)
    with torch.inference_mode():
        assert torch.equal(model(images), expected)
    larger = smooth(1, 160, 192)
    # Photographs of any size are brought to the new one.
    assert (model.describe(larger) - own.describe(larger)).abs().max() > 1e-3
    assert (model.describe(larger) - expected[:1]).norm() < 0.1


def test_a_model_is_used_at_several_scales_and_in_another_precision(saved: Path) -> None:
    own = load_model(saved, "cpu")
    scales = {"multi_scale.name": "concatenate", "multi_scale.scales": [1, 0.75]}
    model = load_model(saved, "cpu", settings=scales)
    assert model.dimension == 2 * own.dimension
    images = smooth(2, 48, 64)
    described = model.describe(images)
    torch.testing.assert_close(described[:, : own.dimension] * 2**0.5, own.describe(images))
    save_checkpoint(saved, model, {"history": []})
    single = load_model(saved, "cpu", settings={"multi_scale": None})
    assert torch.equal(single.describe(images), own.describe(images))
    half = load_model(saved, "cpu", settings={"precision": "bfloat16"})
    half.half_precision = True  # also on a machine without
    assert 0 < (half.describe(images) - described).abs().max() < 0.05


def test_positions_of_a_transformer_are_interpolated(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best", build(backbone={**TRANSFORMER}), {"history": []})
    model = load_model(tmp_path / "best", "cpu", settings={"image_size": 64})
    assert model.describe(smooth(2, 50, 70)).shape == (2, 192)
    with pytest.raises(UserError, match=r"image_size: found 50x50.* multiples of 16"):
        load_model(tmp_path / "best", "cpu", settings={"image_size": 50})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer.lr": 0.1}, "optimizer.lr: .*only image_size, multi_scale, precision can be"),
        ({"backbone.name": "vgg16"}, "backbone.name: .*trained already"),
        ({"seed": 3}, "seed: .*trained already"),
        ({"image_size": 20}, "image_size.*20"),
        ({"multi_scale.name": "mean"}, "multi_scale.name: found 'mean'"),
        ({"precision": "auto"}, "float32 or bfloat16"),
        ({"precision": "float8"}, "precision: found 'float8'"),
    ],
)
def test_settings_that_are_not_for_testing(saved: Path, settings: dict, message: str) -> None:
    for load in (load_model, lambda path, settings: checkpoint.test_recipe(path, settings)):
        with pytest.raises(UserError, match=message) as refused:
            load(saved, settings=settings)
        assert "\n" not in str(refused.value)


def test_salad_needs_more_locations_than_clusters_at_any_size(tmp_path: Path) -> None:
    network = build(backbone=TRANSFORMER, aggregator={"name": "salad", "num_clusters": 8})
    save_checkpoint(tmp_path / "best", network, {"history": []})
    with pytest.raises(UserError, match=r"image_size: found 32x32, which .*raise image_size"):
        load_model(tmp_path / "best", "cpu", settings={"image_size": 32})


def test_a_recipe_without_its_weights_is_a_damaged_checkpoint(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.test_recipe(saved)
