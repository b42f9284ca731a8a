"""Imported models describe images as the official ones do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from official_models import (
    SALAD_HEAD,
    Body,
    Head,
    OfficialBoQ,
    boq,
    children,
    convap,
    cosplace,
    crn,
    crn_and_fc,
    crn_head,
    drawn,
    gem,
    gem_of_normalised,
    gsv_resnet,
    mixvpr,
    mixvpr_head,
    netvlad,
    netvlad_and_fc,
    netvlad_of_tokens,
    salad,
    vgg16,
)
from official_transformers import cct, dinov2
from torch import Tensor

import vgray
from vgray.models.published import MODELS, import_weights


class Official(NamedTuple):
    model: str
    body: Callable[[], tuple[dict[str, Tensor], Body]]
    in_front: str
    """What the backbone's keys begin with, after ``backbone.``."""
    name: str
    """Of the head: aggregator or aggregation."""
    head: Callable[[], dict[str, Tensor]]
    describe: Head
    image_size: str | None
    """None: as published, or as the weights tell."""
    found: dict[str, object]
    """Settings that the recipe must have, by dotted path."""


pytestmark = pytest.mark.slow  # all together

P = torch.tensor([2.7])
R18 = ("resnet18", 3)  # up to layer3
CASES = {
    "mixvpr": Official(
        "mixvpr", lambda: gsv_resnet("resnet18", [4]), "", "aggregator",
        lambda: mixvpr_head(256, 16, 24), mixvpr, None,
        {"image_size": [64, 64], "backbone.name": "resnet18", "backbone.crop_last": 1,
         "aggregator.mix_depth": 3, "aggregator.mlp_ratio": 1.5, "aggregator.out_rows": 2,
         "aggregator.out_channels": 24},
    ),
    "convap": Official(
        "convap", lambda: gsv_resnet("resnet50", [4]), "", "aggregator",
        lambda: drawn(channel_pool__weight=(7, 1024, 1, 1), channel_pool__bias=(7,)),
        convap, "32x48",
        {"image_size": [32, 48], "backbone.name": "resnet50", "backbone.crop_last": 1,
         "aggregator.out_channels": 7},
    ),
    "cosplace": Official(
        "cosplace", lambda: children("resnet18", 2), "", "aggregation",
        lambda: {"1.p": P, **drawn(_3__weight=(32, 512), _3__bias=(32,))},
        cosplace("1.p", "3"), "64x96",
        {"backbone.name": "resnet18", "backbone.crop_last": 0, "aggregator.out_dim": 32},
    ),
    "cosplace of gsv-cities": Official(
        "cosplace", lambda: gsv_resnet("resnet18", []), "", "aggregator",
        lambda: {"gem.p": P, **drawn(fc__weight=(16, 512), fc__bias=(16,))},
        cosplace("gem.p", "fc"), "64",
        {"backbone.crop_last": 0, "aggregator.out_dim": 16},
    ),
    "eigenplaces": Official(
        "eigenplaces", lambda: vgg16(2), "", "aggregation",
        lambda: {"1.p": P, **drawn(_3__weight=(16, 512), _3__bias=(16,))},
        cosplace("1.p", "3"), "48x32",
        {"backbone.name": "vgg16", "backbone.crop_last": 0, "aggregator.out_dim": 16},
    ),
    "salad": Official(
        "salad", lambda: dinov2("model", 0, norm=True), "", "aggregator",
        lambda: {"dust_bin": torch.tensor(0.7), **drawn(**SALAD_HEAD)}, salad, "42x56",
        {"backbone.name": "dinov2_vits14", "backbone.final_norm": True,
         "aggregator.num_clusters": 6, "aggregator.cluster_dim": 10, "aggregator.token_dim": 20},
    ),
    "salad on registers": Official(
        "salad", lambda: dinov2("model", 4, norm=True), "", "aggregator",
        lambda: {"dust_bin": torch.tensor(1.0), **drawn(**SALAD_HEAD)}, salad, "42x56",
        {"backbone.name": "dinov2_vits14_reg"},
    ),
    "boq on dinov2": Official(
        "boq", lambda: dinov2("dino", 0, norm=False), "", "aggregator",
        lambda: OfficialBoQ(384).state_dict(), boq, None,
        {"image_size": [322, 322], "backbone.name": "dinov2_vits14",
         "backbone.final_norm": False,
         "aggregator.num_queries": 10, "aggregator.num_layers": 3, "aggregator.row_dim": 6,
         "aggregator.proj_channels": 128},
    ),
    "boq on a resnet": Official(
        "boq", lambda: children(*R18), "net.", "aggregator",
        lambda: OfficialBoQ(256).state_dict(), boq, "64x48",
        {"backbone.name": "resnet18", "backbone.crop_last": 1},
    ),
    "netvlad": Official(
        "netvlad", lambda: children(*R18), "", "aggregation",
        lambda: drawn(centroids=(5, 256), conv__weight=(5, 256, 1, 1)), netvlad, "48x64",
        {"backbone.crop_last": 1, "aggregator.clusters_num": 5, "projection": None},
    ),
    "netvlad and fc": Official(
        "netvlad", lambda: children(*R18), "", "aggregation",
        lambda: drawn(
            _0__centroids=(4, 256), _0__conv__weight=(4, 256, 1, 1), _1__weight=(9, 4 * 256),
            _1__bias=(9,),
        ),
        netvlad_and_fc, "48x32",
        {"backbone.name": "resnet18", "projection.dim": 9},
    ),
    "netvlad on cct": Official(
        "netvlad", lambda: cct(14, 3), "", "aggregation",
        lambda: drawn(centroids=(5, 384), conv__weight=(5, 384, 1)), netvlad_of_tokens, None,
        {"image_size": [48, 48], "backbone.name": "cct14_7x2_384", "backbone.crop_last": 0},
    ),
    "gem on a cut cct": Official(
        "gem", lambda: cct(2, 4), "", "aggregation", lambda: {"0.p": P}, gem, None,
        {"image_size": [64, 64], "backbone.crop_last": 12, "aggregator.name": "gem"},
    ),
    "crn": Official(
        "crn", lambda: children(*R18), "", "aggregation", lambda: crn_head(5, 256), crn, "64x96",
        {"aggregator.name": "crn", "aggregator.clusters_num": 5, "projection": None},
    ),
    "crn and fc": Official(
        "crn", lambda: children(*R18), "", "aggregation",
        lambda: {**crn_head(4, 256, "0."), **drawn(_1__weight=(9, 4 * 256), _1__bias=(9,))},
        crn_and_fc, "64", {"aggregator.name": "crn", "projection.dim": 9},
    ),
    "gem before pooling": Official(
        "gem", lambda: children(*R18), "", "aggregation", lambda: {"1.p": P},
        gem_of_normalised, "64", {"aggregator.name": "cosplace", "aggregator.out_dim": 256},
    ),
    "gem before pooling and fc": Official(
        "gem", lambda: children(*R18), "", "aggregation",
        lambda: {"0.1.p": P, **drawn(_1__weight=(9, 256), _1__bias=(9,))},
        cosplace("0.1.p", "1"), "64", {"aggregator.out_dim": 9},
    ),
    "gem after pooling": Official(
        "gem", lambda: children(*R18), "", "aggregation", lambda: {"0.p": P}, gem, "64",
        {"aggregator.name": "gem"},
    ),
}  # fmt: skip


def test_every_model_has_a_case() -> None:
    assert {case.model for case in CASES.values()} == set(MODELS)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_imported_model_describes_as_the_official_one(tmp_path: Path, case: Official) -> None:
    torch.manual_seed(0)
    backbone, body = case.body()
    head = case.head()
    state = {f"backbone.{case.in_front}{key}": tensor for key, tensor in backbone.items()}
    state |= {f"{case.name}.{key}": tensor for key, tensor in head.items()}
    torch.save(state, tmp_path / "official.pth")
    done = import_weights(
        tmp_path / "official.pth", case.model, tmp_path / "model", image_size=case.image_size
    )
    network = vgray.load_model(tmp_path / "model", device="cpu")
    settings = json.loads((tmp_path / "model/recipe.json").read_text())
    for path, value in {**case.found, "backbone.weights": "none"}.items():
        found = settings
        for key in path.split("."):
            found = found[key]
        assert found == value, path

    images = torch.randint(0, 256, (2, 3, *network.recipe.image_size), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        expected = case.describe(head, *body(normalised))
    assert done.dimension == network.dimension == expected.shape[1]
    assert expected.std() > 0
    torch.testing.assert_close(network.describe(images), expected, atol=2e-5, rtol=1e-4)
    # Two images are told apart by far more than the tolerance.
    assert (expected[0] - expected[1]).abs().max() > 1e-3
