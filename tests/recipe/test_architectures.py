"""The table of architectures against the networks themselves, run dry."""

import pytest
import torch

from vgray.models.backbones import BACKBONES, Backbone, build_backbone
from vgray.recipe.architectures import ARCHITECTURES, Architecture

SIDE = 448  # a multiple of every stride and patch


@pytest.fixture(autouse=True)
def _without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave networks on the meta device, where running them only tells shapes."""
    monkeypatch.setattr(Backbone, "_fill", lambda *_: {})


def dry_run(name: str, crop_last: int) -> tuple[Backbone, int, int, bool]:
    """Return a backbone, and channels, stride and having a token of what it gives."""
    size = (SIDE, SIDE)
    backbone = build_backbone(
        name, image_size=size, weights="none", crop_last=crop_last, train_from=0
    )
    map_, token = backbone.eval()(torch.empty(1, 3, *size, device="meta"))
    _, channels, height, width = map_.shape
    assert height == width
    assert token is None or token.shape == (1, channels)
    return backbone, channels, SIDE // height, token is not None


def agree(name: str, architecture: Architecture, crop_last: int) -> bool:
    backbone, channels, stride, has_token = dry_run(name, crop_last)
    assert backbone.out_channels == channels
    assert backbone.has_token == has_token == architecture.has_token
    assert backbone.size_multiple == architecture.multiple
    last = -1 - crop_last
    return (channels, stride) == (architecture.channels[last], architecture.strides[last])


def test_every_backbone_is_in_the_table() -> None:
    assert [*ARCHITECTURES, "timm"] == list(BACKBONES)
    assert len(ARCHITECTURES) == 29


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "convnext_tiny", "swin_t", "cct14_7x2_224"])
def test_the_ends_of_small_networks(name: str) -> None:
    architecture = ARCHITECTURES[name]
    for crop_last in (0, 1, len(architecture.channels) - 2):
        assert agree(name, architecture, crop_last), crop_last


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_block_of_every_network(name: str) -> None:
    architecture = ARCHITECTURES[name]
    assert len(architecture.channels) == len(architecture.strides)
    for crop_last in range(len(architecture.channels) - 1):
        assert agree(name, architecture, crop_last), crop_last
