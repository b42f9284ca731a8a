"""The network: what it accepts, what it returns, and what must not change the result."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from vgray import Recipe, UserError
from vgray.models import AGGREGATORS, Network

TINY = {"image_size": [48, 64], "backbone": {"name": "resnet18", "weights": "none"}}


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(Recipe.from_dict(TINY)).eval()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((128, 96)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("projection", [None, {"dim": 7}])
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_descriptors_of_every_aggregator_have_length_1(
    precision: str, projection: dict | None
) -> None:
    seen = 0
    for name, cls in AGGREGATORS.items():
        # The smallest network with a token, whose map is 3 x 4, too small for SALAD's 64 clusters.
        backbone = {"name": "timm/vit_tiny_patch16_224"} if cls.needs_token else {}
        clusters = {"num_clusters": 3} if name == "salad" else {}
        recipe = Recipe.from_dict(
            {
                **TINY,
                "backbone": {**TINY["backbone"], **backbone},
                "aggregator": {"name": name, **clusters},
                "precision": precision,
                "projection": projection,
            }
        )
        network = Network(recipe)
        images = torch.randint(0, 256, (3, 3, 48, 64), dtype=torch.uint8)
        out = network(images)
        assert out.shape == (3, network.dimension), name
        assert projection is None or network.dimension == 7
        assert out.dtype == torch.float32
        torch.testing.assert_close(out.norm(dim=1), torch.ones(3))
        assert out.requires_grad
        seen += 1
    assert seen == len(AGGREGATORS) >= 13


def test_images_are_normalised_as_imagenets(network: Network) -> None:
    images = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = network.aggregator(network.backbone((images / 255 - mean) / std).map)
    torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-3)


def test_paths_images_and_tensors_give_one_descriptor(network: Network, photo: Path) -> None:
    image = Image.open(photo)
    whole = network.describe([photo, str(photo), image])
    assert whole.shape == (3, 256)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole[0], whole[2])
    for single in (photo, str(photo), image):
        torch.testing.assert_close(network.describe(single), whole[:1])
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    # Two implementations of the same antialiased filter differ in the last bit of a pixel.
    torch.testing.assert_close(network.describe(tensor), whole[:1], atol=2e-3, rtol=0)


def test_blocks_and_modes_do_not_change_descriptors(network: Network) -> None:
    images = torch.randint(0, 256, (5, 3, 48, 64), dtype=torch.uint8)
    together = network.describe(images)
    torch.testing.assert_close(network.describe(images, block=2), together)
    network.train()
    before = network.backbone.blocks[0].bn1.running_mean.clone()
    torch.testing.assert_close(network.describe(images), together)
    assert network.training
    assert torch.equal(before, network.backbone.blocks[0].bn1.running_mean)


def test_nothing_to_describe(network: Network) -> None:
    assert network.describe([]).shape == (0, 256)
    assert network.describe(torch.empty(0, 3, 9, 9, dtype=torch.uint8)).shape == (0, 256)


def test_images_that_cannot_be_described(network: Network, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    for path in (tmp_path / "empty.jpg", tmp_path / "missing.jpg"):
        with pytest.raises(UserError, match=path.name):
            network.describe(path)
    with pytest.raises(UserError, match="mode I;16"):
        network.describe(Image.new("I;16", (8, 8)))
    with pytest.raises(ValueError, match="uint8 tensor"):
        network.describe(torch.zeros(1, 3, 48, 64))
    with pytest.raises(ValueError, match="uint8 tensor"):
        network.describe(torch.zeros(3, 48, 64, dtype=torch.uint8))


def test_parts_get_the_sizes_of_the_features_that_come_in() -> None:
    settings = {**TINY, "aggregator": {"name": "mixvpr"}}
    network = Network(Recipe.from_dict({**settings, "image_size": [64, 96]}))
    mixer = network.aggregator
    assert (mixer.in_h, mixer.in_w) == (4, 6)
    with pytest.raises(ValueError, match=r"4x6|4, 6"):
        network(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    # A photograph of any size is brought to the size that the model is made for.
    assert network.describe(torch.zeros(1, 3, 50, 70, dtype=torch.uint8)).shape == (1, 2048)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregator.name": "salad"}, "salad needs a class token"),
        ({"aggregator.name": "convap", "aggregator.in_channels": 9}, "in_channels: found 9"),
        ({"aggregator.name": "mixvpr", "aggregator.in_h": 9}, "aggregator.in_h: found 9"),
        ({"attention.name": "soa", "attention.reduction": 999}, "attention.reduction: found 999"),
    ],
)
def test_what_only_building_can_tell_is_one_line(settings: dict, message: str) -> None:
    recipe = Recipe.from_dict(TINY).with_settings({"backbone.name": "timm/resnet10t"})
    recipe = recipe.with_settings({"backbone.weights": "none", **settings})
    with pytest.raises(UserError, match=message):
        Network(recipe)


def test_salad_on_a_small_map_of_timm_is_one_line() -> None:
    recipe = Recipe.from_dict(TINY).with_settings(
        {
            "backbone.name": "timm/vit_tiny_patch16_224",
            "backbone.weights": "none",
            "aggregator.name": "salad",
        }
    )
    with pytest.raises(UserError, match=r"aggregator: .*clusters"):
        Network(recipe)


def multi_scale(**settings: object) -> Network:
    torch.manual_seed(0)
    return Network(Recipe.from_dict({**TINY, "image_size": [64, 96], **settings})).eval()


@pytest.mark.parametrize("name", ["average", "power_mean", "concatenate"])
@pytest.mark.parametrize("aggregator", ["gem", "mixvpr"])
def test_scales_are_combined_in_evaluation_only(name: str, aggregator: str) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    head = {"aggregator": {"name": aggregator}}
    single = multi_scale(**head)
    both = multi_scale(**head, multi_scale={"name": name, "scales": [1, 0.5]})
    one = single(images)
    out = both(images)
    assert out.shape == (2, both.dimension)
    assert both.dimension == single.dimension * (2 if name == "concatenate" else 1)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2))
    assert not torch.allclose(out[:, : single.dimension], one)
    if name == "concatenate":
        torch.testing.assert_close(out[:, : single.dimension] * 2**0.5, one)
    torch.testing.assert_close(both.train()(images), single.train()(images))
    same = multi_scale(**head, multi_scale={"name": name, "scales": [1]})
    torch.testing.assert_close(same(images), one)


def test_scales_of_a_transformer_are_multiples_of_its_patch() -> None:
    backbone = {"name": "timm/vit_tiny_patch16_224", "weights": "none"}
    network = multi_scale(backbone=backbone, multi_scale={"name": "average", "scales": [1, 0.6]})
    assert network(torch.zeros(1, 3, 64, 96, dtype=torch.uint8)).shape == (1, 192)


def test_adaptive_attention_starts_from_the_backbones_classifier(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(num_classes=11).state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    backbone = {"name": "resnet18", "weights": str(tmp_path / "whole.safetensors"), "crop_last": 0}
    settings = {**TINY, "backbone": backbone, "attention": {"name": "adageo", "num_classes": 11}}
    network = Network(Recipe.from_dict(settings))
    assert torch.equal(network.attention.fc.weight, state["fc.weight"])
    assert network.backbone.classifier is None
    settings["attention"] = {"name": "adageo"}
    with pytest.raises(UserError, match=r"num_classes: found 1000, but .* classify 11"):
        Network(Recipe.from_dict(settings))


@pytest.mark.slow
def test_every_aggregator_exports() -> None:
    seen = 0
    images = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    for name, cls in AGGREGATORS.items():
        vit = {"name": "timm/vit_tiny_patch16_224"} if cls.needs_token else {}
        recipe = {**TINY, "backbone": {**TINY["backbone"], **vit}, "aggregator": {"name": name}}
        if name == "salad":
            recipe["aggregator"]["num_clusters"] = 3
        for scales in (None, {"name": "average", "scales": [1, 0.5]}):
            network = Network(Recipe.from_dict({**recipe, "multi_scale": scales})).eval()
            program = torch.export.export(network, (images,))
            torch.testing.assert_close(program.module()(images), network(images))
            seen += 1
    assert seen == 2 * len(AGGREGATORS)
