"""The two parts of an official checkpoint: backbone and head, free of what wrappers add."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from vgray.errors import UserError
from vgray.models.weights import some

# What DataParallel, torch.compile and sharded training put between the names of a key.
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module"))
_HEADS = ("aggregator", "aggregation")


class Parts(NamedTuple):
    """Backbone and head of a checkpoint, each with its own keys."""

    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    head_name: str
    """What the head's keys began with: ``aggregator`` or ``aggregation``."""
    ignored: int
    """How many tensors were in neither: classifiers, states of losses and miners."""


def split(state: Mapping[str, Tensor], what: str) -> Parts:
    """Divide the state dict of an official model.

    The official models are a ``backbone`` and an ``aggregator`` (GSV-Cities, MixVPR, salad,
    Bag-of-Queries) or an ``aggregation`` (CosPlace, EigenPlaces, deep-visual-geo-localization-
    benchmark); wrappers may have put names before or between.

    Raises:
        UserError: there is no backbone, no head, or more than one of them.
    """
    groups: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in state.items():
        names = [name for name in key.split(".") if name not in _WRAPPERS]
        # Neither word occurs inside the parts, so that its first occurrence is where a part begins.
        at = next((i for i, name in enumerate(names) if name in ("backbone", *_HEADS)), None)
        if at is not None:
            group = groups.setdefault(".".join(names[:at]), {})
            group.setdefault(names[at], {})[".".join(names[at + 1 :])] = tensor
    models = [group for group in groups.values() if len(group) > 1 and "backbone" in group]
    if len(models) != 1 or len(models[0]) != 2:
        raise UserError(
            f"{what}: found {some(state)}, expected the keys of one published model "
            f"(backbone.* and aggregator.* or aggregation.*); give the file that its authors "
            "publish"
        )
    head_name = next(name for name in models[0] if name != "backbone")
    backbone, head = models[0]["backbone"], models[0][head_name]
    return Parts(backbone, head, head_name, len(state) - len(backbone) - len(head))
