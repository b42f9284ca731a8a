"""Optimizers, and which parameters get weight decay."""

from typing import Any

import torch
from torch import nn

from vgray.errors import UserError
from vgray.models.aggregators import GeM
from vgray.recipe import Recipe

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
}

# Decay would pull scales towards 0 and the exponent below 1, where neither means anything.
_WITHOUT_DECAY = (
    GeM,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,
)


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

    GeM exponents and the parameters of normalisation layers get none. Empty groups are left out.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        group = others if isinstance(module, _WITHOUT_DECAY) else decayed
        group += [p for p in module.parameters(recurse=False) if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
