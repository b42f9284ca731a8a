"""From an official checkpoint to a checkpoint folder."""

import hashlib
import math
import tempfile
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save_file

from vgray.errors import UserError, nearest_name
from vgray.models.checkpoint import save_checkpoint
from vgray.models.network import Network
from vgray.models.published.backbone_keys import BackboneKeys, read_backbone
from vgray.models.published.heads import REMEDY, fill_head, find_layout, read_head
from vgray.models.published.models import MODELS, Head
from vgray.models.published.parts import split
from vgray.models.state_dicts import read_state_dict
from vgray.recipe import Recipe
from vgray.recipe.architectures import ARCHITECTURES


class Imported(NamedTuple):
    """A checkpoint folder made of an official checkpoint."""

    folder: Path
    model: str
    """A name in ``MODELS``."""
    recipe: Recipe
    dimension: int
    """Length of its descriptors."""
    parameters: int
    ignored: int
    """How many tensors of the file are no part of the model."""


def import_weights(
    file: str | Path,
    model: str,
    out: str | Path,
    *,
    image_size: str | tuple[int, int] | None = None,
    backbone: str | None = None,
) -> Imported:
    """Turn an official checkpoint into a folder that ``load_model`` opens. No pickle is run.

    From the same pixels the network makes the descriptors that the official one makes; of the
    benchmark's GeM, which leaves them as long as they are, L2-normalised.

    Args:
        file: of torch.save or safetensors, as its authors publish it.
        model: a name in ``MODELS``, in upper or lower case.
        out: the folder to write.
        image_size: height and width in pixels, or a text such as ``480x640``; what the model was
            published for, unless given.
        backbone: its name in a recipe, needed where the file leaves it open.

    Raises:
        UserError: the file cannot be read, or is not of that model; the folder exists or cannot be
            written.
    """
    file, out, what, model = Path(file), Path(out), str(file), model.lower()
    if model not in MODELS:
        raise UserError(
            f"found the model {model!r}, expected one of {', '.join(MODELS)}"
            f"{nearest_name(model, list(MODELS))}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another")
    parts = split(read_state_dict(file, what), what)
    body = read_backbone(parts.backbone, backbone, what)
    layout = find_layout(model, parts, what)
    channels = ARCHITECTURES[body.name].channels[-1 - body.crop_last]
    head = read_head(layout, parts, channels, what)
    _require_gem_of_maps(head, body, model, what)
    size = image_size or _size_of(head, body, what) or layout.image_size
    network = _build(head, body, size, what)
    fill_head(network, layout, head, parts.head_name, what)
    # The weights are in the folder. A training that begins with its recipe must neither download
    # any nor look for a file that is gone.
    network.recipe = network.recipe.with_settings({"backbone.weights": "none"})
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    origin = {"model": model, "file": file.name, "sha256": digest}
    try:
        save_checkpoint(out, network, {"imported": origin})
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another") from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    ignored = parts.ignored + body.ignored
    return Imported(out, model, network.recipe, network.dimension, parameters, ignored)


def _require_gem_of_maps(head: Head, body: BackboneKeys, model: str, what: str) -> None:
    # The benchmark normalises (B, C, H, W) and tokens (B, N, C) along the second dimension alike.
    if head.settings["name"] == "cosplace" and body.name.startswith("cct"):
        raise UserError(
            f"{what}: found {model} on {body.name}, which normalises each channel over all "
            "locations, expected each location over its channels; give a model of --l2 after_pool "
            "or none, or of netvlad"
        )


def _size_of(head: Head, body: BackboneKeys, what: str) -> tuple[int, int] | None:
    """Return the image size that head or backbone are published for, or None if any may be."""
    if head.locations is None:
        return body.image_size
    side = math.isqrt(head.locations)
    if side * side != head.locations:
        raise UserError(
            f"{what}: its weights are for maps of {head.locations} locations, which are no square, "
            "and leave the image size open; give --image-size HEIGHTxWIDTH"
        )
    stride = ARCHITECTURES[body.name].strides[-1 - body.crop_last]
    return side * stride, side * stride


def _build(head: Head, body: BackboneKeys, size: str | tuple[int, int], what: str) -> Network:
    """Return the network with the backbone's weights loaded."""
    backbone = {"name": body.name, "crop_last": body.crop_last}
    if head.settings["name"] == "boq" and body.name.startswith("dinov2"):
        backbone["final_norm"] = False
    with tempfile.TemporaryDirectory() as folder:
        # From a file they go the way of any weights: fitted to the crop and to the image size.
        file = Path(folder) / "backbone.safetensors"
        save_file({key: tensor.clone() for key, tensor in body.state.items()}, file)
        settings = {
            "image_size": size,
            "backbone": {**backbone, "weights": str(file)},
            "aggregator": head.settings,
            "projection": {"dim": head.projection_dim} if head.projection_dim else None,
            "precision": "float32",
        }
        try:
            return Network(Recipe.from_dict(settings))
        except UserError as error:
            raise UserError(f"{what}: {_of_the_official_file(error, file, body.name)}") from None


def _of_the_official_file(error: UserError, file: Path, backbone: str) -> str:
    """Say what is wrong with weights without the ``file`` that only existed on their way."""
    text = str(error)
    if str(file) not in text:
        return text
    reason, _, _remedy = text.replace(f"backbone.weights={file}", backbone).rpartition("; ")
    return f"{reason}; {REMEDY}"
