"""Random numbers for augmentation: the same on every device and after every resume."""

import numpy as np
import torch
from torch import Generator, Tensor


def generator_for(seed: int, epoch: int, step: int, kind: str) -> Generator:
    """Return a generator on the CPU for one kind of augmentation of one batch.

    It is found by name, so that switching one kind on leaves the numbers of the others as they are.
    """
    entropy = np.random.SeedSequence([seed, epoch, step], spawn_key=tuple(kind.encode()))
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


def uniform(num: int, low: float, high: float, generator: Generator) -> Tensor:
    """Return (num,) numbers from ``low`` to below ``high``, float32."""
    return low + (high - low) * torch.rand(num, generator=generator)
