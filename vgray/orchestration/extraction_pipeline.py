"""Ray Data's part in an extraction: tasks read while a pool of actors describes."""

import logging
import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vgray.orchestration.cluster import connect  # first: it sets what Ray reads when imported
from vgray.orchestration.describing import Describe, Read

import ray  # isort: skip
import ray.data  # isort: skip

MB = 10**6
_BLOCK_BYTES = 24 * MB
_BLOCKS_AHEAD = 4  # for each worker, of blocks that are read, described or wait
_ACTOR_BYTES = 2000 * MB
"""What an actor on a CPU needs: a model, its working memory, torch."""
_CPU_BLOCK, _GPU_BLOCK = 32, 128  # images


@dataclass(frozen=True)
class Pool:
    """The actors that describe, and the tasks that read for them."""

    actors: int
    gpus_per_actor: float
    threads: int
    readers: int

    @property
    def device(self) -> str | None:
        """Where an actor computes; None for the GPU that Ray gives it."""
        return None if self.gpus_per_actor else "cpu"

    @property
    def block_images(self) -> int:
        """The most images that are read and described at once."""
        return _GPU_BLOCK if self.gpus_per_actor else _CPU_BLOCK


def join_cluster(address: str | None) -> Pool:
    """Connect to Ray, unless this process is connected, and size the pool by what it has."""
    if not ray.is_initialized():
        # Ray warns of what Ray Data does by itself, for every pool, and says that it will not.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with _silent_stderr():
            connect(address)
    return size_pool(ray.cluster_resources())


def size_pool(resources: Mapping[str, float]) -> Pool:
    """Return the pool for a cluster: an actor for each GPU, else for each CPU.

    Without a GPU, actors of one thread each describe different blocks.
    """
    cpus = max(1, int(resources.get("CPU", 1)))
    if gpus := int(resources.get("GPU", 0)):
        return Pool(gpus, 1, 1, cpus)
    actors = max(1, min(cpus, int(resources.get("memory", 0) / _ACTOR_BYTES)))
    return Pool(actors, 0, max(1, cpus // actors), cpus)


def describe_images(
    images: Sequence[pa.Table],
    image_bytes: int,
    pool: Pool,
    read: Read,
    model: tuple[Path, Mapping[str, Any], str],
) -> Generator[pa.Table, None, None]:
    """Yield the described images, block by block as they come.

    Args:
        images: ``part``, ``row`` and ``path`` in tables of one part each, in the order in which
            they are begun.
        image_bytes: of the pixels of one, about.
        pool: who works.
        read: reads a block.
        model: the checkpoint, changes of its recipe, number type of the descriptors.
    """
    rows = max(1, min(pool.block_images, _BLOCK_BYTES // image_bytes))
    blocks = [
        _own(table.slice(start, rows))
        for table in images
        for start in range(0, table.num_rows, rows)
    ]
    checkpoint, settings, dtype = model
    # Stages that need the same of a node would be run as one, and nothing would overlap; on a
    # single CPU both must fit.
    compute = {"num_gpus": pool.gpus_per_actor} if pool.gpus_per_actor else {"num_cpus": 0.4}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised as well
    with ray.data.DataContext.current(_quiet_context(pool, rows * image_bytes)):
        described = (
            ray.data.from_arrow(blocks)
            .map_batches(
                read,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(size=pool.readers),
                num_cpus=0.5,
            )
            .map_batches(
                Describe,
                fn_constructor_args=(checkpoint, settings, pool.device, pool.threads, dtype),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    size=pool.actors, max_tasks_in_flight_per_actor=2
                ),
                **compute,
            )
        )
        batches = iter(described.iter_batches(batch_size=None, batch_format="pyarrow"))
        with closing(batches):
            yield from batches


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep what Ray's own processes and libraries write off the screen; errors are raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _own(block: pa.Table) -> pa.Table:
    """Copy a slice, or the whole table would go along with it."""
    return block.take(pa.array(range(block.num_rows)))


def _quiet_context(pool: Pool, block_bytes: int) -> "ray.data.DataContext":
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = False
    context.target_max_block_size = 2 * block_bytes
    context.execution_options.resource_limits = ray.data.ExecutionResources(
        object_store_memory=_BLOCKS_AHEAD * (pool.actors + pool.readers) * block_bytes
    )
    return context
