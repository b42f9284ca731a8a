"""The network: what it accepts, what it returns, and what must not change the result."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
    for name in AGGREGATORS:
        recipe = Recipe.from_dict(
            {
                **TINY,
                "aggregator": {"name": name},
                "precision": precision,
                "projection": projection,
            }
        )
        network = Network(recipe)
        images = torch.randint(0, 256, (3, 3, 48, 64), dtype=torch.uint8)
        out = network(images)
        assert out.shape == (3, network.dimension) == (3, 7 if projection else 256)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out.norm(dim=1), torch.ones(3))
        assert out.requires_grad
        seen += 1
    assert seen == len(AGGREGATORS) >= 2


def test_images_are_normalised_as_imagenets(network: Network) -> None:
    images = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = network.aggregator(network.backbone((images / 255 - mean) / std))
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
