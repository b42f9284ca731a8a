"""Exact search in blocks against one plain faiss call: time and peak memory.

    python benchmarks/search.py
    python benchmarks/search.py --database 1000000 --queries 10000 --dimension 512 --k 100

The descriptors are random, of length 1 and float16, made block by block and the same for both.
Each search runs in a process of its own; its peak is the whole process, imports included. Making
the descriptors is no part of the time. The plain call (IndexFlatL2) needs all of the database as
float32; with --no-plain it is left out.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vgray.console import say
from vgray.retrieval.library import faiss_with
from vgray.retrieval.search import nearest_in_blocks, rows_of_a_block

_CHUNK = 4096  # made at once
_MIB = 2**20


def descriptors(number: int, dimension: int, first: int) -> NDArray[np.float16]:
    """Return (number, dimension) random descriptors, from the given one on."""
    made = np.empty((number, dimension), dtype=np.float16)
    for start in range(0, number, _CHUNK):
        chunk = made[start : start + _CHUNK]
        rng = np.random.default_rng(first + start)
        x = rng.standard_normal(chunk.shape, dtype=np.float32)
        chunk[:] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return made


class Made:
    """A database that is made while it is read, and how long that took."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._number, self._dimension = options.database, options.dimension
        self._rows = max(_CHUNK, rows_of_a_block(self._dimension) // _CHUNK * _CHUNK)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[NDArray[np.float16]]:
        for first in range(0, self._number, self._rows):
            started = time.perf_counter()
            block = descriptors(min(self._rows, self._number - first), self._dimension, first)
            self.seconds += time.perf_counter() - started
            yield block


def in_blocks(options: argparse.Namespace, queries: NDArray[np.float16]) -> NDArray[np.int64]:
    """Search block by block."""
    return nearest_in_blocks(options.made, queries, options.k, threads=options.threads)[0]


def plain(options: argparse.Namespace, queries: NDArray[np.float16]) -> NDArray[np.int64]:
    """Search with one call of faiss."""
    with faiss_with(options.threads) as faiss:
        index = faiss.IndexFlatL2(options.dimension)
        for block in options.made:
            index.add(block.astype(np.float32))
        ranked: NDArray[np.int64] = index.search(queries.astype(np.float32), options.k)[1]
    return ranked


SEARCHES = {"in blocks": in_blocks, "plain": plain}


def measure(options: argparse.Namespace) -> None:
    """Run one search and print what it took, as JSON."""
    with faiss_with(None):
        pass  # its import is no part of the time
    queries = descriptors(options.queries, options.dimension, 2**40)
    options.made = Made(options)
    started = time.perf_counter()
    ranked = SEARCHES[options.only](options, queries)
    seconds = time.perf_counter() - started - options.made.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sample = ranked[: min(len(ranked), 200)].tolist()
    say(json.dumps({"seconds": seconds, "peak": peak, "ranked": sample}))


def main() -> None:
    """Measure each search and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--database", type=int, default=50_000, help="its descriptors")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain call")
    parser.add_argument("--only", choices=SEARCHES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options)
        return
    say(
        f"{options.database:,} x {options.dimension} float16, {options.queries:,} queries, "
        f"the {options.k} nearest\n"
    )
    say("| search | seconds | peak MiB | against plain |")
    say("|---|---|---|---|")
    found = {}
    for name in ["plain", "in blocks"][options.no_plain :]:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout)
        seconds, peak = found[name]["seconds"], found[name]["peak"] / _MIB
        against = "–" if options.no_plain else f"{seconds / found['plain']['seconds']:.2f}"
        say(f"| {name} | {seconds:.1f} | {peak:,.0f} | {against} |")
    if not options.no_plain:
        ours, theirs = (np.array(found[name]["ranked"]) for name in ("in blocks", "plain"))
        say(f"\n{100 * (ours == theirs).mean():.3f} % of the ranks are the same")


if __name__ == "__main__":
    main()
