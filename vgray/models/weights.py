"""Weights for a backbone: downloaded, from a file, or none. No pickle is ever run."""

import contextlib
import functools
import io
import logging
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vgray.errors import UserError
from vgray.recipe import Recipe

logger = logging.getLogger(__name__)


class Published(NamedTuple):
    """Where published weights are."""

    url: str
    """Its file name ends with the first hexadecimal digits of the file's SHA-256."""


def ensure_weights(recipe: Recipe) -> None:
    """Make sure that the recipe's backbone weights can be read and fit: download them if need be.

    Called once before a sweep, so that its workers find the file on disk and a bad file is refused
    before any of them starts.

    Raises:
        UserError: the download failed, the file is missing or unreadable, or it does not fit.
    """
    from vgray.models.backbones import BACKBONES

    BACKBONES[recipe.backbone.name](**recipe.backbone.arguments())


def load_backbone_weights(
    network: nn.Module,
    kept: Iterable[nn.Module],
    weights: str,
    published: dict[str, Published],
) -> None:
    """Fill a complete published network, of which only ``kept`` will be used, with ``weights``.

    ``network`` may be on the meta device: its parameters are replaced, not written to. What is in
    the file for other parts (``fc``, blocks that are cropped) is ignored.

    Args:
        network: the network as published, whose state-dict keys are the file's.
        kept: the parts of it that must be filled.
        weights: a key of ``published``, or a .safetensors, .pth or .pt file.
        published: name -> where it is.

    Raises:
        UserError: the weights cannot be had, or keys or shapes that matter do not fit.
    """
    if weights in published:
        state = _download(published[weights].url, weights)
    else:
        state = _read_file(weights)
    tensors = dict(chain(network.named_parameters(), network.named_buffers()))
    ours = {id(t) for part in kept for t in chain(part.parameters(), part.buffers())}
    needed = {name: tensor for name, tensor in tensors.items() if id(tensor) in ours}
    state = _without_prefix(state, needed, weights)
    # Files older than torch 0.4 lack this counter, which nothing here reads.
    missing = _missing(needed, state)
    parts = {name.partition(".")[0] for name in needed}
    unexpected = [n for n in state if n not in tensors and n.partition(".")[0] in parts]
    if missing or unexpected:
        raise UserError(
            f"backbone.weights={weights}: does not fit the backbone; "
            f"missing {_some(missing)}, unexpected {_some(unexpected)}, "
            f"found {_some(list(state))}; "
            "give a state dict with torchvision's keys, or crop the blocks that it lacks "
            "(backbone.crop_last)"
        )
    for name, tensor in needed.items():
        if name in state and state[name].shape != tensor.shape:
            raise UserError(
                f"backbone.weights={weights}: {name} has shape {tuple(state[name].shape)}, "
                f"expected {tuple(tensor.shape)}; give weights of this backbone"
            )
        if name in state and not state[name].isfinite().all():
            raise UserError(
                f"backbone.weights={weights}: {name} holds values that are not finite numbers; "
                "give weights of a training that did not diverge"
            )
    ignored = [n for n in state if n not in needed]
    logger.debug("backbone.weights=%s: ignored %s", weights, _some(ignored))
    # A copy, because training must not write into the state that is kept for the next trial.
    fill = {name: _as_parameter(state.get(name), tensor) for name, tensor in needed.items()}
    network.load_state_dict(fill, strict=False, assign=True)


def _missing(needed: Iterable[str], state: Mapping[str, Tensor]) -> list[str]:
    return [n for n in needed if n not in state and not n.endswith("num_batches_tracked")]


def _without_prefix(
    state: dict[str, Tensor], needed: Iterable[str], weights: str
) -> dict[str, Tensor]:
    """Return ``state`` without what wrappers put before the keys (``module.``), if then all fit."""
    if not _missing(needed, state):
        return state
    first = next(iter(needed))
    for key in state:
        prefix = key.removesuffix(first)
        inner = {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
        if prefix != key and prefix and not _missing(needed, inner):
            logger.info("backbone.weights=%s: the keys begin with %s, left out", weights, prefix)
            return inner
    return state


def _as_parameter(value: Tensor | None, like: Tensor) -> Tensor:
    if value is None:
        return torch.zeros(like.shape, dtype=like.dtype)
    return value.to(like.dtype, copy=True)


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


@functools.lru_cache(maxsize=2)
def _download(url: str, name: str) -> dict[str, Tensor]:
    """Return the state dict at ``url``, kept in torch's cache folder on disk and here in memory."""
    logger.info("downloading %s", url)
    try:
        # It writes to stderr, where a job says in one line what went wrong.
        with contextlib.redirect_stderr(io.StringIO()):
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except Exception as error:  # no network, no disk, a cut file: each has the same remedy
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"backbone.weights={name}: cannot be downloaded ({reason}); fetch {url} on a machine "
            "with a network and give the file: backbone.weights=/path/"
            f"{url.rpartition('/')[2]}, or backbone.weights=none for random weights"
        ) from None


def _read_file(path: str) -> dict[str, Tensor]:
    try:
        file = Path(path).expanduser()
        if not path:
            raise FileNotFoundError(0, "the name is empty")
        stat = file.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user who does not exist
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"backbone.weights={path}: no such file ({reason}); expected imagenet, none, "
            "or the path of a .safetensors, .pth or .pt file"
        ) from None
    # Time and size are part of the key, so that a file that was replaced is read again.
    return _read_file_version(str(file), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _read_file_version(path: str, _mtime_ns: int, _size: int) -> dict[str, Tensor]:
    kind = Path(path).suffix.lower()
    values: Any
    try:
        if kind == ".safetensors":
            values = load_file(path)
        elif kind in (".pth", ".pt"):
            with warnings.catch_warnings(action="ignore"):  # about files that are refused below
                values = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise UserError(
                f"backbone.weights={path}: found a file of kind '{kind}', expected .safetensors, "
                ".pth or .pt"
            )
    except pickle.UnpicklingError:
        raise UserError(
            f"backbone.weights={path}: holds more than tensors, or is damaged; it was not opened, "
            "because a pickle can run any code; save its state dict as .safetensors instead"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError, zipfile.BadZipFile) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(
            f"backbone.weights={path}: cannot be read ({reason}); fetch the file again"
        ) from None
    if not isinstance(values, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in values.items()
    ):
        raise UserError(
            f"backbone.weights={path}: found no state dict (a dict of name -> tensor); save the "
            "network's state_dict() itself"
        )
    return values
