"""The size of a network, without its weights."""

import pytest
from made_runs import SMALL

from vgray.models.network import Network
from vgray.recipe import Recipe
from vgray.reports.networks import network_size


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"projection.dim": 32},
        {"multi_scale.name": "concatenate", "multi_scale.scales": [1.0, 2.0]},
    ],
)
def test_it_is_that_of_the_network(settings) -> None:
    recipe = Recipe().with_settings({**SMALL, **settings, "seed": 3, "optimizer.lr": 0.5})
    network = Network(recipe)
    found = network_size(recipe)
    assert found.dimension == network.dimension
    assert found.num_parameters == sum(each.numel() for each in network.parameters())
