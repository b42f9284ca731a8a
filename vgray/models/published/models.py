"""The published models: their heads' keys, and the settings that shapes tell."""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Head(NamedTuple):
    """An aggregator, and what is behind it, as this project has them."""

    settings: dict[str, Any]
    """The recipe's ``aggregator``."""
    state: dict[str, Tensor]
    """The aggregator's state dict."""
    projection: dict[str, Tensor]
    """The projection's state dict; empty where there is none."""
    projection_dim: int | None = None
    """Length of descriptors behind it."""
    locations: int | None = None
    """How many locations of the feature map it is made for, where any number will not do."""


class Layout(NamedTuple):
    """How one repository names the head of a model."""

    marks: frozenset[str]
    """Keys of the file by which the model is known."""
    image_size: tuple[int, int]
    """Height and width of the images that it was published for."""
    read: Callable[[dict[str, Tensor], int], Head]
    """From the head's tensors, with keys as here, and the channels of the feature map.

    A missing key raises KeyError, a tensor of too few dimensions IndexError or TypeError, an empty
    one ZeroDivisionError; keys left over and other shapes are for the caller to refuse.
    """
    keys: Mapping[str, str] = MappingProxyType({})
    """Keys of the file -> keys here; what is not in it has the same key."""


def _mixvpr(head: dict[str, Tensor], _channels: int) -> Head:
    locations = len(head["mix.0.mix.0.weight"])
    hidden = len(head["mix.0.mix.1.weight"])
    ratio = hidden / locations
    if int(locations * ratio) != hidden:
        ratio = math.nextafter(ratio, math.inf)  # the division rounded down
    settings = {
        "out_channels": len(head["channel_proj.weight"]),
        "mix_depth": _count(head, "mix"),
        "mlp_ratio": ratio,
        "out_rows": len(head["row_proj.weight"]),
    }
    return Head({"name": "mixvpr", **settings}, head, {}, locations=locations)


def _convap(head: dict[str, Tensor], _channels: int) -> Head:
    # The 2 x 2 parts of its average have no weights; every published model has them.
    settings = {"out_channels": len(head["channel_pool.weight"]), "s1": 2, "s2": 2}
    return Head({"name": "convap", **settings}, head, {})


def _cosplace(head: dict[str, Tensor], _channels: int) -> Head:
    return Head({"name": "cosplace", "out_dim": len(head["fc.weight"])}, head, {})


def _salad(head: dict[str, Tensor], _channels: int) -> Head:
    settings = {
        "num_clusters": len(head["score.3.weight"]),
        "cluster_dim": len(head["cluster_features.3.weight"]),
        "token_dim": len(head["token_features.2.weight"]),
    }
    return Head({"name": "salad", **settings}, head, {})


def _boq(head: dict[str, Tensor], _channels: int) -> Head:
    settings = {
        "proj_channels": len(head["proj_c.weight"]),
        "num_queries": head["boqs.0.queries"].shape[1],
        "num_layers": _count(head, "boqs"),
        "row_dim": len(head["fc.weight"]),
    }
    return Head({"name": "boq", **settings}, head, {})


def _netvlad(head: dict[str, Tensor], _channels: int, name: str = "netvlad") -> Head:
    settings = {"name": name, "clusters_num": len(head["centroids"])}
    behind = "projection."
    state = {key: tensor for key, tensor in head.items() if not key.startswith(behind)}
    # On a transformer's tokens the convolution has one dimension.
    if state["conv.weight"].ndim == 3:
        state["conv.weight"] = state["conv.weight"].unsqueeze(3)
    projection = {k.removeprefix(behind): t for k, t in head.items() if k.startswith(behind)}
    return Head(settings, state, projection, len(head["projection.weight"]) if projection else None)


def _crn(head: dict[str, Tensor], channels: int) -> Head:
    return _netvlad(head, channels, "crn")


def _gem(head: dict[str, Tensor], _channels: int) -> Head:
    return Head({"name": "gem"}, head, {})


def _gem_of_normalised(head: dict[str, Tensor], channels: int) -> Head:
    # The locations are normalised before the mean, as CosPlace does it; the identity stands for
    # CosPlace's linear layer.
    identity = {"fc.weight": torch.eye(channels), "fc.bias": torch.zeros(channels)}
    return _cosplace({**head, **identity}, channels)


def _count(head: Mapping[str, Tensor], name: str) -> int:
    return len({key.split(".")[1] for key in head if key.startswith(f"{name}.")})


_GSV = (320, 320)
_BERTON = (512, 512)
_BENCHMARK = (480, 640)

_COSPLACE = Layout(
    frozenset(("1.p", "3.weight")),
    _BERTON,
    _cosplace,
    {"1.p": "gem.p", "3.weight": "fc.weight", "3.bias": "fc.bias"},
)

_LINEAR = {"1.weight": "projection.weight", "1.bias": "projection.bias"}
_NETVLAD_KEYS = ("centroids", "conv.weight")
_CRN_KEYS = _NETVLAD_KEYS + tuple(
    f"crn.{layer}.{kind}"
    for layer in ("filter_3_3", "filter_5_5", "filter_7_7", "acc_w")
    for kind in ("weight", "bias")
)


def _before_linear(keys: Iterable[str]) -> dict[str, str]:
    """Return the keys of an aggregation that has a linear layer behind it -> keys here."""
    return {**{f"0.{key}": key for key in keys}, **_LINEAR}


# Sources: MixVPR models/aggregators/mixvpr.py; gsv-cities models/aggregators; CosPlace
# cosplace_model/cosplace_network.py; EigenPlaces eigenplaces_model/eigenplaces_network.py; salad
# models/aggregators/salad.py; Bag-of-Queries src/boq.py; deep-visual-geo-localization-benchmark
# model/aggregation.py and model/network.py, where a linear layer may be behind the aggregation
# (--fc_output_dim), and GeM be before or after normalisation (--l2). Image sizes are those of their
# READMEs and defaults.
MODELS: dict[str, tuple[Layout, ...]] = {
    "mixvpr": (Layout(frozenset(("channel_proj.weight", "row_proj.weight")), _GSV, _mixvpr),),
    "convap": (Layout(frozenset(("channel_pool.weight",)), _GSV, _convap),),
    "cosplace": (
        _COSPLACE,
        Layout(frozenset(("gem.p", "fc.weight")), _GSV, _cosplace),  # of gsv-cities
    ),
    "eigenplaces": (_COSPLACE,),
    "salad": (Layout(frozenset(("dust_bin", "score.3.weight")), (322, 322), _salad),),
    "boq": (Layout(frozenset(("boqs.0.queries", "proj_c.weight")), (384, 384), _boq),),
    "netvlad": (
        Layout(frozenset(_NETVLAD_KEYS), _BENCHMARK, _netvlad),
        Layout(
            frozenset(("0.centroids", "0.conv.weight")),
            _BENCHMARK,
            _netvlad,
            _before_linear(_NETVLAD_KEYS),
        ),
    ),
    "crn": (
        Layout(frozenset((*_NETVLAD_KEYS, "crn.acc_w.weight")), _BENCHMARK, _crn),
        Layout(
            frozenset(("0.centroids", "0.conv.weight", "0.crn.acc_w.weight")),
            _BENCHMARK,
            _crn,
            _before_linear(_CRN_KEYS),
        ),
    ),
    "gem": (
        Layout(
            frozenset(("0.1.p", "1.weight")),
            _BENCHMARK,
            _cosplace,
            {"0.1.p": "gem.p", "1.weight": "fc.weight", "1.bias": "fc.bias"},
        ),
        Layout(frozenset(("1.p",)), _BENCHMARK, _gem_of_normalised, {"1.p": "gem.p"}),
        Layout(frozenset(("0.p",)), _BENCHMARK, _gem, {"0.p": "p"}),
    ),
}
"""Name of a published model -> its layouts, the more specific ones first."""
