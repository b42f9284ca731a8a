"""Loops that read and describe images and do nothing else: the limit of what extraction can do."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from vgray.models.checkpoint import load_model
from vgray.models.devices import default_device
from vgray.models.network import Network
from vgray.places import read_image
from vgray.places.images import UnreadableImage

_BLOCKS = (8, 16, 32, 64)
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
    block: int = 32

    def blocks(self) -> list[list[str]]:
        """Return the paths as the loops take them."""
        return [self.paths[i : i + self.block] for i in range(0, len(self.paths), self.block)]


def loops() -> dict[str, Callable[[Work], float]]:
    """Return what is measured beside the extraction: images/s of each, by name."""
    if default_device().type == "cuda":
        return {"reading": _read_in_processes, "forward": _forward_alone}
    return {
        "processes": _describe_in_processes,
        "threads": _describe_in_threads,
        "readers and one model": _describe_with_readers,
        "forward": _forward_alone,
    }


def best_block(loop: Callable[[Work], float], work: Work) -> int:
    """Return the size of blocks at which a loop is fastest, tried on a part of the images.

    Of few images it is the smallest: they say nothing of speed.
    """
    if len(work.paths) < 2 * max(_BLOCKS) * work.cores:
        return _BLOCKS[0]
    number = max(2 * max(_BLOCKS) * work.cores, len(work.paths) // 10)
    return max(_BLOCKS, key=lambda n: loop(replace(work, paths=work.paths[:number], block=n)))


def _read(paths: Sequence[str], size_px: tuple[int, int]) -> torch.Tensor:
    """Return (B, 3, H, W) in the memory order of the files, which is channels-last."""
    pixels = np.empty((len(paths), *size_px, 3), np.uint8)
    number = 0
    for path in paths:
        try:
            pixels[number] = read_image(path, size_px)
            number += 1
        except UnreadableImage:
            continue
    return torch.from_numpy(pixels[: max(number, 1)]).permute(0, 3, 1, 2)


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
    try:
        torch.set_num_threads(1)
        network = load_model(work.model, "cpu") if describe else None
        for warming_up in (True, False):
            barrier.wait() if not warming_up else None
            blocks = iter([work.blocks()[0], None]) if warming_up else iter(queue.get, object())
            while (block := next(blocks)) is not None:
                pixels = _read(block, work.size_px)
                if network is not None:
                    network.describe(pixels)
        barrier.wait()
    except BaseException:
        barrier.abort()  # or all others would wait for ever
        raise


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
    block = _GPU_BLOCK if on_gpu else work.block
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
