"""What holds for every backbone: cropping, freezing, sizes, and what is refused."""

import pytest
import torch
from torch import nn

from vgray import UserError
from vgray.models.backbones import Backbone, build_backbone
from vgray.recipe.architectures import ARCHITECTURES

# One of each family, and a size that fits it.
FAMILIES = {
    "resnet18": (64, 96),
    "vgg16": (64, 96),
    "mobilenet_v3_small": (64, 96),
    "convnext_tiny": (64, 96),
    "swin_t": (64, 96),
    "vit_b_16": (32, 48),
    "dinov2_vits14_reg": (28, 42),
    "cct14_7x2_224": (64, 96),
    "timm/resnet18": (64, 96),
    "timm/vit_tiny_patch16_224": (32, 48),
}
NORMALISED = ("vit_b_16", "dinov2_vits14_reg", "cct14_7x2_224")


def build(name: str, crop_last: int = 0, train_from: int = 0, **options: bool) -> Backbone:
    size = FAMILIES[name]
    return build_backbone(
        name,
        image_size=size,
        weights="none",
        crop_last=crop_last,
        train_from=train_from,
        **options,
    )


def most_cropped(name: str) -> int:
    """Return the crop that leaves two blocks, which makes for a quick test."""
    if name.startswith("timm/"):
        return {"timm/resnet18": 3, "timm/vit_tiny_patch16_224": 11}[name]
    return len(ARCHITECTURES[name].channels) - 2


@pytest.mark.parametrize("name", FAMILIES)
def test_map_and_token(name: str) -> None:
    crop_last = most_cropped(name)
    backbone = build(name, crop_last).eval()
    tensors = [*backbone.parameters(), *backbone.buffers()]
    assert not any(tensor.is_meta for tensor in tensors)
    assert all(tensor.isfinite().all() for tensor in tensors)
    images = torch.rand(2, 3, *FAMILIES[name])
    with torch.inference_mode():
        map_, token = backbone(images)
        torch.testing.assert_close(backbone(images[1:]).map, map_[1:], rtol=1e-4, atol=1e-5)
        if name != "timm/vit_tiny_patch16_224":  # timm's own reshape needs an image
            assert backbone(images[:0]).map.shape == (0, *map_.shape[1:])
    assert map_.shape[:2] == (2, backbone.out_channels)
    assert backbone.has_token == (token is not None)
    if token is not None:
        assert token.shape == map_.shape[:2]


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_before_train_from_are_frozen(name: str) -> None:
    crop_last = most_cropped(name)
    learning = []
    for train_from in (0, 1, 2):
        backbone = build(name, crop_last, train_from).train()
        names = {n for n, p in backbone.named_parameters() if p.requires_grad}
        learning.append(names)
        if not name.startswith("timm/"):
            expected = {n for n in names if not n.startswith("norm.")}
            blocks = {int(n.split(".")[1]) for n in expected}
            assert blocks == set(range(train_from, 2)), train_from
    everything = {n for n, _ in backbone.named_parameters()}
    assert learning[0] == everything > learning[1] > learning[2] == set()
    if any("norm." in n.split("blocks")[0] for n in everything):
        assert {"norm.weight", "norm.bias"} <= {n.removeprefix("model.") for n in learning[1]}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "timm/resnet18"])
@pytest.mark.parametrize("update", [False, True])
def test_statistics_of_frozen_blocks(name: str, update: bool) -> None:
    backbone = build(name, most_cropped(name), 1, update_frozen_statistics=update)
    before = {n: b.clone() for n, b in backbone.named_buffers() if n.endswith("running_mean")}
    backbone.train()(torch.randn(4, 3, 64, 96))
    after = dict(backbone.named_buffers())
    changed = [not torch.equal(value, after[n]) for n, value in before.items()]
    assert len(changed) >= 2
    assert all(changed[1:])
    assert changed[0] == update
    assert not any(m.training for m in backbone.eval().modules())
    frozen = [m for m in backbone.train().modules() if not m.training]
    assert bool(frozen) != update
    assert all(isinstance(m, nn.BatchNorm2d) for m in frozen)


@pytest.mark.parametrize("name", NORMALISED)
def test_the_final_norm_can_be_left_out(name: str) -> None:
    torch.manual_seed(0)
    with_norm = build(name, most_cropped(name)).eval()
    without = build(name, most_cropped(name), final_norm=False).eval()
    without.load_state_dict(
        {k: v for k, v in with_norm.state_dict().items() if not k.startswith("norm.")}
    )
    images = torch.rand(1, 3, *FAMILIES[name])
    with torch.inference_mode():
        map_ = with_norm.norm(without(images).map.movedim(1, -1)).movedim(-1, 1)
        torch.testing.assert_close(with_norm(images).map, map_)


def test_what_no_backbone_can_be_built_of() -> None:
    with pytest.raises(ValueError, match="final_norm=False, but resnet18 has no final norm"):
        build("resnet18", final_norm=False)
    with pytest.raises(UserError, match=r"crop_last: found 4; resnet18 has 5 blocks.*give 0 to 3"):
        build("resnet18", 4)
    with pytest.raises(UserError, match=r"train_from: found 5, but with crop_last 1 4 blocks"):
        build("resnet18", 1, 5)
    with pytest.raises(UserError, match=r"crop_last: found 12; timm/vit_tiny_patch16_224 has 13"):
        build("timm/vit_tiny_patch16_224", 12)


@pytest.mark.parametrize("name", ["dinov2_vits14", "timm/vit_small_patch14_dinov2"])
def test_sizes_that_are_no_multiple_of_the_patch(name: str) -> None:
    options = {"weights": "none", "crop_last": 11, "train_from": 0}
    with pytest.raises(UserError) as caught:
        build_backbone(name, image_size=(224, 320), **options)
    assert str(caught.value) == (
        f"image_size: found 224x320; {name} needs multiples of 14, "
        "the nearest are 224 for the height and 308 or 322 for the width"
    )
    backbone = build_backbone(name, image_size=(28, 28), **options).eval()
    assert backbone.size_multiple == 14
    with pytest.raises(ValueError, match=r"found images of 30x13; .* are 28 or 42 for the height"):
        backbone(torch.rand(1, 3, 30, 13))
    with torch.inference_mode():  # of another size they are fine: positions are interpolated
        assert backbone(torch.rand(1, 3, 42, 14)).map.shape == (1, 384, 3, 1)


@pytest.mark.parametrize("name", ["resnet18", "dinov2_vits14_reg", "timm/vit_tiny_patch16_224"])
def test_export_with_any_batch(name: str) -> None:
    backbone = build(name, most_cropped(name)).eval()
    images = torch.rand(3, 3, *FAMILIES[name])
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(backbone, (images[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images).map, backbone(images).map)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ARCHITECTURES, "timm/resnet18", "timm/convnext_atto"])
def test_export_of_every_backbone(name: str) -> None:
    size = (56, 70) if name.startswith("dinov2") else (64, 96)
    backbone = build_backbone(name, image_size=size, weights="none", crop_last=0, train_from=1)
    images = torch.rand(2, 3, *size)
    program = torch.export.export(backbone.eval(), (images,))
    map_, token = program.module()(images)
    expected = backbone(images)
    torch.testing.assert_close(map_, expected.map, rtol=1e-3, atol=1e-4)
    assert (token is None) == (not backbone.has_token)
