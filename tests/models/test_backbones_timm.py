"""Any model of timm as a backbone."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from vgray import Recipe, UserError
from vgray.models import Network
from vgray.models.backbones import Backbone, build_backbone, timm_models

SIZE = (64, 96)


def build(model: str, weights: str = "none", crop_last: int = 0, train_from: int = 0) -> Backbone:
    return build_backbone(
        f"timm/{model}",
        image_size=SIZE,
        weights=weights,
        crop_last=crop_last,
        train_from=train_from,
    ).eval()


def saved(model: str, path: Path, **options: object) -> tuple[str, torch.nn.Module]:
    torch.manual_seed(0)
    net = timm.create_model(model, **options).eval()
    save_file(net.state_dict(), path / "timm.safetensors")
    return str(path / "timm.safetensors"), net


def test_a_convolutional_network(tmp_path: Path) -> None:
    file, net = saved("resnet18", tmp_path)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        stages = net.forward_intermediates(images, intermediates_only=True)
        assert len(stages) == 5
        for crop_last in (0, 2):
            backbone = build("resnet18", file, crop_last)
            map_, token = backbone(images)
            torch.testing.assert_close(map_, stages[-1 - crop_last])
            assert token is None
            assert backbone.out_channels == map_.shape[1]
            assert (backbone.has_token, backbone.size_multiple) == (False, 1)
    assert not any("layer3" in key or "fc" in key for key in backbone.state_dict())


def test_a_vision_transformer(tmp_path: Path) -> None:
    file, net = saved("vit_tiny_patch16_224", tmp_path, img_size=SIZE)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        backbone = build("vit_tiny_patch16_224", file)
        tokens = net.forward_features(images)
        map_, token = backbone(images)
        torch.testing.assert_close(token, tokens[:, 0])
        torch.testing.assert_close(map_, tokens[:, 1:].mT.reshape(2, 192, 4, 6))
        cropped = build("vit_tiny_patch16_224", file, 3)
        (partial,) = net.forward_intermediates(
            images, indices=[8], norm=True, intermediates_only=True, return_prefix_tokens=False
        )
        torch.testing.assert_close(cropped(images).map, partial)
    assert len(cropped.model.blocks) == 9
    assert (backbone.has_token, backbone.size_multiple) == (True, 16)


def test_published_positions_are_resized(tmp_path: Path) -> None:
    file, net = saved("vit_tiny_patch16_224", tmp_path)
    backbone = build("vit_tiny_patch16_224", file, 10)
    assert backbone.model.pos_embed.shape == (1, 1 + 4 * 6, 192)
    assert torch.equal(backbone.model.cls_token, net.cls_token)


@pytest.mark.parametrize(
    ("model", "channels", "grid", "has_token"),
    [
        ("convnext_atto", 320, (2, 3), False),
        ("efficientnet_b0", 320, (2, 3), False),
        ("swin_tiny_patch4_window7_224", 768, (2, 3), False),
        ("deit_tiny_distilled_patch16_224", 192, (4, 6), True),
        ("mixer_s16_224", 512, (4, 6), False),
    ],
)
def test_other_kinds(model: str, channels: int, grid: tuple[int, int], has_token: bool) -> None:
    backbone = build(model, train_from=1)
    with torch.inference_mode():
        map_, token = backbone(torch.randn(1, 3, *SIZE))
    assert map_.shape == (1, channels, *grid)
    assert backbone.out_channels == channels
    assert (token is not None) == backbone.has_token == has_token
    learning = [p.requires_grad for p in backbone.parameters()]
    assert 0 < sum(learning) < len(learning)


def test_stages_freeze_with_what_is_before_them() -> None:
    learning = {
        n
        for n, p in build("resnet18", crop_last=1, train_from=2).model.named_parameters()
        if p.requires_grad
    }
    assert {n.split(".")[0] for n in learning} == {"layer2", "layer3"}
    learning = {
        n
        for n, p in build(
            "vit_tiny_patch16_224", crop_last=9, train_from=1
        ).model.named_parameters()
        if p.requires_grad
    }
    assert {n.rpartition("blocks.")[2].split(".")[0] for n in learning} == {"0", "1", "2", "norm"}


def test_a_model_of_one_size() -> None:
    backbone = build("mixer_s16_224", crop_last=5)
    with pytest.raises(ValueError, match=r"found images of 64x64; .* made for \(64, 96\)"):
        backbone(torch.zeros(1, 3, 64, 64))


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    file, net = saved("resnet18", tmp_path)
    lacks = {k: v for k, v in net.state_dict().items() if k != "conv1.weight"}
    save_file(lacks, tmp_path / "lacks.safetensors")
    shaped = {**net.state_dict(), "conv1.weight": torch.zeros(64, 3, 3, 3)}
    save_file(shaped, tmp_path / "shaped.safetensors")
    broken = {**net.state_dict(), "conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}
    save_file(broken, tmp_path / "broken.safetensors")
    for model, weights, message in [
        ("resnet1", "none", r"backbone.name: found 'timm/resnet1', which timm has not; .*resnet18"),
        ("qqqqqqq", "none", r"which timm has not; see timm.list_models\(\)"),
        (
            "resnet18.nothing",
            "none",
            r"timm cannot build resnet18.nothing \(Invalid pretrained tag",
        ),
        ("resnet18", str(tmp_path / "lacks.safetensors"), "missing conv1.weight, found "),
        ("resnet18", str(tmp_path / "shaped.safetensors"), r"does not fit timm's resnet18 \("),
        ("resnet18", str(tmp_path / "broken.safetensors"), "conv1.weight holds values that are"),
        ("resnet34", file, r"missing layer1.2.conv1.weight, layer1.2.bn1.weight"),
        ("resnet18", str(tmp_path / "no.pth"), "no such file"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            build(model, weights)
        assert "\n" not in str(caught.value)


def test_models_without_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: torch.nn.Identity())
    with pytest.raises(UserError, match=r"resnet18 gives no feature maps .*forward_intermediates"):
        build("resnet18")


def test_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    real, pretrained = timm.create_model, []

    def create(name: str, **options: object) -> torch.nn.Module:
        if not options.pop("pretrained", False):
            return real(name, **options)
        pretrained.append(name)
        if len(pretrained) == 1:
            raise OSError("no route to host\nand more")
        return real(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    timm_models._download.cache_clear()
    with pytest.raises(UserError, match=r"cannot be downloaded \(no route to host and") as caught:
        build("resnet18", "pretrained")
    assert "\n" not in str(caught.value)
    one, two = build("resnet18", "pretrained"), build("resnet18", "pretrained", 1, 1)
    assert len(pretrained) == 2  # the second network is a copy of what was downloaded
    assert torch.equal(one.model.conv1.weight, two.model.conv1.weight)
    with torch.no_grad():
        one.model.conv1.weight.zero_()
    assert two.model.conv1.weight.abs().sum() > 0
    assert one.model.conv1.weight.requires_grad
    timm_models._download.cache_clear()


def test_images_are_normalised_as_each_models_weights_were_trained() -> None:
    assert build("resnet10t").mean == (0.485, 0.456, 0.406)
    recipe = Recipe.from_dict(
        {
            "image_size": [64, 96],
            "backbone": {"name": "timm/vit_tiny_patch16_224", "weights": "none"},
        }
    )
    network = Network(recipe).eval()
    assert network.backbone.mean == network.backbone.std == (0.5, 0.5, 0.5)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    expected = network.aggregator(network.backbone(images / 127.5 - 1).map)
    torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("model", ["levit_128s", "hiera_tiny_224"])
def test_an_image_size_that_only_running_the_model_refuses(model: str) -> None:
    backbone = build_backbone(
        f"timm/{model}", image_size=(100, 100), weights="none", crop_last=0, train_from=0
    )
    with pytest.raises(UserError, match=rf"image_size: timm/{model} cannot describe .*100x100"):
        backbone.dry_run((100, 100))


def test_blocks_that_do_not_run_in_their_order_cannot_be_frozen() -> None:
    build("resnet10t", train_from=2).dry_run(SIZE)
    build("vit_tiny_patch16_224", train_from=7).dry_run(SIZE)
    with pytest.raises(UserError, match="train_from: timm/xception41 does not run its blocks one"):
        build("xception41", train_from=2).dry_run(SIZE)


def test_a_model_whose_patches_are_unknown() -> None:
    with pytest.raises(UserError, match="timm's tnt_s_patch16_224 does not say how large"):
        build_backbone(
            "timm/tnt_s_patch16_224",
            image_size=(224, 224),
            weights="none",
            crop_last=0,
            train_from=0,
        )
