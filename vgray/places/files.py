"""The image files below a folder, on this machine or behind a ``pyarrow.fs`` address."""

import heapq
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vgray.errors import UserError

# Formats that can only be refused later (animations, TIFF) are listed too: a refused image is
# counted and named, one that was never looked at would be missing without a word.
IMAGE_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".heic", ".heif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
)


@dataclass(frozen=True)
class Files:
    """The images below ``root``, sorted by their path relative to it (``/`` between folders)."""

    root: str
    relative: list[str]
    size_bytes: NDArray[np.int64]
    modified_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.relative)

    def take(self, rows: list[int]) -> "Files":
        """Return the files of these rows."""
        return Files(
            self.root,
            [self.relative[row] for row in rows],
            self.size_bytes[rows],
            self.modified_ns[rows],
        )


def is_remote(path: str) -> bool:
    """Say whether a path is an address such as ``s3://bucket/folder``."""
    return "://" in path


def local_or_uri(uri: str | Path) -> str:
    """Return an absolute local path (of a path or a ``file://`` address) or the address itself."""
    text = os.fspath(uri)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if is_remote(text):
        return text.rstrip("/")
    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 (keeps symlinks)


def join(root: str, relative: str) -> str:
    """Return the path that opens the file ``relative`` below ``root``."""
    if is_remote(relative) or relative.startswith("/"):
        return relative
    return f"{root.rstrip('/')}/{relative}"


def scan(root: str) -> Files:
    """List the images below a folder. Hidden files and folders are left out.

    Links are followed (datasets are often made of them), each folder once. Raises UserError for
    a folder that is missing, cannot be read, or is not a folder.
    """
    entries = sorted(_scan_remote(root) if is_remote(root) else _scan_local(root))
    return Files(
        root,
        [relative for relative, _, _ in entries],
        np.array([size for _, size, _ in entries], np.int64),
        np.array([modified for _, _, modified in entries], np.int64),
    )


def stat(root: str, relative: list[str]) -> Files:
    """Return these files with their sizes and times; a file that is missing has size -1."""
    sizes = np.full(len(relative), -1, np.int64)
    times = np.zeros(len(relative), np.int64)
    for row, name in enumerate(relative):
        path = join(root, name)
        if is_remote(path):
            filesystem, inner = _filesystem(path)
            info = filesystem.get_file_info(inner)
            if info.is_file:
                sizes[row], times[row] = info.size, info.mtime_ns or 0
            continue
        try:
            found = os.stat(path)  # noqa: PTH116 (half a million files)
        except OSError:
            continue
        sizes[row], times[row] = found.st_size, found.st_mtime_ns
    return Files(root, relative, sizes, times)


def open_binary(path: str) -> BinaryIO:
    """Open a local file or an address for reading; raises OSError."""
    if is_remote(path):
        filesystem, inner = _filesystem(path)
        with filesystem.open_input_file(inner) as stream:
            return io.BytesIO(stream.read())
    return Path(path).open("rb")


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS  # noqa: PTH122


def _scan_local(root: str) -> Iterator[tuple[str, int, int]]:
    if not Path(root).exists():
        raise UserError(f"no such folder: {root}; give the folder that holds the images")
    if not Path(root).is_dir():
        raise UserError(f"not a folder: {root}; give the folder that holds the images")
    # A folder with several names gets the one with the fewest links, then the first by name.
    pending: list[tuple[int, str, str]] = [(0, "", root)]
    seen: set[tuple[int, int]] = set()
    while pending:
        links, prefix, folder = heapq.heappop(pending)
        try:
            found = os.stat(folder)  # noqa: PTH116 (half a million files)
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
        for entry in entries:
            if _is_folder(entry):
                if not entry.name.startswith(".") and entry.name != "__MACOSX":
                    further = (links + entry.is_symlink(), f"{prefix}{entry.name}/", entry.path)
                    heapq.heappush(pending, further)
            elif _is_image(entry.name):
                try:
                    found = entry.stat()
                    yield prefix + entry.name, found.st_size, found.st_mtime_ns
                except OSError:  # a link to nothing: listed, and refused when it is read
                    yield prefix + entry.name, -1, 0


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _filesystem(uri: str):  # type: ignore[no-untyped-def]  # pyarrow has no types
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(uri)
    except (ValueError, OSError, NotImplementedError) as error:
        raise UserError(f"cannot open {uri}: {str(error).splitlines()[0]}") from error


def _scan_remote(root: str) -> Iterator[tuple[str, int, int]]:
    from pyarrow.fs import FileSelector

    filesystem, base = _filesystem(root)
    try:
        infos = filesystem.get_file_info(FileSelector(base, recursive=True))
    except OSError as error:
        raise UserError(f"cannot read {root}: {str(error).splitlines()[0]}") from error
    for info in infos:
        relative = info.path[len(base) :].lstrip("/")
        hidden = any(part.startswith(".") for part in relative.split("/"))
        if info.is_file and not hidden and _is_image(info.base_name):
            yield relative, info.size, info.mtime_ns or 0
