"""Heads of official checkpoints: recognised, read, and loaded into a network that fits them."""

import math
from collections.abc import Mapping

from torch import Tensor

from vgray.errors import UserError
from vgray.models.aggregators import MixVPR
from vgray.models.network import Network
from vgray.models.published.models import MODELS, Head, Layout
from vgray.models.published.parts import Parts
from vgray.models.weights import require_dense, require_finite, some

REMEDY = "give the file that its authors publish"
"""What mends a checkpoint that is no official one, or not whole."""


def find_layout(model: str, parts: Parts, what: str) -> Layout:
    """Return the layout of ``model`` in which the head has all the keys that mark it.

    Raises:
        UserError: there is none, or the keys mark another model more clearly.
    """
    found = {name: _marked(name, parts.head) for name in MODELS}
    marks = {name: len(layout.marks) for name, layout in found.items() if layout is not None}
    likely = [name for name, count in marks.items() if count == max(marks.values())]
    layout = found[model]
    if layout is not None and model in likely:
        return layout
    keys = some(f"{parts.head_name}.{key}" for key in parts.head)
    expected = " and ".join(sorted(MODELS[model][0].marks))
    remedy = f"it looks like {' or '.join(likely)}: give --as {likely[0]}" if likely else REMEDY
    raise UserError(f"{what}: found {keys}, expected {model} ({expected}); {remedy}")


def _marked(model: str, head: Mapping[str, Tensor]) -> Layout | None:
    return next((layout for layout in MODELS[model] if layout.marks <= head.keys()), None)


def read_head(layout: Layout, parts: Parts, channels: int, what: str) -> Head:
    """Read the settings of a head from its shapes; ``channels`` are the feature map's.

    Raises:
        UserError: keys are missing, their shapes are of something else, or they are no dense
            tensors of real numbers.
    """
    require_dense({f"{parts.head_name}.{key}": t for key, t in parts.head.items()}, what)
    head = {layout.keys.get(key, key): tensor for key, tensor in parts.head.items()}
    try:
        return layout.read(head, channels)
    except KeyError as error:
        key = _official(layout).get(error.args[0], error.args[0])
        reason = f"{parts.head_name}.{key} is missing"
    except (IndexError, TypeError, ZeroDivisionError):  # too few dimensions, or no values
        reason = f"the shapes of {parts.head_name}.* are of something else"
    raise UserError(f"{what}: {reason}; {REMEDY}")


def _official(layout: Layout) -> dict[str, str]:
    return {new: old for old, new in layout.keys.items()}


def fill_head(network: Network, layout: Layout, head: Head, head_name: str, what: str) -> None:
    """Load a head into the network that was built for it.

    Raises:
        UserError: a tensor is missing, left over, of another shape, or holds no numbers; the
            network's feature map has another size.
    """
    aggregator = network.aggregator
    if isinstance(aggregator, MixVPR) and head.locations is not None:
        _require_map(network, (aggregator.in_h, aggregator.in_w), head.locations, what)
    published = _official(layout)
    for module, prefix, state in (
        (aggregator, "", head.state),
        (network.projection, "projection.", head.projection),
    ):
        if module is None:
            continue
        needed = module.state_dict()
        names = {
            key: f"{head_name}.{published.get(prefix + key, prefix + key)}"
            for key in {**needed, **state}
        }
        _require_fit(state, needed, names, what)
        module.load_state_dict(state)


def _require_map(network: Network, found: tuple[int, int], locations: int, what: str) -> None:
    """Refuse a map of ``found`` height and width where the weights are for another."""
    side = math.isqrt(locations)
    if side * side == locations:
        # Another shape of as many locations would fit, and mix up rows and columns.
        fits, expected = found == (side, side), f"{side}x{side}; leave out --image-size"
    else:
        fits = found[0] * found[1] == locations
        expected = f"{locations} locations; give the --image-size that it was trained with"
    if not fits:
        height, width = network.recipe.image_size
        raise UserError(
            f"{what}: images of {height}x{width} give a map of {found[0]}x{found[1]}, its weights "
            f"are for one of {expected}"
        )


def _require_fit(
    state: Mapping[str, Tensor], needed: Mapping[str, Tensor], names: Mapping[str, str], what: str
) -> None:
    """Refuse a state dict that is not the one ``needed``; ``names`` are its keys in the file."""
    missing = [names[key] for key in needed if key not in state]
    left_over = [names[key] for key in state if key not in needed]
    if missing or left_over:
        raise UserError(
            f"{what}: the head does not fit; missing {some(missing)}, left over {some(left_over)}; "
            f"{REMEDY}"
        )
    for key, like in needed.items():
        if state[key].shape != like.shape:
            raise UserError(
                f"{what}: {names[key]} has shape {tuple(state[key].shape)}, expected "
                f"{tuple(like.shape)}; {REMEDY}"
            )
    require_finite({names[key]: tensor for key, tensor in state.items()}, what)
