"""The parts of a network, built from a recipe so that each fits the one before it."""

import torch
from torch import Tensor, nn

from vgray.errors import UserError
from vgray.models.aggregators import AGGREGATORS
from vgray.models.attention import ATTENTION, AdaptiveAttention
from vgray.models.backbones import Backbone, Features
from vgray.recipe.fit import CHANNELS, SIDES
from vgray.recipe.networks import Aggregator, Attention


def build_attention(settings: Attention, backbone: Backbone) -> nn.Module:
    """Return the recipe's attention for the backbone's feature map.

    AdAGeo's gets the backbone's pretrained classifier, if it has one.

    Raises:
        UserError: the map has too few channels for it.
    """
    arguments = settings.arguments()
    if arguments.get("reduction", 1) > backbone.out_channels:
        raise UserError(
            f"attention.reduction: found {arguments['reduction']}, but the backbone gives only "
            f"{backbone.out_channels} channels; lower it"
        )
    attention = ATTENTION[settings.name](channels=backbone.out_channels, **arguments)
    if isinstance(attention, AdaptiveAttention) and backbone.classifier is not None:
        weight, bias = backbone.classifier
        if weight.shape != attention.fc.weight.shape:
            raise UserError(
                f"attention.num_classes: found {attention.fc.out_features}, but the backbone's "
                f"weights classify {len(weight)}; give attention.num_classes={len(weight)}"
            )
        attention.load_classifier(weight, bias)
    backbone.classifier = None
    return attention


def build_aggregator(settings: Aggregator, features: Features) -> nn.Module:
    """Return the recipe's aggregator for features such as these.

    Raises:
        UserError: it needs a token that the backbone has not, other channels, or another map.
    """
    channels, *grid = features.map.shape[1:]
    derived = {**dict.fromkeys(CHANNELS, channels), **dict(zip(SIDES, grid, strict=True))}
    arguments = settings.arguments()
    for key in arguments.keys() & derived.keys():
        if arguments[key] not in (None, derived[key]):
            raise UserError(
                f"aggregator.{key}: found {arguments[key]}, but the backbone gives {channels} "
                f"channels and a map of {grid[0]}x{grid[1]}; leave it out"
            )
        arguments[key] = derived[key]
    aggregator = AGGREGATORS[settings.name](**arguments)
    if aggregator.needs_token and features.token is None:
        raise UserError(
            f"aggregator.name: {settings.name} needs a class token, which the backbone has not; "
            "give another backbone or another aggregator"
        )
    return aggregator


def dry_descriptor(aggregator: nn.Module, features: Features) -> Tensor:
    """Return the descriptor (1, D) of ``features``.

    Raises:
        UserError: their map is too small for the aggregator.
    """
    aggregator.eval()
    try:
        with torch.no_grad():
            return aggregate(aggregator, features)
    except ValueError as error:
        raise UserError(f"aggregator: {error}") from None
    finally:
        aggregator.train()


def aggregate(aggregator: nn.Module, features: Features) -> Tensor:
    """Return the descriptors (B, D) of features, of which most aggregators take the map only."""
    descriptors: Tensor = aggregator(features if aggregator.needs_token else features.map)
    return descriptors
