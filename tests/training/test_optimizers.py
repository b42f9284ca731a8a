"""Which parameters learn, which are decayed, and that the settings arrive."""

import pytest
import torch
from torch import nn

from vgray import Recipe, UserError
from vgray.models import Network
from vgray.training import OPTIMIZERS
from vgray.training.optimizers import build_optimizer, parameter_groups

BASE = {"image_size": [32, 32], "backbone": {"name": "resnet18", "weights": "none"}}


def names_in(network: nn.Module, group: dict) -> set[str]:
    wanted = {id(p) for p in group["params"]}
    return {name for name, p in network.named_parameters() if id(p) in wanted}


def test_exponents_and_normalisation_are_not_decayed() -> None:
    network = Network(Recipe.from_dict({**BASE, "projection": {"dim": 4}}))
    decayed, others = parameter_groups(network)
    assert others["weight_decay"] == 0
    assert "weight_decay" not in decayed
    exempt = names_in(network, others)
    assert "aggregator.p" in exempt
    assert {n for n in exempt if n != "aggregator.p"} == {
        n for n, _ in network.named_parameters() if ".bn" in n or ".downsample.1." in n
    }
    assert {"projection.weight", "projection.bias"} <= names_in(network, decayed)
    assert exempt | names_in(network, decayed) == {n for n, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("backbone", "aggregator", "exempt"),
    [
        (
            {"name": "dinov2_vits14_reg", "weights": "none", "crop_last": 11},
            {"name": "salad", "num_clusters": 3},
            {
                "backbone.blocks.0.class_token", "backbone.blocks.0.registers",
                "backbone.blocks.0.positions", "backbone.blocks.1.ls1.gamma",
                "backbone.blocks.1.ls2.gamma", "backbone.blocks.1.norm1.weight",
                "backbone.blocks.1.norm1.bias", "backbone.blocks.1.norm2.weight",
                "backbone.blocks.1.norm2.bias", "backbone.norm.weight", "backbone.norm.bias",
                "aggregator.dust_bin",
            },
        ),
        (
            {"name": "vgg16", "weights": "none", "crop_last": 3},
            {"name": "netvlad", "clusters_num": 2},
            {"aggregator.centroids"},
        ),
        (
            {"name": "vgg16", "weights": "none", "crop_last": 3},
            {"name": "boq", "proj_channels": 64, "num_layers": 1},
            {
                "aggregator.boqs.0.queries", "aggregator.norm_input.weight",
                "aggregator.norm_input.bias",
                *(f"aggregator.boqs.0.{norm}.{name}" for name in ("weight", "bias")
                  for norm in ("norm_q", "norm_out", "encoder.norm1", "encoder.norm2")),
            },
        ),
    ],
)  # fmt: skip
def test_only_matrices_and_their_biases_are_decayed(
    backbone: dict, aggregator: dict, exempt: set[str]
) -> None:
    recipe = {"image_size": [56, 56], "backbone": backbone, "aggregator": aggregator}
    network = Network(Recipe.from_dict(recipe))
    decayed, others = parameter_groups(network)
    assert names_in(network, others) == exempt
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    assert names_in(network, decayed) == names - exempt


def test_decay_moves_weights_and_not_exponents() -> None:
    recipe = Recipe.from_dict(
        {**BASE, "optimizer": {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}}
    )
    network = Network(recipe)
    optimizer = build_optimizer(network, recipe)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = dict(network.named_parameters())
    assert torch.equal(after["aggregator.p"], before["aggregator.p"])
    key = "backbone.blocks.0.conv1.weight"
    torch.testing.assert_close(after[key], before[key] * 0.95)


def test_frozen_blocks_are_not_optimised() -> None:
    recipe = Recipe.from_dict({**BASE, "backbone": {**BASE["backbone"], "train_from": 3}})
    network = Network(recipe)
    names = set().union(*(names_in(network, g) for g in parameter_groups(network)))
    assert names
    assert all(n.startswith(("backbone.blocks.3.", "aggregator.")) for n in names)


def test_nothing_that_learns_is_refused() -> None:
    recipe = Recipe.from_dict(
        {**BASE, "backbone": {**BASE["backbone"], "train_from": 4}, "aggregator": {"name": "avg"}}
    )
    network = Network(recipe)
    assert parameter_groups(network) == []
    with pytest.raises(UserError, match=r"backbone\.train_from: found 4"):
        build_optimizer(network, recipe)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_reach_the_optimizer(name: str) -> None:
    recipe = Recipe().with_settings(
        {
            "backbone.weights": "none",
            "optimizer.name": name,
            "optimizer.lr": 0.5,
            "optimizer.weight_decay": 0.25,
        }
    )
    optimizer = build_optimizer(Network(recipe), recipe)
    assert type(optimizer) is OPTIMIZERS[name]
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.5]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.25, 0.0]
