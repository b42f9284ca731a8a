"""Which device is there, and what it can do."""

import functools
from pathlib import Path

import torch


def default_device() -> torch.device:
    """Return the first CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def has_bfloat16(device: torch.device) -> bool:
    """Return whether ``device`` computes in bfloat16 itself, not by way of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(_CPU_FLAGS & {"avx512_bf16", "amx_bf16"})
    return False


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


_CPU_FLAGS = _cpu_flags()
