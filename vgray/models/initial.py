"""What a training starts from: the weights of an earlier model (``init_from``), or the recipe's."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vgray.errors import UserError
from vgray.models.aggregators import CRN
from vgray.models.backbones import build_backbone
from vgray.models.backbones.transformer import Embedding, resize_positions
from vgray.models.checkpoint import METRICS, MODEL, RECIPE, read_metrics
from vgray.models.network import Network
from vgray.models.weights import require_finite, some
from vgray.recipe import Recipe
from vgray.recipe.architectures import ARCHITECTURES

logger = logging.getLogger(__name__)

_POSITIONS = "backbone.blocks.0.positions"
_REWEIGHTING = "aggregator.crn."


class InitialWeights(NamedTuple):
    """What a network took from a checkpoint beside the backbone, which it always takes."""

    checkpoint: str
    attention: bool
    aggregator: bool
    """Of a CRN: at least its clusters."""
    projection: bool
    notes: tuple[str, ...]
    """What starts elsewhere, and what of the checkpoint is not taken; with the reasons."""

    def describe(self) -> str | None:
        """Return the notes as one line; None if both have the same parts."""
        return f"init_from {self.checkpoint}: {'; '.join(self.notes)}" if self.notes else None


class _Saved(NamedTuple):
    state: dict[str, Tensor]
    recipe: Recipe | None
    """None of a file of weights alone."""
    what: str
    """What an error message begins with."""


def ensure_network(recipe: Recipe) -> InitialWeights | None:
    """Make sure that a recipe's network can be built: download its weights if need be.

    Called once before anything starts, so that workers find the weights on disk, and what is wrong
    with them, or only a model of timm can tell, is refused before any worker begins. With
    ``init_from`` weights are downloaded only for blocks that the checkpoint lacks, and what the
    network takes of it is returned.

    Raises:
        UserError: the weights cannot be had or do not fit, or the parts do not fit.
    """
    network = Network(recipe, load_weights=recipe.init_from is None)
    return load_initial(network, recipe.init_from) if recipe.init_from is not None else None


def load_initial(network: Network, checkpoint: str | Path) -> InitialWeights:
    """Copy the weights of a trained model into a new network, as far as both have the same parts.

    The backbone must be the same one; other numbers of cropped blocks and another image size will
    do. Blocks that the checkpoint lacks have the weights of ``backbone.weights``, or learn from
    random ones. Attention, aggregator and projection are taken whole or not at all, but that a CRN
    takes the clusters of a NetVLAD, as it is published. What is not taken is logged and keeps its
    values.

    Args:
        network: new, on any device; written to.
        checkpoint: a checkpoint folder, or the file ``model.safetensors`` of one, whose backbone
            then must be cropped alike. No pickle is read.

    Raises:
        UserError: the checkpoint is missing or damaged, its backbone is another one, or it lacks
            blocks that would stay random, or whose weights cannot be had.
    """
    saved = _read(Path(checkpoint).expanduser())
    ours = network.state_dict()
    _fit_positions(network, saved)
    take, missing = _of_backbone(network.recipe, ours, saved)
    others = _others(network, missing, saved.what) if missing else {}
    notes = []
    if missing:
        how = f"backbone.weights={network.recipe.backbone.weights}" if others else "random values"
        notes.append(f"{some(missing)} (missing there) start from {how}")
    taken = {}
    for part in ("attention", "aggregator", "projection"):
        names = [name for name in ours if name.startswith(f"{part}.")]
        if part == "aggregator" and isinstance(network.aggregator, CRN):
            new = [name for name in names if name.startswith(_REWEIGHTING)]
            if not saved.state.keys() & set(new):
                notes.append("the reweighting of aggregator crn (missing there) starts anew")
                names = [name for name in names if name not in new]
        misfit = next((name for name in names if not _fits(name, ours, saved)), None)
        taken[part] = bool(names) and misfit is None
        unused = [name for name in saved.state if name.startswith(f"{part}.") and name not in ours]
        if misfit is not None:
            reason = _methods(part, network.recipe, saved) or _difference(misfit, ours, saved)
            notes.append(f"{part} ({reason}) starts anew")
        else:
            take += names
            if unused:
                reason = _methods(part, network.recipe, saved) or "not in the recipe"
                notes.append(f"{some(unused)} ({reason}) not taken")
    require_finite({name: saved.state[name] for name in take}, saved.what)
    with torch.no_grad():
        for name, tensor in others.items():
            ours[name].copy_(tensor)
        for name in take:
            ours[name].copy_(saved.state[name])
    initial = InitialWeights(str(checkpoint), **taken, notes=tuple(notes))
    if notes:
        logger.info(initial.describe())
    return initial


def _others(network: Network, missing: list[str], what: str) -> dict[str, Tensor]:
    """Return what a checkpoint lacks as ``backbone.weights`` has it; nothing if that is none.

    Raises:
        UserError: the weights cannot be had, or there are none and some of it would never learn.
    """
    recipe = network.recipe
    settings = recipe.backbone
    if settings.weights != "none":
        backbone = build_backbone(
            settings.name, image_size=recipe.image_size, **settings.arguments()
        ).state_dict()
        return {name: backbone[name.removeprefix("backbone.")] for name in missing}
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    parameters = {name for name, _ in network.named_parameters()}
    frozen = [name for name in missing if name in parameters - learns]
    if frozen:
        raise UserError(
            f"{what}: lacks {some(frozen)}, which would stay random with backbone.weights none and "
            f"backbone.train_from {settings.train_from}; give backbone.weights=pretrained, or a "
            "backbone.train_from with which they learn"
        )
    return {}


def _read(path: Path) -> _Saved:
    what = f"init_from={path}"
    if path.is_file():
        try:
            return _Saved(load_file(path), None, what)
        except Exception as error:  # a cut file makes its reader stumble in any way
            reason = " ".join(str(error).split())[:100]
            raise UserError(
                f"{what}: found a file that is no weights as .safetensors ({reason}); give a "
                f"checkpoint folder, or the {MODEL} in it"
            ) from None
    if not (path / METRICS).is_file():
        inside = sorted(file.parent for file in path.glob(f"*/{METRICS}"))
        if inside:
            which = path / "best" if path / "best" in inside else inside[-1]
            raise UserError(f"{what}: holds checkpoints and is none itself; give one, as {which}")
    try:
        read_metrics(path)
        recipe = Recipe.from_file(path / RECIPE)
        return _Saved(load_file(path / MODEL), recipe, what)
    except UserError as error:
        raise UserError(f"init_from: {error}") from None


def _fit_positions(network: Network, saved: _Saved) -> None:
    """Interpolate the positions of a transformer that was made for images of another size."""
    blocks = getattr(network.backbone, "blocks", None)
    embedding = blocks[0] if isinstance(blocks, nn.ModuleList) else None
    theirs = saved.state.get(_POSITIONS)
    if theirs is None or saved.recipe is None or not isinstance(embedding, Embedding):
        return
    stride = ARCHITECTURES[network.recipe.backbone.name].strides[0]
    height, width = (-(-side // stride) for side in saved.recipe.image_size)
    first = embedding.positions.shape[1] - math.prod(embedding.grid)
    if (height, width) != embedding.grid and theirs.shape[1] == first + height * width:
        resized = resize_positions(theirs, (height, width), embedding.grid, embedding.resize)
        saved.state[_POSITIONS] = resized


def _of_backbone(
    recipe: Recipe, ours: Mapping[str, Tensor], saved: _Saved
) -> tuple[list[str], list[str]]:
    """Return the names to take, and those that the checkpoint lacks.

    Raises:
        UserError: it is another backbone.
    """
    name = recipe.backbone.name
    if saved.recipe is not None and saved.recipe.backbone.name != name:
        raise UserError(
            f"{saved.what}: has the backbone {saved.recipe.backbone.name}, the recipe says {name}; "
            f"give backbone.name={saved.recipe.backbone.name} or a checkpoint of {name}"
        )
    names = [key for key in ours if key.startswith("backbone.")]
    theirs = [key for key in saved.state if key.startswith("backbone.")]
    missing = [key for key in names if key not in saved.state]
    unexpected = [key for key in theirs if key not in ours]
    if len(missing) == len(names) or (saved.recipe is None and (missing or unexpected)):
        raise UserError(
            f"{saved.what}: does not fit {name} with backbone.crop_last "
            f"{recipe.backbone.crop_last}; missing {some(missing)}, unexpected {some(unexpected)}; "
            "give a checkpoint folder of this backbone"
        )
    for key in names:
        if key in saved.state and saved.state[key].shape != ours[key].shape:
            raise UserError(
                f"{saved.what}: {key} has shape {tuple(saved.state[key].shape)}, expected "
                f"{tuple(ours[key].shape)}; give a checkpoint of the same backbone, made for "
                f"images of {recipe.image_size[0]}x{recipe.image_size[1]}"
            )
    return [key for key in names if key in saved.state], missing


def _fits(name: str, ours: Mapping[str, Tensor], saved: _Saved) -> bool:
    return name in saved.state and saved.state[name].shape == ours[name].shape


def _methods(part: str, recipe: Recipe, saved: _Saved) -> str:
    """Say which methods a part is of, if they are two."""
    if saved.recipe is None:
        return ""
    here, there = (_method(part, each) for each in (recipe, saved.recipe))
    return f"{here} here, {there} there" if here != there else ""


def _method(part: str, recipe: Recipe) -> str:
    settings = getattr(recipe, part)
    return getattr(settings, "name", "none" if settings is None else "one")


def _difference(name: str, ours: Mapping[str, Tensor], saved: _Saved) -> str:
    """Say what keeps a tensor from being taken."""
    if name not in saved.state:
        return f"{name} is missing there"
    shapes = tuple(ours[name].shape), tuple(saved.state[name].shape)
    return f"{name} is {shapes[0]} here, {shapes[1]} there"
