"""Which backbone a checkpoint holds, and its tensors under the names of its first publication."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from vgray.errors import UserError
from vgray.models.weights import some

# Children of torchvision's ResNet that have tensors, by their place in nn.Sequential(*children).
_RESNET_CHILDREN = {
    "0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4",
}  # fmt: skip
_BASIC, _BOTTLENECK = False, True
_RESNETS = {
    "resnet18": (_BASIC, (2, 2, 2, 2)),
    "resnet34": (_BASIC, (3, 4, 6, 3)),
    "resnet50": (_BOTTLENECK, (3, 4, 6, 3)),
    "resnet101": (_BOTTLENECK, (3, 4, 23, 3)),
    "resnet152": (_BOTTLENECK, (3, 8, 36, 3)),
}
_VGG16_CONVOLUTIONS = {0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28}
_DINOV2 = {384: "dinov2_vits14", 768: "dinov2_vitb14"}
_DINOV2_BLOCKS = 12
# Classifiers and DINOv2's training token, which describe no place.
_NOT_NEEDED = frozenset(("fc", "classifier", "head", "mask_token"))


class BackboneKeys(NamedTuple):
    """A backbone as torchvision or DINOv2 publish it."""

    name: str
    crop_last: int
    """How many of its blocks are left out at the end, as in a recipe."""
    state: dict[str, Tensor]
    """Its tensors with the keys of torchvision or DINOv2."""
    ignored: int
    """How many tensors were left out."""


def read_backbone(found: Mapping[str, Tensor], given: str | None, what: str) -> BackboneKeys:
    """Recognise a backbone by keys and shapes.

    GSV-Cities, MixVPR and salad have the published network as ``model`` (models/backbones),
    Bag-of-Queries as ``dino`` or, in an ``nn.Sequential``, as ``net`` (src/backbones.py). CosPlace
    (cosplace_model/cosplace_network.py), EigenPlaces (eigenplaces_model/eigenplaces_network.py) and
    the deep-visual-geo-localization-benchmark (model/network.py) have an ``nn.Sequential`` of the
    network's children.

    Args:
        found: the backbone's tensors, with keys as in the file.
        given: the backbone's name where the user said it.
        what: what error messages begin with.

    Raises:
        UserError: it is none that is known, not the one given, or the file leaves open which.
    """
    names = _published_names(found)
    state = {names[key]: tensor for key, tensor in found.items()}
    if "cls_token" in state:
        candidates, crop_last = _dinov2(state)
        tops = {"cls_token", "pos_embed", "register_tokens", "patch_embed", "blocks", "norm"}
    elif "features.0.weight" in state:
        candidates, crop_last = _vgg16(state)
        tops = {"features"}
    else:
        candidates, crop_last = _resnet(state)
        tops = set(_RESNET_CHILDREN.values())
    if not candidates:
        raise UserError(
            f"{what}: found no known backbone in {some(found)}; expected a ResNet or VGG16 of "
            "torchvision, or DINOv2 ViT-S or ViT-B"
        )
    if given is not None and given not in candidates:
        raise UserError(
            f"{what}: found the backbone {' or '.join(candidates)}, expected {given}; leave out "
            "--backbone, or give one that was found"
        )
    if given is None and len(candidates) > 1:
        raise UserError(
            f"{what}: its backbone may be {' or '.join(candidates)}, which differ only in blocks "
            "that are left out; say which with --backbone"
        )
    kept = {key: tensor for key, tensor in state.items() if _top(key) not in _NOT_NEEDED}
    strange = [k for k, name in names.items() if name in kept and _top(name) not in tops]
    if strange:
        raise UserError(
            f"{what}: found {some(f'backbone.{key}' for key in strange)}, which {candidates[0]} "
            "does not have; give the file of a model on the plain backbone"
        )
    return BackboneKeys(given or candidates[0], crop_last, kept, len(state) - len(kept))


def _published_names(found: Iterable[str]) -> dict[str, str]:
    """Return the keys of a backbone -> the keys of torchvision or DINOv2."""
    names = {key: key for key in found}
    for prefix in ("model.", "dino.", "net."):
        if all(key.startswith(prefix) for key in names):
            names = {key: key.removeprefix(prefix) for key in names}
    plain = set(names.values())
    if "0.weight" not in plain:
        return names
    if "1.running_mean" not in plain:  # VGG16 has no BatchNorm
        return {key: f"features.{name}" for key, name in names.items()}
    return {key: _child_name(name) for key, name in names.items()}


def _child_name(key: str) -> str:
    place, dot, rest = key.partition(".")
    return _RESNET_CHILDREN.get(place, place) + dot + rest


def _resnet(state: Mapping[str, Tensor]) -> tuple[list[str], int]:
    blocks = {m[1] for m in (re.match(r"layer(\d\.\d+)\.", key) for key in state) if m}
    depths = [sum(block.startswith(f"{layer}.") for block in blocks) for layer in range(1, 5)]
    while depths and depths[-1] == 0:
        depths.pop()
    kind = "layer1.0.conv3.weight" in state
    names = [
        name
        for name, (bottleneck, layers) in _RESNETS.items()
        if depths and bottleneck == kind and list(layers[: len(depths)]) == depths
    ]
    return names, 4 - len(depths)


def _vgg16(state: Mapping[str, Tensor]) -> tuple[list[str], int]:
    found = {int(m[1]) for m in (re.match(r"features\.(\d+)\.weight", key) for key in state) if m}
    return ["vgg16"] if found == _VGG16_CONVOLUTIONS else [], 0


def _dinov2(state: Mapping[str, Tensor]) -> tuple[list[str], int]:
    blocks = {m[1] for m in (re.match(r"blocks\.(\d+)\.", key) for key in state) if m}
    name = _DINOV2.get(state["cls_token"].shape[-1])
    if name is None or len(blocks) != _DINOV2_BLOCKS:
        return [], 0
    return [f"{name}_reg" if "register_tokens" in state else name], 0


def _top(key: str) -> str:
    return key.partition(".")[0]
