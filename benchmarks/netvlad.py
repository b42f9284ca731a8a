"""NetVLAD as two matrix products against a loop over its clusters, forward and backward.

    python benchmarks/netvlad.py [--device cuda]

Both run in the same process on the same features (32, 256, 20, 20) with 64 clusters. Prints
the fastest time of each, the most memory that each holds beside features and parameters, and the
ratios.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from vgray.console import say
from vgray.models.aggregators import NetVLAD

SHAPE = (32, 256, 20, 20)
CLUSTERS = 64
MIB = 2**20


def loop(netvlad: NetVLAD, features: Tensor) -> Tensor:
    """Describe features one cluster after the other, as published to save memory."""
    x = functional.normalize(features, dim=1)
    assignment = netvlad.conv(x).flatten(2).softmax(dim=1)
    x = x.flatten(2)
    rows = [
        ((x - centroid[None, :, None]) * assignment[:, k, None]).sum(dim=2)
        for k, centroid in enumerate(netvlad.centroids)
    ]
    rows = [functional.normalize(row, dim=1) for row in rows]
    return functional.normalize(torch.cat(rows, dim=1), dim=1)


def train_step(describe: Callable[[Tensor], Tensor], netvlad: NetVLAD, features: Tensor) -> None:
    """Forward and backward; the gradients are let go."""
    torch.autograd.backward(describe(features).square().sum())
    features.grad = None
    netvlad.zero_grad()


def seconds(step: Callable[[], None], device: str) -> float:
    """Time of a step."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(step: Callable[[], None], device: str) -> int:
    """Return the most memory that a step holds beyond what was there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its own starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    held = peak = 0
    for event in sorted(results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=9, help="steps that are timed")
    options = parser.parse_args()
    torch.manual_seed(0)
    netvlad = NetVLAD(CLUSTERS, SHAPE[1]).to(options.device)
    features = torch.randn(SHAPE, device=options.device, requires_grad=True)

    difference = (loop(netvlad, features) - netvlad(features)).abs().max().item()
    steps = [
        partial(train_step, describe, netvlad, features)
        for describe in (partial(loop, netvlad), netvlad)
    ]
    # In turns, and the fastest of each: what else runs on the machine slows both alike.
    rounds = [[seconds(step, options.device) for step in steps] for _ in range(options.repeats)]
    loop_s, own_s = (min(times) for times in zip(*rounds, strict=True))
    loop_bytes, own_bytes = (peak_bytes(step, options.device) for step in steps)
    say(f"loop over clusters {loop_s * 1e3:9.1f} ms {loop_bytes / MIB:9.1f} MiB")
    say(f"vgray              {own_s * 1e3:9.1f} ms {own_bytes / MIB:9.1f} MiB")
    say(
        f"{loop_s / own_s:.1f} times as fast, {loop_bytes / own_bytes:.1f} times less memory; "
        f"largest difference {difference:.1e}"
    )


if __name__ == "__main__":
    main()
