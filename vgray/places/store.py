"""The decoded-image store: each image is decoded and resized once on a machine, for every trial.

A store is a folder of the cache with ``pixels.npy`` (N, H, W, 3) uint8, ``readable.npy`` (N,) and
``store.json``. Its name is a hash of the paths, sizes and times of the images and of the wanted
size, so a changed dataset is another store and nothing is ever updated in place.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import platformdirs
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.images import DECODER_VERSION, UnreadableImage, read_image
from vgray.places.manifest import left_out_images

CACHE_VARIABLE = "VGRAY_CACHE"
_CHUNK = 32
_CANNOT_WRITE = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EEXIST,
        # A file system without locks, as some network folders are.
        errno.ENOLCK,
        errno.EOPNOTSUPP,
        errno.EINVAL,
    )
)
Mapped: TypeAlias = np.memmap[tuple[int, ...], np.dtype[np.uint8]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageStore:
    """The pixels of a manifest's images, in the manifest's order.

    ``pixels`` (N, H, W, 3) uint8 is a read-only view of the file; rows that are not ``readable``
    (N,) bool are zeros. ``skipped`` lists (path, reason) of those.
    """

    folder: Path
    pixels: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    skipped: list[tuple[str, str]]


def cache_folder() -> Path:
    """Return the folder of everything vgray can make again: ``VGRAY_CACHE`` or the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("vgray")


def usable_cpus() -> int:
    """Return how many CPUs this process may use; fewer than there are in most containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_store(
    table: pa.Table,
    size_px: tuple[int, int],
    *,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageStore:
    """Return the decoded images of a manifest at ``size_px`` (height, width), built on first use.

    Processes that open the same store at the same time wait for the one that builds it. What a
    killed build left behind is removed by the next. ``workers`` threads decode (one per CPU
    unless told) and ``progress(done, total)`` is called now and then while building. Raises
    UserError where the disk is too small, the cache folder cannot be written or the system cannot
    read an image now; an image that is itself unreadable raises nothing, it is listed in
    ``skipped``.
    """
    if table.num_rows == 0:
        raise ValueError("a store needs at least one image")
    height, width = size_px
    if height < 1 or width < 1:
        raise ValueError(f"size_px is (height, width) of at least 1: {size_px}")
    base = (Path(cache_dir) if cache_dir is not None else cache_folder()) / "images"
    folder = base / _key(table, size_px)
    shape = (table.num_rows, height, width, 3)
    store = _open(folder, shape)
    if store is not None:
        return store
    try:
        base.mkdir(parents=True, exist_ok=True)
        with _locked(base / f"{folder.name}.lock"):
            store = _open(folder, shape)
            if store is None:
                for leftover in base.glob(f"{folder.name}*"):
                    if leftover.is_dir():
                        shutil.rmtree(leftover)
                _build(table["path"].to_pylist(), shape, folder, workers, progress)
                store = _open(folder, shape)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(shape, base) from error
        if error.errno in _CANNOT_WRITE:
            raise UserError(
                f"cannot write the cache folder {base}: {error.strerror}; "
                f"set {CACHE_VARIABLE} to a folder that can be written"
            ) from error
        raise
    if store is None:
        raise RuntimeError(f"the store {folder} was built but cannot be opened")
    return store


def skipped_images(table: pa.Table, store: ImageStore) -> list[tuple[str, str]]:
    """Return (path, reason) of the images that are not used: unreadable, or left out before."""
    return store.skipped + left_out_images(table)


def _key(table: pa.Table, size_px: tuple[int, int]) -> str:
    """Return the store's name: 32 hexadecimal digits."""
    digest = hashlib.sha256(f"store {DECODER_VERSION} {size_px[0]}x{size_px[1]}\n".encode())
    digest.update("\n".join(table["path"].to_pylist()).encode())
    for name in ("size_bytes", "modified_ns"):
        digest.update(np.asarray(table[name].to_numpy(), "<i8").tobytes())
    return digest.hexdigest()[:32]


def _open(folder: Path, shape: tuple[int, ...]) -> ImageStore | None:
    """Open a finished store; None if there is none, or if its files are not what it says."""
    try:
        facts = json.loads((folder / "store.json").read_text())
        skipped = [(str(path), str(why)) for path, why in facts["skipped"]]
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        readable = np.load(folder / "readable.npy")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, EOFError):  # damaged by something else: built again
        return None
    if pixels.shape != shape or readable.shape != shape[:1]:
        return None
    return ImageStore(folder, pixels, readable, skipped)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system releases it when the process dies, however it dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("waiting for another process that decodes the same images")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(
    paths: list[str],
    shape: tuple[int, ...],
    folder: Path,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Decode all images into a folder next to the final one, and move it there when complete."""
    needed = int(np.prod(shape, dtype=np.int64))
    if shutil.disk_usage(folder.parent).free < needed * 1.01:
        raise _disk_full(shape, folder.parent)
    building = folder.with_name(f"{folder.name}.building")
    building.mkdir()
    try:
        started = time.monotonic()
        pixels = _reserve(building / "pixels.npy", shape)
        readable, skipped = _decode_all(paths, pixels, workers, progress)
        pixels.flush()
        np.save(building / "readable.npy", readable)
        facts = {"paths": len(paths), "size_px": list(shape[1:3]), "skipped": skipped}
        (building / "store.json").write_text(json.dumps(facts))
        for file in (*building.iterdir(), building):
            _sync(file)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    seconds = time.monotonic() - started
    _log.info(
        "decoded %d images in %.1f s (%.0f images/s), %d skipped",
        len(paths),
        seconds,
        len(paths) / seconds,
        len(skipped),
    )


def _reserve(
    path: Path, shape: tuple[int, ...]
) -> "np.memmap[tuple[int, ...], np.dtype[np.uint8]]":
    """Create the array's file with its disk space taken, and map it.

    Writing to a mapped file on a full disk would kill the process without a message.
    """
    pixels: Mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS: there the check of the free space must do
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a network folder
                    raise
    return pixels


def _decode_all(
    paths: list[str],
    pixels: NDArray[np.uint8],
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.bool_], list[tuple[str, str]]]:
    """Decode every path into its row of ``pixels`` (N, H, W, 3); return readable and skipped."""
    readable = np.zeros(len(paths), bool)
    reasons: dict[int, str] = {}
    size_px = (pixels.shape[1], pixels.shape[2])

    def decode(start: int) -> int:
        rows = range(start, min(start + _CHUNK, len(paths)))
        for row in rows:
            try:
                pixels[row] = read_image(paths[row], size_px)
                readable[row] = True
            except UnreadableImage as error:
                reasons[row] = str(error)
        return len(rows)

    done = 0
    with ThreadPoolExecutor(workers or usable_cpus()) as pool:
        try:
            jobs = [pool.submit(decode, start) for start in range(0, len(paths), _CHUNK)]
            for job in as_completed(jobs):
                done += job.result()
                if progress is not None:
                    progress(done, len(paths))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return readable, [(paths[row], reasons[row]) for row in sorted(reasons)]


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: after a power cut there is a whole store or none."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_full(shape: tuple[int, ...], base: Path) -> UserError:
    needed, free = int(np.prod(shape, dtype=np.int64)) / 1e9, shutil.disk_usage(base).free / 1e9
    return UserError(
        f"the disk of {base} is too full for the decoded images: {needed:.2f} GB needed, "
        f"{free:.2f} GB free; set {CACHE_VARIABLE} to a folder on a larger disk"
    )
