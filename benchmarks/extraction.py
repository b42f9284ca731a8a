"""Extraction against the limit of this machine: a loop that reads and describes, nothing else.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --data DATA --model CHECKPOINT --images 20000 --repeats 3

On CPUs the limit is the fastest of three loops on all cores, each without a store, an order or
files: processes and threads that read and describe with one thread each, and threads that read
for one model on all cores. On a GPU it is the slower of reading on all cores and the raw forward
pass. Loops, forward pass and extraction run in turns; ratios are of the same round, since what
else runs on the machine slows all alike. The start is left out: of the loops the loading of the
model, of the extraction what comes before a tenth of the images is described.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

from vgray.console import demo_city, say, user_errors
from vgray.models.checkpoint import load_model, save_checkpoint
from vgray.models.devices import default_device
from vgray.models.network import Network
from vgray.orchestration.cluster import disconnect
from vgray.orchestration.extraction import extract
from vgray.orchestration.extraction_request import Request
from vgray.orchestration.extraction_tally import Outcome
from vgray.places import load_manifest, read_image
from vgray.recipe import Recipe
from vgray.training.precision import settle_precision

_BLOCK = 32
_GPU_BLOCK = 128
_RAW_IMAGES = 512


@dataclass(frozen=True)
class Work:
    """What is described, by what, on how many cores."""

    model: Path
    data: Path
    paths: list[str]
    size_px: tuple[int, int]
    cores: int

    def blocks(self) -> list[list[str]]:
        """Return the paths as the loops take them."""
        return [self.paths[i : i + _BLOCK] for i in range(0, len(self.paths), _BLOCK)]


@dataclass(frozen=True)
class Extracted:
    """An extraction as it was timed."""

    images_per_s: float
    outcome: Outcome


def measure(
    data: Annotated[str | None, typer.Option(help="Default: the demo city.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Default: an untrained ResNet-18 with GeM at 224 px.")
    ] = None,
    images: Annotated[int, typer.Option(help="How many images, at most.", min=2)] = 2000,
    repeats: Annotated[int, typer.Option(help="Rounds.", min=1)] = 3,
) -> None:
    """Measure and print a table."""
    with user_errors(), tempfile.TemporaryDirectory() as folder:
        work = _prepare(data or demo_city(), model, images, Path(folder))
        loops = _loops()
        say(f"{len(work.paths)} images, {work.cores} cores, {default_device().type}")
        rounds = []
        for number in range(repeats):
            speeds = {name: loop(work) for name, loop in loops.items()}
            found = _extraction(work, Path(folder) / f"out-{number}")
            rounds.append((speeds, found))
            say(f"round {number + 1}: {_line(speeds, found)}")
        _print_table(rounds, work.cores)


def _prepare(data: str, model: Path | None, number: int, folder: Path) -> Work:
    """Write the model, unless it is given, and a manifest of so many images, evenly taken."""
    if model is None:
        recipe = Recipe().with_settings(
            {"image_size": [224, 224], "backbone.weights": "none", "aggregator.name": "gem"}
        )
        torch.manual_seed(0)
        network = Network(settle_precision(recipe, default_device()))
        model = save_checkpoint(folder / "model", network, {})
    manifest = load_manifest(data)
    number = min(number, len(manifest))
    taken = manifest.take(np.arange(number) * len(manifest) // number)
    for name, value in {"split": "test", "role": "database"}.items():
        column = pa.array([value] * number)
        taken = taken.set_column(taken.column_names.index(name), name, column)
    pq.write_table(taken, folder / "manifest.parquet")
    size_px = load_model(model, "cpu").recipe.image_size
    cores = len(os.sched_getaffinity(0))
    return Work(model, folder / "manifest.parquet", taken["path"].to_pylist(), size_px, cores)


def _loops() -> dict[str, Callable[[Work], float]]:
    """Return what is measured beside the extraction: images/s of each, by name."""
    if default_device().type == "cuda":
        return {"reading": _read_in_processes, "forward": _forward_alone}
    return {
        "processes": _describe_in_processes,
        "threads": _describe_in_threads,
        "readers and one model": _describe_with_readers,
        "forward": _forward_alone,
    }


def _limit(speeds: dict[str, float]) -> float:
    loops = {name: speed for name, speed in speeds.items() if name != "forward"}
    return min(speeds.values()) if "reading" in speeds else max(loops.values())


def _read(paths: Sequence[str], size_px: tuple[int, int]) -> torch.Tensor:
    """Return (B, 3, H, W) in the memory order of the files, which is channels-last."""
    pixels = np.empty((len(paths), *size_px, 3), np.uint8)
    for place, path in enumerate(paths):
        pixels[place] = read_image(path, size_px)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _in_processes(work: Work, describe: bool) -> float:
    """Return images/s of a process for each core; blocks go to whoever is free."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.SimpleQueue()
    barrier = context.Barrier(work.cores + 1)
    workers = [
        context.Process(target=_work, args=(work, describe, queue, barrier), daemon=True)
        for _ in range(work.cores)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = perf_counter()
    for block in [*work.blocks(), *([None] * work.cores)]:
        queue.put(block)
    barrier.wait()
    seconds = perf_counter() - started
    for worker in workers:
        worker.join()
    return len(work.paths) / seconds


def _work(work: Work, describe: bool, queue: Any, barrier: Barrier) -> None:
    torch.set_num_threads(1)
    network = load_model(work.model, "cpu") if describe else None
    for warming_up in (True, False):
        barrier.wait() if not warming_up else None
        blocks = iter([work.paths[:_BLOCK], None]) if warming_up else iter(queue.get, object())
        while (block := next(blocks)) is not None:
            pixels = _read(block, work.size_px)
            if network is not None:
                network.describe(pixels)
    barrier.wait()


def _describe_in_processes(work: Work) -> float:
    return _in_processes(work, describe=True)


def _read_in_processes(work: Work) -> float:
    return _in_processes(work, describe=False)


def _describe_in_threads(work: Work) -> float:
    network = load_model(work.model, "cpu")
    return _timed(
        work, 1, lambda pool: pool.map(lambda b: _forward(network, b, work.size_px), work.blocks())
    )


def _describe_with_readers(work: Work) -> float:
    network = load_model(work.model, "cpu")

    def run(pool: ThreadPoolExecutor) -> list[torch.Tensor]:
        read = pool.map(lambda block: _read(block, work.size_px), work.blocks())
        return [network.describe(pixels) for pixels in read]

    return _timed(work, work.cores, run)


def _forward(network: Network, block: Sequence[str], size_px: tuple[int, int]) -> torch.Tensor:
    # Gradients are switched off for each thread by itself.
    with torch.inference_mode():
        described: torch.Tensor = network(_read(block, size_px))
        return described


def _timed(work: Work, threads: int, run: Callable[[ThreadPoolExecutor], Any]) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ThreadPoolExecutor(
            work.cores, initializer=torch.set_num_threads, initargs=(threads,)
        ) as pool:
            started = perf_counter()
            list(run(pool))
            return len(work.paths) / (perf_counter() - started)
    finally:
        torch.set_num_threads(before)


def _forward_alone(work: Work) -> float:
    """Return images/s of the network on all cores, or the GPU, with pixels in memory."""
    network = load_model(work.model)
    on_gpu = network.device.type == "cuda"
    block = _GPU_BLOCK if on_gpu else _BLOCK
    pixels = torch.randint(0, 256, (block, *work.size_px, 3), dtype=torch.uint8)
    images = pixels.permute(0, 3, 1, 2).to(network.device)
    before = torch.get_num_threads()
    torch.set_num_threads(work.cores)
    try:
        with network.evaluating():
            network(images).cpu()
            started = perf_counter()
            number = _RAW_IMAGES * (16 if on_gpu else 1) // block
            for _ in range(number):
                described = network(images)
            described.cpu()
        return number * block / (perf_counter() - started)
    finally:
        torch.set_num_threads(before)


def _extraction(work: Work, out: Path) -> Extracted:
    """Extract with Ray started for it, and time all but a tenth of the images."""
    times: list[tuple[float, int]] = []
    request = Request(work.model, str(work.data), ("test",), out)
    try:
        outcome = extract(request, progress=lambda done, _: times.append((perf_counter(), done)))
    finally:
        disconnect()
    begun = next(each for each in times if each[1] >= len(work.paths) / 10)
    seconds, number = (last - first for last, first in zip(times[-1], begun, strict=True))
    return Extracted(number / seconds if seconds else 0.0, outcome)


def _line(speeds: dict[str, float], found: Extracted) -> str:
    each = [f"{name} {speed:.1f}" for name, speed in speeds.items()]
    return ", ".join([*each, f"extraction {found.images_per_s:.1f} images/s"])


def _print_table(rounds: list[tuple[dict[str, float], Extracted]], cores: int) -> None:
    ratios = [found.images_per_s / _limit(speeds) for speeds, found in rounds]
    say("| | images/s | of the limit |")
    say("|---|---|---|")
    for name in rounds[0][0]:
        say(_row(name, [speeds[name] for speeds, _ in rounds], rounds))
    say(_row("limit", [_limit(speeds) for speeds, _ in rounds], rounds))
    say(_row("extraction", [found.images_per_s for _, found in rounds], rounds))
    say(f"extraction reaches {median(ratios):.2f} of the limit ({min(ratios):.2f} to "
        f"{max(ratios):.2f}), after a start of "
        f"{median(found.outcome.startup_s for _, found in rounds):.1f} s")  # fmt: skip
    outcome = rounds[-1][1].outcome
    number = outcome.num_described / 1000
    whole_ms = 1000 * cores / rounds[-1][1].images_per_s
    parts = {
        "reading": outcome.read_s,
        "describing": outcome.describe_s,
        "writing": outcome.write_s,
    }
    parts_ms = {name: seconds / number for name, seconds in parts.items()}
    parts_ms["the rest (transport, Ray, cores that wait or do other things)"] = whole_ms - sum(
        parts_ms.values()
    )
    each = ", ".join(f"{name} {spent_ms:.2f}" for name, spent_ms in parts_ms.items())
    say(f"of {whole_ms:.2f} ms of the cores for each image: {each}")


def _row(name: str, speeds: list[float], rounds: list[tuple[dict[str, float], Extracted]]) -> str:
    of_limit = median(
        speed / _limit(others) for speed, (others, _) in zip(speeds, rounds, strict=True)
    )
    return f"| {name} | {median(speeds):.1f} | {of_limit:.2f} |"


if __name__ == "__main__":
    typer.run(measure)
