"""State dicts from files, found inside what was saved around them. No pickle is ever run."""

import logging
import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors.torch import load_file
from torch import Tensor

from vgray.errors import UserError

logger = logging.getLogger(__name__)

SAFETENSORS = ".safetensors"
PICKLED = (".pth", ".pt", ".ckpt")
KINDS = f"{SAFETENSORS}, {', '.join(PICKLED[:-1])} or {PICKLED[-1]}"

# Where trainings put the state dict: Lightning, deep-visual-geo-localization-benchmark, DINOv2, ...
_NESTS = ("state_dict", "model_state_dict", "model", "teacher")
# Recalls are saved as numpy's numbers and arrays. Making one runs no code of the file.
_PLAIN: list[Any] = [
    *((multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(
        (multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct")
        for core in ("core", "_core")
    ),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64")),
]


def read_state_dict(path: str | Path, what: str) -> dict[str, Tensor]:
    """Read a state dict (name -> tensor) without running anything that the file holds.

    It may lie in ``state_dict``, ``model_state_dict``, ``model`` or ``teacher``, one in another,
    beside plain values, as in checkpoints of Lightning or deep-visual-geo-localization-benchmark.

    Args:
        path: a .safetensors, .pth, .pt or .ckpt file.
        what: what an error message begins with, such as ``backbone.weights=FILE``.

    Raises:
        UserError: the file is missing, damaged or of another kind, holds more than tensors and
            plain values, or no state dict.
    """
    values = _read(Path(path), what)
    found = _find(values)
    if found is None:
        raise UserError(
            f"{what}: found no state dict (a dict of name -> tensor); save the network's "
            "state_dict() itself"
        )
    return found


def strip_prefixes(state: dict[str, Tensor], needed: Collection[str]) -> dict[str, Tensor]:
    """Return ``state`` without what wrappers put before its keys, where more keys fit so.

    ``module.`` (DataParallel), ``_orig_mod.`` (torch.compile), ``backbone.``, ``encoder.`` and any
    other prefix, several at once too. Keys without the prefix belong to other parts; they are left
    out.

    Args:
        state: name -> tensor.
        needed: the names that are looked for.
    """
    if not needed or set(needed) <= state.keys():
        return state
    state = {key.replace("_orig_mod.", ""): tensor for key, tensor in state.items()}
    first = next(iter(needed))
    prefixes = ["", *(key.removesuffix(first) for key in state if key.endswith("." + first))]
    prefix = max(prefixes, key=lambda p: sum(p + name in state for name in needed))
    if not prefix:
        return state
    logger.info("the keys of the state dict begin with %s, left out", prefix)
    return {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}


def _read(file: Path, what: str) -> Any:
    kind = file.suffix.lower()
    if kind not in (SAFETENSORS, *PICKLED):
        raise UserError(f"{what}: found a file of kind '{kind}', expected {KINDS}")
    try:
        if kind == SAFETENSORS:
            return load_file(file)
        with (
            warnings.catch_warnings(action="ignore"),  # about files that are refused below
            torch.serialization.safe_globals(_PLAIN),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{what}: no such file; give a {KINDS} file") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{what}: holds more than tensors and plain values, or is damaged; it was not opened, "
            "because a pickle can run any code; save its state dict as .safetensors instead"
        ) from None
    except Exception as error:  # a cut file makes its readers stumble in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{what}: cannot be read ({reason}); fetch the file again") from None


def _find(values: Any) -> dict[str, Tensor] | None:
    if not isinstance(values, Mapping):
        return None
    for nest in _NESTS:
        found = _find(values.get(nest))
        if found is not None:
            return found
    if values and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in values.items()):
        return dict(values)
    return None
