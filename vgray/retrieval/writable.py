"""Whether a folder may be written into: ours, no one else writes, the same numbers, and room."""

import errno
import fcntl
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vgray.errors import UserError
from vgray.retrieval.description import (
    FILE,
    NUM_CROPS,
    Description,
    is_query_part,
    read_description,
)
from vgray.retrieval.shards import Shard

LOCK = ".lock"
_ROW_BYTES = 400  # of an image's other columns, uncompressed
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_ours(folder: Path) -> None:
    """Refuse a folder of other things, among which shards would get lost.

    Raises:
        UserError: it is one, or a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give --out a folder, a new one for new descriptors")
    if folder.is_dir() and not (folder / FILE).exists():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if others:
            raise UserError(
                f"{folder}: has {min(others)} in it but no descriptors; give --out an empty or new "
                "folder"
            )


def lock(folder: Path) -> int:
    """Return the open lock, which the system lets go when the process ends, however it ends.

    Raises:
        UserError: another process has it.
        OSError: the folder cannot be written.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"{folder}: another extraction is writing into it; wait for it, or give another --out"
        ) from None
    except OSError:  # a network folder without locks
        pass
    return handle


def joined(folder: Path, new: Description) -> Description:
    """Return the description of what is there and what is to come, made by whom made it so far.

    Args:
        folder: a folder of descriptors, or a new one.
        new: of what is to come; its parts may be others than those that are there.

    Raises:
        UserError: what is there is of another model or data, or otherwise made; or damaged.
    """
    if not (folder / FILE).exists():
        return replace(new, extractions=())
    old = read_description(folder)
    fixed = {
        **{name: (getattr(old, name), value) for name, value in new.identity.items()},
        "shard_rows": (old.shard_rows, new.shard_rows),
        "labelled": (old.labelled, new.labelled),
        **{
            f"number of images in {part}": (old.parts[part], number)
            for part, number in new.parts.items()
            if part in old.parts
        },
    }
    different = [name for name, (had, has) in fixed.items() if had != has]
    if different:
        had, has = (str(value)[:12] for value in fixed[different[0]])
        raise UserError(
            f"{folder}: holds other descriptors: {different[0]} was {had}, now {has}; choose "
            "another --out"
        )
    return replace(old, parts=old.parts | new.parts)


def require_space(folder: Path, description: Description, missing: Sequence[Shard]) -> None:
    """Refuse to begin where the disk is too full.

    Raises:
        UserError: there is no room for these shards.
    """
    if _needed_bytes(description, missing) > shutil.disk_usage(folder).free:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise unwritable(folder, full, description, missing)


def unwritable(
    folder: Path, error: OSError, description: Description, missing: Sequence[Shard]
) -> UserError:
    """Return what to say of an error; ``missing`` are the shards that there must be room for."""
    reason = (error.strerror or str(error)).splitlines()[0].lower()
    if error.errno not in _DISK_FULL:
        return UserError(
            f"{folder}: cannot be written ({reason}); see to that and give the same command "
            "again, finished shards are kept"
        )
    free = shutil.disk_usage(folder).free / 1e9
    return UserError(
        f"{folder}: no room for descriptors ({reason}): "
        f"{_needed_bytes(description, missing) / 1e9:.3g} GB are needed and {free:.3g} GB free; "
        "make room and give the same command again, finished shards are kept"
    )


def _needed_bytes(description: Description, missing: Sequence[Shard]) -> int:
    crops = NUM_CROPS if description.query_method == "five_crops" else 1
    row_bytes = description.dimension * np.dtype(description.dtype).itemsize + _ROW_BYTES
    rows = sum(
        (shard.stop - shard.start) * (crops if is_query_part(shard.part) else 1)
        for shard in missing
    )
    return rows * row_bytes


def flush(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
