"""Optimizers, and which parameters get weight decay."""

from typing import Any

import torch
from torch import Tensor, nn

from vgray.errors import UserError
from vgray.recipe import Recipe

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
}

# Of layers that multiply by a matrix or a kernel. What has another name is a scale, an exponent, a
# position, a token or a centroid: 0 means nothing for it, so decay would only pull it astray.
_DECAYED = {"weight", "bias", "in_proj_weight", "in_proj_bias"}


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer of what learns in ``network``.

    Raises:
        UserError: nothing does.
    """
    groups = parameter_groups(network)
    if not groups:
        raise UserError(
            f"backbone.train_from: found {recipe.backbone.train_from}, with which nothing in the "
            "network learns; lower it, or give it a projection"
        )
    settings = recipe.optimizer
    return OPTIMIZERS[settings.name](groups, **settings.arguments())


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return the parameters that learn, in a group with and a group without weight decay.

    Weights and biases of linear layers, convolutions and attention are decayed. Normalisation,
    whose weight is a scale for each channel, is not, nor are single parameters such as GeM's
    exponent or a transformer's positions. Empty groups are left out.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        weight = getattr(module, "weight", None)
        is_scale = isinstance(weight, Tensor) and weight.ndim < 2
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                (decayed if name in _DECAYED and not is_scale else others).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
