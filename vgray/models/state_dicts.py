"""State dicts from files, found inside what was saved around them. No pickle is ever run."""

import logging
import pickle
import warnings
import zipfile
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

KINDS = ".safetensors, .pth, .pt or .ckpt"
"""What files of weights are usually called; how one is read depends on its content alone."""

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LONGEST_HEADER = 100_000_000  # of safetensors, in bytes
# How files begin that are taken for weights -> what they are, and what to do.
_OTHERS = {
    b"<!doctype": ("a web page", "the download failed, fetch the file again"),
    b"<html": ("a web page", "the download failed, fetch the file again"),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch what it stands for (git lfs pull)"),
    b"\x1f\x8b": ("a gzip archive", "unpack it, and give the file inside"),
    b"\xff\xd8\xff": ("a JPEG image", "give the file of the weights"),
    b"\x89png": ("a PNG image", "give the file of the weights"),
}

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
        path: a file of torch.save or safetensors, whatever its suffix.
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
    try:
        with file.open("rb") as stream:
            start = stream.read(64)
    except FileNotFoundError:
        raise UserError(f"{what}: no such file; give a {KINDS} file") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{what}: cannot be opened ({reason}); give a {KINDS} file") from None
    # It is asked first: a header of 128 bytes begins as a pickle does.
    is_safetensors = _is_safetensors(start)
    if not is_safetensors and not start.startswith((_ZIP, _PICKLE)):
        raise UserError(f"{what}: {_other_content(start)}")
    try:
        if is_safetensors:
            return load_file(file)
        with (
            file.open("rb") as stream,  # given the path, torch would go by the suffix
            warnings.catch_warnings(action="ignore"),  # about files that are refused below
            torch.serialization.safe_globals(_PLAIN),
        ):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{what}: holds more than tensors and plain values, or is damaged; it was not opened, "
            "because a pickle can run any code; save its state dict as .safetensors instead"
        ) from None
    except Exception as error:  # a cut file makes its readers stumble in any way
        _refuse_other_zip(file, what)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{what}: cannot be read ({reason}); fetch the file again") from None


def _is_safetensors(start: bytes) -> bool:
    length = int.from_bytes(start[:8], "little")  # of the header, a JSON object
    return start[8:9] == b"{" and length <= _LONGEST_HEADER


def _refuse_other_zip(file: Path, what: str) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return
    if "constants.pkl" in names:
        raise UserError(
            f"{what}: found a program (TorchScript), expected a state dict; load it with "
            "torch.jit.load and save its state_dict()"
        )
    if "data.pkl" not in names:
        raise UserError(
            f"{what}: found a zip archive of other files, expected one of torch.save; unpack it, "
            "and give the file inside"
        )


def _other_content(start: bytes) -> str:
    text = start.lstrip().lower()
    for beginning, (found, remedy) in _OTHERS.items():
        if text.startswith(beginning):
            return f"found {found}, expected a {KINDS} file; {remedy}"
    if not start:
        return f"found an empty file, expected a {KINDS} file; fetch it again"
    shown = ascii(start[:16])[2:-1]
    return (
        f"found a file that begins with {shown}, which neither torch.save nor safetensors writes; "
        f"fetch the file again, or give a {KINDS} file"
    )


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
