"""ResNet-18, its cropping and freezing, against torchvision's."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from vgray.models import BACKBONES
from vgray.models.backbones import ResNet18


@pytest.fixture(scope="module")
def whole() -> torchvision.models.ResNet:
    torch.manual_seed(0)
    return torchvision.models.resnet18().eval()


@pytest.fixture(scope="module")
def file(whole: torchvision.models.ResNet, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    save_file(whole.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("crop_last", [0, 1, 2, 3])
def test_equals_torchvision_up_to_the_crop(
    whole: torchvision.models.ResNet, file: str, crop_last: int
) -> None:
    x = torch.randn(2, 3, 64, 96)
    expected = whole.maxpool(whole.relu(whole.bn1(whole.conv1(x))))
    for layer in [whole.layer1, whole.layer2, whole.layer3, whole.layer4][: 4 - crop_last]:
        expected = layer(expected)
    backbone = ResNet18(weights=file, crop_last=crop_last).eval()
    out = backbone(x)
    torch.testing.assert_close(out, expected)
    assert out.shape[1] == backbone.out_channels
    assert len(backbone.blocks) == 5 - crop_last


@pytest.mark.parametrize("train_from", [0, 1, 3, 4])
def test_frozen_blocks_keep_weights_but_not_statistics(train_from: int) -> None:
    backbone = ResNet18(weights="none", crop_last=1, train_from=train_from).train()
    learning = [all(p.requires_grad for p in block.parameters()) for block in backbone.blocks]
    frozen = [not any(p.requires_grad for p in block.parameters()) for block in backbone.blocks]
    assert learning == [i >= train_from for i in range(4)]
    assert frozen == [i < train_from for i in range(4)]
    before = backbone.blocks[0].bn1.running_mean.clone()
    backbone(torch.randn(4, 3, 32, 32))
    assert not torch.equal(before, backbone.blocks[0].bn1.running_mean)


def test_random_weights_are_torchvisions(whole: torchvision.models.ResNet) -> None:
    ours = ResNet18(weights="none", crop_last=0)
    theirs = torchvision.models.resnet18()
    assert sum(p.numel() for p in ours.parameters()) == sum(
        p.numel() for n, p in theirs.named_parameters() if not n.startswith("fc")
    )
    drawn = ours.blocks[3][0].conv1.weight.std().item()
    assert drawn == pytest.approx(theirs.layer3[0].conv1.weight.std().item(), rel=0.05)
    assert not any(t.is_meta for t in (*ours.parameters(), *ours.buffers()))
    assert ours.blocks[0].bn1.weight.eq(1).all()
    assert ours.blocks[0].bn1.running_var.eq(1).all()
    assert ours.blocks[0].bn1.num_batches_tracked == 0


def test_two_networks_from_one_file_share_nothing(file: str) -> None:
    one, two = ResNet18(weights=file), ResNet18(weights=file)
    with torch.no_grad():
        next(one.parameters()).zero_()
    assert next(two.parameters()).abs().sum() > 0
    assert next(ResNet18(weights=file).parameters()).abs().sum() > 0


def test_every_backbone_gives_the_channels_it_says() -> None:
    assert BACKBONES
    for name, cls in BACKBONES.items():
        out = cls(weights="none")(torch.randn(1, 3, 64, 64))
        assert out.ndim == 4, name
