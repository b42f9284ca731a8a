"""How large the network of a recipe is, and the descriptors that it gives."""

import json
from functools import cache
from typing import NamedTuple

from vgray.recipe import Recipe

_DECISIVE = ("image_size", "backbone", "attention", "aggregator", "projection", "multi_scale")


class NetworkSize(NamedTuple):
    """What a network costs."""

    dimension: int
    """The length of its descriptors."""
    num_parameters: int


def network_size(recipe: Recipe) -> NetworkSize:
    """Return the size of a recipe's network, which is built, without weights, to be counted.

    Raises:
        UserError: the recipe's parts do not fit.
    """
    values = recipe.to_dict()
    # Settings of many seeds and losses have one network.
    return _size(Recipe.from_dict({name: values[name] for name in _DECISIVE}).to_json())


@cache
def _size(recipe: str) -> NetworkSize:
    # A plan without a budget needs no torch.
    from vgray.models.network import Network

    network = Network(Recipe.from_dict(json.loads(recipe)), load_weights=False)
    return NetworkSize(network.dimension, sum(each.numel() for each in network.parameters()))
