"""Backbones of torchvision against its own networks."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn

from vgray.models import weights
from vgray.models.backbones import Backbone, build_backbone

SIZE = (64, 96)
Publish = Callable[[dict[str, Tensor]], None]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publish]:
    """Return a function that makes its state dict the one that is downloaded."""

    def set_state(state: dict[str, Tensor]) -> None:
        weights._download.cache_clear()
        monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: state)

    yield set_state
    weights._download.cache_clear()


def build(name: str, crop_last: int = 0, size: tuple[int, int] = SIZE) -> Backbone:
    return build_backbone(
        name, image_size=size, weights="pretrained", crop_last=crop_last, train_from=0
    ).eval()


def network(name: str) -> nn.Module:
    """Return torchvision's network with random weights and statistics."""
    torch.manual_seed(0)
    if name == "vgg16":  # without its 120 million parameters for classes
        with torch.device("meta"):
            net = torchvision.models.vgg16()
        net.features.to_empty(device="cpu")
        for module in net.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.normal_(module.bias, std=0.1)
        net.classifier = nn.Identity()
    else:
        net = torchvision.models.get_model(name)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    return net.eval()


def steps(name: str, net: nn.Module) -> list[nn.Module]:
    """Return what is run one after the other, of which each makes one block's output."""
    if name.startswith("resnet"):
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        return [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    f = net.features
    if name == "vgg16":
        return [f[0:4], f[4:9], f[9:16], f[16:23], f[23:29]]
    if name.startswith(("convnext", "swin")):
        return [f[0], f[1], f[2:4], f[4:6], f[6:8]]
    return list(f)


@pytest.mark.parametrize(
    ("name", "crops"),
    [
        ("resnet18", (0, 1, 2, 3)),
        ("resnet50", (1,)),
        ("vgg16", (0, 2)),
        ("efficientnet_b0", (0, 2, 7)),
        ("mobilenet_v3_small", (0, 4)),
        ("convnext_tiny", (0, 1)),
        ("swin_t", (0, 1)),
    ],
)
def test_equals_torchvision_up_to_the_crop(
    name: str, crops: tuple[int, ...], publish: Publish
) -> None:
    net = network(name)
    publish(net.state_dict())
    images = torch.randn(2, 3, *SIZE)
    outputs = []
    with torch.inference_mode():
        x = images
        for step in steps(name, net):
            x = step(x)
            outputs.append(x)
        if name == "swin_t":
            outputs[-1] = net.norm(outputs[-1])
            outputs = [x.permute(0, 3, 1, 2) for x in outputs]
        for crop_last in crops:
            backbone = build(name, crop_last)
            map_, token = backbone(images)
            torch.testing.assert_close(map_, outputs[-1 - crop_last])
            assert token is None
            assert map_.shape[1] == backbone.out_channels
            assert len(backbone.blocks) == len(outputs) - crop_last
    if name in ("efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"):
        torch.testing.assert_close(outputs[-1], net.features(images))


@pytest.mark.parametrize("size", [(64, 64), (96, 96)])
def test_vit_equals_torchvision_at_any_size(size: tuple[int, int], publish: Publish) -> None:
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(64, 16, 2, 12, 768, 3072).eval()
    published = {k: v for k, v in net.state_dict().items() if not k.startswith("heads")}
    publish(published)
    if size != (64, 64):
        resized = torchvision.models.vision_transformer.interpolate_embeddings(
            size[0], 16, {k: v.clone() for k, v in published.items()}
        )
        net = torchvision.models.VisionTransformer(size[0], 16, 2, 12, 768, 3072).eval()
        net.load_state_dict(resized, strict=False)
    net.heads = nn.Identity()
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        backbone = build("vit_b_16", 10, size)
        map_, token = backbone(images)
        torch.testing.assert_close(token, net(images), rtol=1e-4, atol=1e-5)
        tokens = torch.cat([net.class_token.expand(2, -1, -1), net._process_input(images)], 1)
        patches = net.encoder(tokens)[:, 1:]
        torch.testing.assert_close(map_.flatten(2).mT, patches, rtol=1e-4, atol=1e-5)
        # The same positions are interpolated when images of another size come.
        other = build("vit_b_16", 10, (64, 64))
        torch.testing.assert_close(other(images).token, token, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny", "swin_t", "vit_b_16"],
)
def test_random_weights_are_torchvisions(name: str) -> None:
    crop_last = 10 if name == "vit_b_16" else 0
    ours = build_backbone(
        name, image_size=(224, 224), weights="none", crop_last=crop_last, train_from=0
    )
    if name == "vit_b_16":
        theirs = torchvision.models.VisionTransformer(224, 16, 2, 12, 768, 3072)
    else:
        theirs = torchvision.models.get_model(name)
    classifiers = ("fc.", "heads.", "head.", "classifier.")
    expected = [p for n, p in theirs.named_parameters() if not n.startswith(classifiers)]

    def spread(parameter: Tensor) -> tuple[tuple[int, ...], float, float]:
        return tuple(parameter.shape), parameter.std().item(), parameter.mean().item()

    one = sorted(spread(p) for p in ours.parameters())
    two = sorted(spread(p) for p in expected)
    assert [shape for shape, *_ in one] == [shape for shape, *_ in two]
    compared = 0
    for (shape, std, mean), (_, std2, mean2) in zip(one, two, strict=True):
        if torch.Size(shape).numel() >= 1000 or std2 == 0:
            assert std == pytest.approx(std2, rel=0.12), shape
            assert mean == pytest.approx(mean2, abs=0.15 * std2 + 1e-12), shape
            compared += 1
    assert compared > 0.8 * len(two)
    buffers = [
        sorted((tuple(b.shape), b.double().sum().item()) for b in net.buffers())
        for net in (ours, theirs)
    ]
    assert buffers[0] == buffers[1]


def test_two_networks_share_nothing(publish: Publish) -> None:
    publish(network("resnet18").state_dict())
    one, two = build("resnet18"), build("resnet18")
    with torch.no_grad():
        next(one.parameters()).zero_()
        one.classifier[0].zero_()
    for other in (two, build("resnet18")):
        assert next(other.parameters()).abs().sum() > 0
        assert other.classifier[0].abs().sum() > 0


def test_the_classifier_of_a_whole_resnet(publish: Publish) -> None:
    net = network("resnet18")
    publish(net.state_dict())
    backbone = build("resnet18")
    weight, bias = backbone.classifier
    assert torch.equal(weight, net.fc.weight)
    assert torch.equal(bias, net.fc.bias)
    assert not any("fc" in key or "classifier" in key for key in backbone.state_dict())
    assert build("resnet18", 1).classifier is None
    publish({k: v for k, v in net.state_dict().items() if not k.startswith("fc.")})
    assert build("resnet18").classifier is None
