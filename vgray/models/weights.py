"""Weights for a backbone: downloaded, from a file, or none."""

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vgray.errors import UserError
from vgray.models.state_dicts import KINDS, read_state_dict, strip_prefixes

logger = logging.getLogger(__name__)

Convert: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Turns a published state dict into one that fits: positions for another image size."""


def load_backbone_weights(
    backbone: nn.Module,
    network: nn.Module,
    weights: str,
    url: str,
    convert: Convert | None = None,
) -> dict[str, Tensor]:
    """Fill a backbone that is on the meta device, so that nothing was drawn in vain.

    What the state dict has for other parts of the network (``fc``, blocks that are cropped) is
    ignored.

    Args:
        backbone: made of parts of ``network``; its parameters are replaced, not written to.
        network: the network as published, whose state-dict keys are the file's.
        weights: ``pretrained``, or a .safetensors, .pth, .pt or .ckpt file.
        url: where the published weights are.
        convert: applied to what was read, once its keys are the network's.

    Returns:
        All that was read, with the network's keys; not to be written to.

    Raises:
        UserError: the weights cannot be had, or keys or shapes that matter do not fit.
    """
    what = f"backbone.weights={weights}"
    state = _download(url, what) if weights == "pretrained" else read_weights_file(weights)
    ours = {id(t): name for name, t in backbone.state_dict(keep_vars=True).items()}
    tensors = network.state_dict(keep_vars=True)
    needed = {name: tensor for name, tensor in tensors.items() if id(tensor) in ours}
    if len(needed) != len(ours):
        raise ValueError(f"{len(ours) - len(needed)} tensors of the backbone are not the network's")
    state = strip_prefixes(state, needed)
    if convert is not None:
        require_dense({name: state[name] for name in needed if name in state}, what)
        state = convert(state)
    _require_fit(state, tensors, needed, what)
    logger.debug("%s: ignored %s", what, some([n for n in state if n not in needed]))
    # A copy, because training must not write into the state that is kept for the next trial.
    fill = {ours[id(like)]: _copy(state.get(name), like) for name, like in needed.items()}
    backbone.load_state_dict(fill, assign=True)
    return state


def _require_fit(
    state: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    needed: Mapping[str, Tensor],
    what: str,
) -> None:
    # Files older than torch 0.4 lack this counter, which nothing here reads.
    missing = [n for n in needed if n not in state and not n.endswith("num_batches_tracked")]
    parts = {name.partition(".")[0] for name in needed}
    unexpected = [n for n in state if n not in tensors and n.partition(".")[0] in parts]
    if missing or unexpected:
        raise UserError(
            f"{what}: does not fit the backbone; missing {some(missing)}, "
            f"unexpected {some(unexpected)}, found {some(state)}; give a state dict with the "
            "published network's keys, or crop the blocks that it lacks (backbone.crop_last)"
        )
    for name, like in needed.items():
        if name in state and state[name].shape != like.shape:
            raise UserError(
                f"{what}: {name} has shape {tuple(state[name].shape)}, "
                f"expected {tuple(like.shape)}; give weights of this backbone"
            )
    require_finite({name: state[name] for name in needed if name in state}, what)


def require_dense(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors that are not dense ones of real numbers: sparse, quantized or complex.

    Raises:
        UserError: names the first such tensor, after ``what``.
    """
    for name, tensor in state.items():
        if tensor.is_complex() or tensor.is_quantized:
            found = str(tensor.dtype)
        elif tensor.is_meta:
            found = "a meta tensor, which has no values"
        elif tensor.layout != torch.strided:
            found = str(tensor.layout)
        else:
            continue
        raise UserError(
            f"{what}: {name} is {found}, expected a dense tensor of real numbers; "
            "give weights that are saved so"
        )


def require_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights that are not dense tensors of finite real numbers.

    Raises:
        UserError: names the first tensor that is none, after ``what``.
    """
    require_dense(state, what)
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{what}: {name} holds values that are not finite numbers; "
                "give weights of a training that did not diverge"
            )


def some(names: Iterable[str]) -> str:
    """Return the first three names and the number of the others, for a message."""
    names = list(names)
    if not names:
        return "nothing"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _copy(value: Tensor | None, like: Tensor) -> Tensor:
    if value is None:
        return torch.zeros(like.shape, dtype=like.dtype)
    return value.to(like.dtype, copy=True)


@functools.lru_cache(maxsize=2)
def _download(url: str, what: str) -> dict[str, Tensor]:
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
            f"{what}: cannot be downloaded ({reason}); fetch {url} on a machine "
            "with a network and give the file: backbone.weights=/path/"
            f"{url.rpartition('/')[2]}, or backbone.weights=none for random weights"
        ) from None


def read_weights_file(path: str) -> dict[str, Tensor]:
    """Read the state dict of ``backbone.weights``, which stays in memory for the next trial.

    Raises:
        UserError: as :func:`vgray.models.state_dicts.read_state_dict`.
    """
    try:
        file = Path(path).expanduser()
        if not path:
            raise FileNotFoundError(0, "the name is empty")
        stat = file.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user who does not exist
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"backbone.weights={path}: no such file ({reason}); expected pretrained, none, "
            f"or the path of a {KINDS} file"
        ) from None
    # Time and size are part of the key, so that a file that was replaced is read again.
    return _read_file_version(str(file), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _read_file_version(path: str, _mtime_ns: int, _size: int) -> dict[str, Tensor]:
    return read_state_dict(path, f"backbone.weights={path}")
