"""Whether parts of a recipe fit together, as far as that is known without building a network."""

import math
from collections.abc import Sequence

from vgray.recipe.architectures import ARCHITECTURES, Architecture
from vgray.recipe.augmentation import Augmentation
from vgray.recipe.losses import HPHN, Loss, Miner, Mining
from vgray.recipe.networks import (
    CBAM,
    SALAD,
    Aggregator,
    Attention,
    Backbone,
    ClassToken,
    MixVPR,
    MultiScale,
    NonLocal,
    SecondOrderAttention,
)

# Settings that say what the feature map is; each is what the backbone gives unless given.
CHANNELS = ("in_channels", "in_dim", "dim", "num_channels")
SIDES = ("in_h", "in_w")

IMAGE_SIDES = range(32, 4096 + 1)
"""Pixels that height and width of an image may have."""
_ANY = range(1, 2**31)


class Misfit(ValueError):  # noqa: N818 (of two settings, neither of which is wrong by itself)
    """Parts of a recipe that exclude each other."""


def require_fit(
    backbone: Backbone,
    attention: Attention,
    aggregator: Aggregator,
    multi_scale: MultiScale | None,
    image_size: tuple[int, int],
) -> None:
    """Refuse parts that cannot make a network; of ``timm/...`` building it must tell.

    Raises:
        Misfit: in one line, with the dotted path that is wrong and its remedy.
    """
    architecture = ARCHITECTURES.get(backbone.name)
    if architecture is None:
        return
    _require_blocks(len(architecture.channels), backbone)
    _require_multiple(backbone.name, architecture.multiple, image_size)
    if isinstance(aggregator, SALAD | ClassToken) and not architecture.has_token:
        able = [name for name, other in ARCHITECTURES.items() if other.has_token]
        raise Misfit(
            f"aggregator.name: {aggregator.name} needs a class token, which {backbone.name} has "
            f"not; give a backbone that has one ({', '.join(able)}) or another aggregator"
        )
    channels = architecture.channels[-1 - backbone.crop_last]
    _require_channels(channels, backbone, attention, aggregator)
    grid = _grid(architecture, backbone.crop_last, image_size)
    if grid is not None:
        _require_grid(grid, backbone, aggregator, image_size)
    if multi_scale is not None:
        _require_scales(architecture, backbone, aggregator, multi_scale, image_size)


def require_training_fit(
    loss: Loss, miner: Miner, mining: Mining, augmentation: Augmentation
) -> None:
    """Refuse ways to train that exclude each other.

    Raises:
        Misfit: in one line, with the dotted path that is wrong and its remedy.
    """
    if mining.name != "none":
        if miner.name != "none":
            raise Misfit(
                f"miner.name: found {miner.name}, but with mining.name {mining.name} the batches "
                "are tuples that were chosen before; give miner.name none, or mining.name none"
            )
        return
    if isinstance(loss, HPHN):
        raise Misfit(
            f"loss.name: {loss.name} compares tuples with a further negative, which batches of "
            "places have not; give mining.name random, partial, full or msls_weighted"
        )
    if augmentation.images == "queries":
        raise Misfit(
            "augmentation.images: found queries, but batches of places have none; give all, or "
            "mining.name random, partial, full or msls_weighted"
        )


def _require_blocks(blocks: int, backbone: Backbone) -> None:
    if backbone.crop_last > blocks - 2:
        raise Misfit(
            f"backbone.crop_last: found {backbone.crop_last}; {backbone.name} has {blocks} blocks, "
            f"of which two must stay, so give 0 to {blocks - 2}"
        )
    left = blocks - backbone.crop_last
    if backbone.train_from > left:
        raise Misfit(
            f"backbone.train_from: found {backbone.train_from}, but with crop_last "
            f"{backbone.crop_last} {left} blocks of {backbone.name} are left; give 0 to {left} "
            f"({left} trains none of them)"
        )


def _require_multiple(name: str, multiple: int, image_size: tuple[int, int]) -> None:
    if any(side % multiple for side in image_size):
        raise Misfit(
            f"image_size: found {image_size[0]}x{image_size[1]}; {name} needs multiples of "
            f"{multiple}, {nearest_sizes(image_size, multiple, IMAGE_SIDES)}"
        )


def nearest_sizes(size_px: Sequence[int], multiple: int, allowed: range = _ANY) -> str:
    """Return the multiples that are nearest to a height and width, as words of a message."""
    height, width = (_nearest(side, multiple, allowed) for side in size_px)
    if height == width:
        return f"the nearest {'are' if ' or ' in height else 'is'} {height}"
    return f"the nearest are {height} for the height and {width} for the width"


def _nearest(side: int, multiple: int, allowed: range) -> str:
    below, above = side // multiple * multiple, -(-side // multiple) * multiple
    return " or ".join(dict.fromkeys(str(x) for x in (below, above) if x in allowed))


def _require_channels(
    channels: int, backbone: Backbone, attention: Attention, aggregator: Aggregator
) -> None:
    for key in CHANNELS:
        given = getattr(aggregator, key, None)
        if given not in (None, channels):
            raise Misfit(
                f"aggregator.{key}: found {given}, but {backbone.name} with crop_last "
                f"{backbone.crop_last} gives {channels} channels; leave it out"
            )
    if isinstance(attention, CBAM | NonLocal | SecondOrderAttention) and (
        attention.reduction > channels
    ):
        raise Misfit(
            f"attention.reduction: found {attention.reduction}, but {backbone.name} with crop_last "
            f"{backbone.crop_last} gives only {channels} channels; lower it"
        )


def _require_grid(
    grid: tuple[int, int], backbone: Backbone, aggregator: Aggregator, image_size: tuple[int, int]
) -> None:
    here = (
        f"image_size {image_size[0]}x{image_size[1]} with {backbone.name} and crop_last "
        f"{backbone.crop_last} gives a map of {grid[0]}x{grid[1]}"
    )
    if isinstance(aggregator, MixVPR):
        for key, side in zip(SIDES, grid, strict=True):
            given = getattr(aggregator, key)
            if given not in (None, side):
                raise Misfit(
                    f"aggregator.{key}: found {given}, but {here}; leave it out, or give the "
                    "image_size that the model was made for"
                )
    if isinstance(aggregator, SALAD) and math.prod(grid) <= aggregator.num_clusters:
        raise Misfit(
            f"aggregator.num_clusters: found {aggregator.num_clusters}, but {here}, and there must "
            "be more locations than clusters; lower it or raise image_size"
        )


def _require_scales(
    architecture: Architecture,
    backbone: Backbone,
    aggregator: Aggregator,
    multi_scale: MultiScale,
    image_size: tuple[int, int],
) -> None:
    scale, stride = min(multi_scale.scales), architecture.strides[-1 - backbone.crop_last]
    height, width = scaled_size(image_size, scale, architecture.multiple)
    rows, columns = height // stride, width // stride
    needed = aggregator.num_clusters + 1 if isinstance(aggregator, SALAD) else 1
    if rows * columns < needed:
        raise Misfit(
            f"multi_scale.scales: found {scale:g}, with which {backbone.name} sees images of "
            f"{height}x{width} and gives a map of {rows}x{columns}; {aggregator.name} needs "
            f"{needed} location{'s'[: needed != 1]}, so leave that scale out or raise image_size"
        )


def scaled_size(size_px: tuple[int, int], scale: float, multiple: int) -> tuple[int, int]:
    """Return the valid image size that is nearest to ``scale`` times another.

    Args:
        size_px: height and width.
        scale: of both sides.
        multiple: of what a valid side is a multiple: the patch size of a transformer, or 1.

    Returns:
        Height and width, at least ``multiple`` each; halfway between two it is the larger.
    """
    height, width = (multiple * max(1, math.floor(s * scale / multiple + 0.5)) for s in size_px)
    return height, width


def _grid(
    architecture: Architecture, crop_last: int, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    """Return height and width of the map; None where rounding depends on the network."""
    stride = architecture.strides[-1 - crop_last]
    if any(side % stride for side in image_size):
        return None
    return image_size[0] // stride, image_size[1] // stride
