"""Makes a demo city on disk, several processes at a time, whole or not at all.

The one that everything runs on by default is made once and kept in the cache folder.
"""

import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import vgray
from vgray.errors import UserError
from vgray.places.demo_city.settings import CitySettings
from vgray.places.demo_city.survey import SPLITS, count_photos, count_places
from vgray.places.store import CACHE_VARIABLE, _locked, cache_folder, usable_cpus

Progress = Callable[[int, int], None]
_PLACES_PER_TURN = 4  # neighbours share blocks and facades, which a worker keeps between turns


def default_city(progress: Progress | None = None) -> Path:
    """Return the folder of the default demo city, which is made on first use.

    It lies in vgray's cache folder. Processes that ask at the same time wait for the one that
    makes it. Raises UserError if the folder cannot be written.
    """
    settings = CitySettings()
    root = cache_folder().absolute() / "demo-city"
    folder = root / settings.key()
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{folder.name}.lock"):
            return folder if folder.is_dir() else generate(settings, folder, progress=progress)
    except OSError as error:
        raise UserError(
            f"the demo city's folder {root} cannot be written ({error.strerror}), expected a "
            f"writable one; name another with the environment variable {CACHE_VARIABLE}"
        ) from error


def generate(
    settings: CitySettings,
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a demo city in the VPR folder layout to ``folder`` and return its path.

    ``progress(done, total)`` is called with numbers of photographs. The files do not depend on
    ``workers`` (processes; one per CPU core unless told). Photographs go to a hidden folder beside
    ``folder`` and move there once all are on the disk; what a killed run left behind is removed.
    Raises UserError if ``folder`` is not empty or cannot be written.
    """
    out = Path(folder).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(
            f"{out} exists and is not an empty folder, expected a new or empty one for the demo "
            "city; choose another folder or remove this one"
        )
    unfinished = out.with_name(f".{out.name}.{uuid4().hex[:8]}.partial")
    city = unfinished / "city"
    try:
        _remove_stale(out)
        unfinished.mkdir(parents=True)
        with (unfinished / "lock").open("w") as lock:
            with suppress(OSError):  # a file system without locks: then nobody removes it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            for split in SPLITS:
                for role in ("database", "queries"):
                    (city / "images" / split / role).mkdir(parents=True)
            _render(settings, city / "images", workers or usable_cpus(), progress)
            # After a power cut there is a whole city or none. (An fsync of each small file costs
            # some 7 % of the whole run, this next to nothing.)
            os.sync()
            city.rename(out)
    except OSError as error:
        raise UserError(
            f"the demo city could not be written to {out} ({error.strerror or error}), expected "
            "a writable folder with enough space; free some or choose another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return out


def _remove_stale(out: Path) -> None:
    """Remove the unfinished folders of killed runs; a run that is alive holds a lock in its own."""
    pattern = f".{glob.escape(out.name)}.{'?' * 8}.partial"
    for left_behind in out.parent.glob(pattern):
        with suppress(OSError), (left_behind / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (left_behind / "city").is_dir():  # else it may have just begun, not yet locked
                shutil.rmtree(left_behind / "city", ignore_errors=True)
                shutil.rmtree(left_behind, ignore_errors=True)


def _render(settings: CitySettings, images: Path, workers: int, progress: Progress | None) -> None:
    """Hand ranges of places to worker processes as they become free."""
    places, total, done = count_places(settings), count_photos(settings), 0
    starts = iter(range(0, places, _PLACES_PER_TURN))
    workers = max(1, min(workers, -(-places // _PLACES_PER_TURN)))
    with (
        _worker_processes(settings, images, workers) as processes,
        ThreadPoolExecutor(workers) as pool,
    ):
        busy: dict[Future[int], subprocess.Popen[str]] = {}

        def next_turn(process: subprocess.Popen[str]) -> None:
            first = next(starts, None)
            if first is not None:
                stop = min(first + _PLACES_PER_TURN, places)
                busy[pool.submit(_turn, process, first, stop)] = process

        try:
            for process in processes:
                next_turn(process)
            while busy:
                for finished in wait(busy, return_when=FIRST_COMPLETED).done:
                    process = busy.pop(finished)
                    done += finished.result()
                    next_turn(process)
                    if progress is not None:
                        progress(done, total)
        except BaseException:
            for process in processes:  # so that the pool's threads see the end of their pipes
                process.kill()
            raise


def _turn(process: subprocess.Popen[str], first: int, stop: int) -> int:
    """Have a worker render places ``first`` to ``stop`` - 1; return the number of photographs."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(f"{first} {stop}\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()
    except BrokenPipeError:
        answer = ""
    if answer.startswith("failed"):
        raise OSError(answer.removeprefix("failed "))
    if not answer:
        raise RuntimeError(f"a demo city worker ended early (exit status {process.wait()})")
    return int(answer)


@contextmanager
def _worker_processes(
    settings: CitySettings, images: Path, number: int
) -> Iterator[list[subprocess.Popen[str]]]:
    command = [
        sys.executable,
        "-m",
        "vgray.places.demo_city.worker",
        json.dumps(asdict(settings)),
        str(images),
    ]
    # The worker must find the vgray that is running here, installed or not. It allocates the same
    # arrays for each photograph: keeping freed memory (a C library setting) saves a fifth of its
    # time, which would go into the kernel's handing out of zeroed pages.
    home = str(Path(vgray.__path__[0]).parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 29),
        "MALLOC_TOP_PAD_": str(1 << 26),
        "OPENBLAS_NUM_THREADS": "1",
    }
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(number):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()  # the worker ends at the end of its input
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
