"""Whether the parts of a network fit together, as far as that is known without building it."""

import math
from collections.abc import Sequence

from vgray.recipe.architectures import ARCHITECTURES, Architecture
from vgray.recipe.networks import (
    CBAM,
    SALAD,
    Aggregator,
    Attention,
    Backbone,
    ClassToken,
    MixVPR,
    NonLocal,
    SecondOrderAttention,
)

# Settings that say what the feature map is; each is what the backbone gives unless given.
CHANNELS = ("in_channels", "in_dim", "dim", "num_channels")
SIDES = ("in_h", "in_w")


def require_fit(
    backbone: Backbone, attention: Attention, aggregator: Aggregator, image_size: tuple[int, int]
) -> None:
    """Refuse parts that cannot make a network; of ``timm/...`` building it must tell.

    Raises:
        ValueError: in one line, with the dotted path that is wrong and its remedy.
    """
    architecture = ARCHITECTURES.get(backbone.name)
    if architecture is None:
        return
    _require_blocks(len(architecture.channels), backbone)
    _require_multiple(backbone.name, architecture.multiple, image_size)
    if isinstance(aggregator, SALAD | ClassToken) and not architecture.has_token:
        able = [name for name, other in ARCHITECTURES.items() if other.has_token]
        raise ValueError(
            f"aggregator.name: {aggregator.name} needs a class token, which {backbone.name} has "
            f"not; give a backbone that has one ({', '.join(able)}) or another aggregator"
        )
    channels = architecture.channels[-1 - backbone.crop_last]
    _require_channels(channels, backbone, attention, aggregator)
    grid = _grid(architecture, backbone.crop_last, image_size)
    if grid is not None:
        _require_grid(grid, backbone, aggregator, image_size)


def _require_blocks(blocks: int, backbone: Backbone) -> None:
    if backbone.crop_last > blocks - 2:
        raise ValueError(
            f"backbone.crop_last: found {backbone.crop_last}; {backbone.name} has {blocks} blocks, "
            f"of which two must stay, so give 0 to {blocks - 2}"
        )
    left = blocks - backbone.crop_last
    if backbone.train_from > left:
        raise ValueError(
            f"backbone.train_from: found {backbone.train_from}, but with crop_last "
            f"{backbone.crop_last} {left} blocks of {backbone.name} are left; give 0 to {left} "
            f"({left} trains none of them)"
        )


def _require_multiple(name: str, multiple: int, image_size: tuple[int, int]) -> None:
    if any(side % multiple for side in image_size):
        raise ValueError(
            f"image_size: found {image_size[0]}x{image_size[1]}; {name} needs multiples of "
            f"{multiple}, {nearest_sizes(image_size, multiple)}"
        )


def nearest_sizes(size_px: Sequence[int], multiple: int) -> str:
    """Return the multiples that are nearest to a height and width, as words of a message."""
    height, width = (_nearest(side, multiple) for side in size_px)
    if height == width:
        return f"the nearest are {height}"
    return f"the nearest are {height} for the height and {width} for the width"


def _nearest(side: int, multiple: int) -> str:
    below, above = side // multiple * multiple, -(-side // multiple) * multiple
    return f"{above}" if below in (0, above) else f"{below} or {above}"


def _require_channels(
    channels: int, backbone: Backbone, attention: Attention, aggregator: Aggregator
) -> None:
    for key in CHANNELS:
        given = getattr(aggregator, key, None)
        if given not in (None, channels):
            raise ValueError(
                f"aggregator.{key}: found {given}, but {backbone.name} with crop_last "
                f"{backbone.crop_last} gives {channels} channels; leave it out"
            )
    if isinstance(attention, CBAM | NonLocal | SecondOrderAttention) and (
        attention.reduction > channels
    ):
        raise ValueError(
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
                raise ValueError(
                    f"aggregator.{key}: found {given}, but {here}; leave it out, or give the "
                    "image_size that the model was made for"
                )
    if isinstance(aggregator, SALAD) and math.prod(grid) <= aggregator.num_clusters:
        raise ValueError(
            f"aggregator.num_clusters: found {aggregator.num_clusters}, but {here}, and there must "
            "be more locations than clusters; lower it or raise image_size"
        )


def _grid(
    architecture: Architecture, crop_last: int, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    """Return height and width of the map; None where rounding depends on the network."""
    stride = architecture.strides[-1 - crop_last]
    if any(side % stride for side in image_size):
        return None
    return image_size[0] // stride, image_size[1] // stride
