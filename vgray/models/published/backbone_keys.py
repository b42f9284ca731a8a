"""Which backbone a checkpoint holds, and its tensors under the names of its first publication."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from vgray.errors import UserError
from vgray.models.weights import require_dense, some

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
# What salad and Bag-of-Queries publish DINOv2 for: 23 x 23 patches.
_DINOV2_IMAGE_SIZE = (322, 322)
_CCT, _CCT_BLOCKS, _CCT_CHANNELS, _CCT_STRIDE = "cct14_7x2_384", 14, 384, 16
# Classifiers and DINOv2's training token, which describe no place.
_NOT_NEEDED: tuple[str, ...] = ("fc", "classifier", "head", "mask_token")
_NOT_NEEDED_OF_CCT = ("classifier.attention_pool", "classifier.fc")


class BackboneKeys(NamedTuple):
    """A backbone as torchvision, DINOv2 or Compact-Transformers publish it."""

    name: str
    crop_last: int
    """How many of its blocks are left out at the end, as in a recipe."""
    state: dict[str, Tensor]
    """Its tensors with the keys of torchvision, DINOv2 or Compact-Transformers."""
    ignored: int
    """How many tensors were left out."""
    image_size: tuple[int, int] | None = None
    """Height and width of the images that it is published for, where it tells."""


def read_backbone(found: Mapping[str, Tensor], given: str | None, what: str) -> BackboneKeys:
    """Recognise a backbone by keys and shapes.

    GSV-Cities, MixVPR and salad have the published network as ``model`` (models/backbones),
    Bag-of-Queries as ``dino`` or, in an ``nn.Sequential``, as ``net`` (src/backbones.py). CosPlace
    (cosplace_model/cosplace_network.py), EigenPlaces (eigenplaces_model/eigenplaces_network.py) and
    the deep-visual-geo-localization-benchmark (model/network.py) have an ``nn.Sequential`` of the
    network's children; the benchmark's CCT (model/cct/cct.py) is Compact-Transformers', cut to
    ``--trunc_te`` blocks.

    Args:
        found: the backbone's tensors, with keys as in the file.
        given: the backbone's name where the user said it.
        what: what error messages begin with.

    Raises:
        UserError: it is none that is known, not the one given, the file leaves open which, or it
            holds more than dense tensors of real numbers.
    """
    names = _published_names(found)
    state = {names[key]: tensor for key, tensor in found.items()}
    image_size, not_needed = None, _NOT_NEEDED
    if "cls_token" in state:
        image_size = _DINOV2_IMAGE_SIZE
        candidates, crop_last = _dinov2(state)
        tops = {"cls_token", "pos_embed", "register_tokens", "patch_embed", "blocks", "norm"}
    elif "classifier.positional_emb" in state:
        candidates, crop_last, image_size = _cct(state)
        tops, not_needed = {"tokenizer", "classifier"}, _NOT_NEEDED_OF_CCT
    elif "features.0.weight" in state:
        candidates, crop_last = _vgg16(state)
        tops = {"features"}
    else:
        candidates, crop_last = _resnet(state)
        tops = set(_RESNET_CHILDREN.values())
    if not candidates:
        raise UserError(
            f"{what}: found no known backbone in {some(found)}, expected a ResNet or VGG16 of "
            "torchvision, DINOv2 ViT-S or ViT-B, or CCT-14/7x2; give a model on one of them"
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
    left_out = {key for key in state if any(f"{key}.".startswith(f"{n}.") for n in not_needed)}
    kept = {key: tensor for key, tensor in state.items() if key not in left_out}
    strange = [k for k, name in names.items() if name in kept and _top(name) not in tops]
    if strange:
        raise UserError(
            f"{what}: found {some(f'backbone.{key}' for key in strange)}, which {candidates[0]} "
            "does not have; give the file of a model on the plain backbone"
        )
    require_dense({f"backbone.{key}": found[key] for key in found if names[key] in kept}, what)
    return BackboneKeys(given or candidates[0], crop_last, kept, len(left_out), image_size)


def _published_names(found: Iterable[str]) -> dict[str, str]:
    """Return the keys of a backbone -> the keys of its first publication."""
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
    name = _DINOV2.get(state["cls_token"].numel())
    if name is None or len(blocks) != _DINOV2_BLOCKS:
        return [], 0
    return [f"{name}_reg" if "register_tokens" in state else name], 0


def _cct(state: Mapping[str, Tensor]) -> tuple[list[str], int, tuple[int, int]]:
    blocks = {m[1] for m in (re.match(r"classifier\.blocks\.(\d+)\.", key) for key in state) if m}
    positions = state["classifier.positional_emb"]
    # It adds its positions as they are, so that it takes images of this size only.
    side = math.isqrt(positions.numel() // _CCT_CHANNELS) * _CCT_STRIDE
    known = positions.shape[-1:] == (_CCT_CHANNELS,) and 0 < len(blocks) <= _CCT_BLOCKS
    return [_CCT] if known else [], _CCT_BLOCKS - len(blocks), (side, side)


def _top(key: str) -> str:
    return key.partition(".")[0]
