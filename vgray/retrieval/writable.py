"""Whether a folder may be written into: ours, no one else writes, and the same numbers."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

from vgray.errors import UserError
from vgray.retrieval.descriptors import FILE, Description, read_description

LOCK = ".lock"


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
    """Return the description of what is there and what is to come.

    Args:
        folder: a folder of descriptors, or a new one.
        new: of what is to come; its parts may be others than those that are there.

    Raises:
        UserError: what is there is of another model or data, or otherwise made; or damaged.
    """
    if not (folder / FILE).exists():
        return new
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


def flush(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
