"""Checkpoints: a folder with a model, its recipe and its metrics, written whole or not at all.

``model.safetensors`` and ``recipe.json`` are the model; ``metrics.json`` says how good it is and
holds the SHA-256 of the other files; ``ranks.npy`` has the rank of each validation query's first
positive; ``training_state.pt`` is only needed to go on training.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from vgray.errors import UserError
from vgray.models.devices import default_device, has_bfloat16
from vgray.models.network import Network
from vgray.recipe import Recipe

MODEL, RECIPE, METRICS = "model.safetensors", "recipe.json", "metrics.json"
TRAINING_STATE = "training_state.pt"
RANKS = "ranks.npy"
TEST_SETTINGS = ("image_size", "multi_scale", "precision")
"""What may be changed of a trained model's recipe, by its first name."""
TEMPORARY = ".tmp-"
"""In the name of every folder that is not complete."""


class DamagedCheckpointError(UserError):
    """A checkpoint that is missing, incomplete, or not what was written."""


def save_checkpoint(
    folder: str | Path,
    network: Network,
    metrics: Mapping[str, Any],
    training_state: Mapping[str, Any] | None = None,
    ranks: NDArray[np.integer] | None = None,
) -> Path:
    """Write a checkpoint folder; when this returns, it is complete and on disk.

    Args:
        folder: where; a checkpoint that is there already is replaced.
        network: the model and its recipe.
        metrics: plain JSON values, such as ``history``; ``sha256`` is added.
        training_state: tensors and plain values, for going on with the training.
        ranks: (Q,) of each validation query: the rank of its first positive, from 0; -1 for none.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    temporary = folder.with_name(f"{TEMPORARY}{folder.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        # safetensors knows no strides; the network is channels-last.
        tensors = {key: t.detach().cpu().contiguous() for key, t in network.state_dict().items()}
        files = {MODEL: save(tensors), RECIPE: network.recipe.to_json().encode()}
        if training_state is not None:
            buffer = io.BytesIO()
            torch.save(dict(training_state), buffer)
            files[TRAINING_STATE] = buffer.getvalue()
        if ranks is not None:
            buffer = io.BytesIO()
            np.save(buffer, ranks.astype(np.int32), allow_pickle=False)
            files[RANKS] = buffer.getvalue()
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        files[METRICS] = json.dumps({**metrics, "sha256": hashes}, indent=1).encode()
        for name, content in files.items():
            _write(temporary / name, content)
        _flush_names(temporary)
        _replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _replace_folder(temporary: Path, folder: Path) -> None:
    """Put ``temporary`` in the place of ``folder``, for good."""
    if folder.exists():
        old = folder.with_name(f"{TEMPORARY}old-{folder.name}-{os.getpid()}")
        folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(folder)
    _flush_names(folder.parent)


def read_metrics(checkpoint: str | Path, files: Sequence[str] = (MODEL, RECIPE)) -> dict[str, Any]:
    """Return what ``metrics.json`` says, after comparing ``files`` with their hashes.

    Raises:
        DamagedCheckpointError: one of them is missing, cut short or changed.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        raise DamagedCheckpointError(
            f"checkpoint {folder}: no such folder; expected one with {MODEL}, {RECIPE} and "
            f"{METRICS}, as training writes it"
        )
    try:
        metrics = json.loads((folder / METRICS).read_text("utf-8"))
        expected = {name: metrics["sha256"].get(name) for name in files}
    except FileNotFoundError:
        raise DamagedCheckpointError(
            f"checkpoint {folder}: {METRICS} is missing; use another checkpoint"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DamagedCheckpointError(
            f"checkpoint {folder}: {METRICS} is damaged; use another checkpoint"
        ) from None
    for name in files:
        file = folder / name
        if not file.is_file():
            what = "is missing"
        elif _sha256(file) != expected[name]:
            what = "is damaged (its SHA-256 is not the one that was recorded)"
        else:
            continue
        raise DamagedCheckpointError(f"checkpoint {folder}: {name} {what}; use another checkpoint")
    return dict(metrics)


def model_hash(checkpoint: str | Path, recipe: Recipe | None = None) -> str:
    """Return 64 hexadecimal digits of a model: of its weights, and of how it is to be used.

    Args:
        checkpoint: the folder.
        recipe: the checkpoint's own with changes for testing; its own unless given.

    Raises:
        UserError: the checkpoint is missing or damaged.
    """
    folder = Path(checkpoint)
    weights = read_metrics(folder)["sha256"][MODEL]
    used = recipe or Recipe.from_file(folder / RECIPE)
    return hashlib.sha256(f"{weights}\n{used.to_json()}".encode()).hexdigest()


def test_recipe(checkpoint: str | Path, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe by which a checkpoint's model is used, once its files are compared.

    Raises:
        UserError: the checkpoint is missing or damaged, or it must not be used so.
    """
    read_metrics(checkpoint)
    return changed_recipe(checkpoint, settings)


def changed_recipe(checkpoint: str | Path, settings: Mapping[str, Any] | None = None) -> Recipe:
    """Return a checkpoint's recipe with ``settings``, without reading its weights.

    Args:
        checkpoint: the folder.
        settings: by dotted path, of what is used after training: ``image_size``, ``precision``, and
            ``multi_scale`` or what is in it.

    Raises:
        UserError: the recipe is missing or damaged, or the model must not be used so.
    """
    folder = Path(checkpoint)
    recipe = Recipe.from_file(folder / RECIPE)
    for path, value in (settings or {}).items():
        if path.partition(".")[0] not in TEST_SETTINGS:
            raise UserError(
                f"{path}: decides what is trained, and {folder} is trained already; only "
                f"{', '.join(TEST_SETTINGS)} can be changed"
            )
        if path == "precision" and value == "auto":
            raise UserError("precision: found 'auto'; a trained model needs float32 or bfloat16")
    return recipe.with_settings(settings) if settings else recipe


def load_model(
    checkpoint: str | Path,
    device: torch.device | str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
) -> Network:
    """Load a trained model, in evaluation mode, from a checkpoint folder.

    Nothing is downloaded and no pickle is read. On a device without bfloat16 arithmetic, a model
    that was trained in bfloat16 runs in float32.

    Args:
        checkpoint: the folder.
        device: where the model goes; the first GPU, else the CPU, unless given.
        settings: how it is used instead of as it was trained, as for :func:`test_recipe`. At
            another ``image_size``, what is made for one size is interpolated.

    Raises:
        UserError: the checkpoint is missing or damaged, or its model cannot be used so.
    """
    folder = Path(checkpoint)
    used = test_recipe(folder, settings)
    network = Network(Recipe.from_file(folder / RECIPE), load_weights=False)
    fill_from_checkpoint(network, folder)
    network.use(used)
    where = torch.device(device) if device is not None else default_device()
    network.half_precision = network.half_precision and has_bfloat16(where)
    return network.to(where).eval()


def fill_from_checkpoint(network: Network, checkpoint: str | Path) -> None:
    """Copy a checkpoint's weights into ``network``.

    Raises:
        DamagedCheckpointError: they do not belong to the checkpoint's recipe.
    """
    try:
        network.load_state_dict(load_file(Path(checkpoint) / MODEL))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedCheckpointError(
            f"checkpoint {checkpoint}: {MODEL} does not fit {RECIPE} ({reason})"
        ) from None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_names(folder: Path) -> None:
    """Make sure that the names in a folder survive a power cut, as far as the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
