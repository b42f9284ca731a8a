"""Threads, seeds and memory of this process."""

import random
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Let torch compute with so many threads (None: as it does) and restore its number after."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_everything(seed: int, epoch: int) -> None:
    """Seed torch, numpy and random for an epoch (0: for the weights), whatever came before."""
    words = np.random.SeedSequence([seed, epoch]).generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))
    random.seed(int(words[2]))


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory in MB: a GPU's since its counter was reset, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
