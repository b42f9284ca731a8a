"""How much memory the miner takes beside a model."""

import subprocess
import sys

import pytest

_LARGE = """
import re, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np, torch
from vgray.recipe.losses import FullMining, PartialMining
from vgray.training.mining import TupleMiner

torch.set_num_threads(1)
rng = np.random.default_rng(0)
is_query = np.arange(12000) < 2000
data = SimpleNamespace(
    positions_m=rng.uniform(0, 2000, (12000, 2)), is_query=is_query, is_database=~is_query
)
def peak_gib():
    # Not the process's maximum, which it inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024**2
describing = []
def describe(rows):
    started = time.perf_counter()
    made = rng.standard_normal((len(rows), int(sys.argv[2])), dtype=np.float32)
    describing.append(time.perf_counter() - started)
    return made
mining = {"full": FullMining, "partial": PartialMining}[sys.argv[1]](queries_per_epoch=1000)
before = peak_gib()
miner = TupleMiner(mining, data, seed=0)
list(miner.epoch(1, describe))
print(peak_gib() - before, miner.metrics()["mining_seconds"] - sum(describing))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise elsewhere")
@pytest.mark.parametrize(
    ("name", "dimension", "most_gib"),
    [("full", 16384, 2.0), ("full", 256, 0.5), ("partial", 256, 0.5)],
)
def test_memory_of_ten_thousand_images(name: str, dimension: int, most_gib: float) -> None:
    call = [sys.executable, "-c", _LARGE, name, str(dimension)]
    out = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    used_gib = float(out.split()[0])
    assert 0 < used_gib < most_gib, out
