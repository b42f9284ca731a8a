"""Ray Data's part in an extraction: tasks read while a pool of actors describes."""

import logging
import math
import os
import sys
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Timer
from typing import Any

import pyarrow as pa

from vgray.orchestration.attempts import Attempts
from vgray.orchestration.cluster import connect
from vgray.orchestration.describing import Describe
from vgray.orchestration.extraction_workers import DescribeBlocks, ReadSpans, Span
from vgray.orchestration.reading import Read, Work
from vgray.places.images import Size
from vgray.places.views import QueryMethod
from vgray.retrieval.description import NUM_CROPS
from vgray.retrieval.shards import Shard

import ray  # isort: skip
import ray.data  # isort: skip

MB = 10**6
_BLOCK_BYTES = 24 * MB
_BLOCKS_AHEAD = 4  # for each worker, of blocks that are read, described or wait
_ACTOR_BYTES = 2000 * MB
"""What an actor on a CPU needs: a model, its working memory, torch."""
# Images that pass from stage to stage together. Ray spends about 25 ms of a core on each block: of
# 2,000 photographs at 224 px, two cores described 90, 94, 107 and 110 a second in blocks of 16, 32,
# 96 and 128. Few images are cut smaller, so that all actors have some.
_LEAST_BLOCK, _MOST_BLOCK = 16, 128
_READER_CPUS = 0.5
_MOST_INPUTS = 500  # of tasks that read; as many are enough to share the work evenly
_PATIENCE_S = 30.0


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


def join_cluster(address: str | None) -> Pool:
    """Connect to Ray, unless this process is connected, and size the pool by what it has."""
    if not ray.is_initialized():
        # Ray warns of what Ray Data does by itself, for every pool, and says that it will not.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with _silent_stderr():
            connect(address, dashboard=False)
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


@dataclass(frozen=True)
class Missing:
    """What is still to be described of a request."""

    work: Work
    images: Mapping[str, pa.Table]
    """Of its parts; requests of the same images have the same mapping."""
    shards: Sequence[Shard]


def describe_images(
    missing: Sequence[Missing], pool: Pool, say: Callable[[str], None] | None = None
) -> Generator[pa.Table, None, None]:
    """Yield the described images, block by block as they come, each of one part of a request.

    Args:
        missing: by number of the request, which is a column of the blocks.
        pool: who works.
        say: takes a line if other jobs leave no room on the cluster.
    """
    works = [each.work for each in missing]
    attempts = Attempts(uuid.uuid4().hex)
    most = _most_images(missing, pool)
    block_bytes = max(
        _block_images(most, image_bytes) * image_bytes
        for work in works
        for image_bytes in (_image_bytes(work.size_px, each) for each in work.methods.values())
    )
    # Stages that need the same of a node would be run as one, and nothing would overlap; on a
    # single CPU both must fit.
    compute = {"num_gpus": pool.gpus_per_actor} if pool.gpus_per_actor else {"num_cpus": 0.4}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised as well
    with ray.data.DataContext.current(_quiet_context(pool, block_bytes)):
        files = _shared_files(missing)
        described = (
            ray.data.from_blocks(_inputs(_spans(missing, pool)))
            .map_batches(
                ReadSpans(Read(works), files, attempts),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(size=pool.readers),
                num_cpus=_READER_CPUS,
            )
            .map_batches(
                DescribeBlocks,
                fn_constructor_args=(
                    partial(Describe, works, pool.device, pool.threads),
                    files,
                    attempts,
                ),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    size=pool.actors, max_tasks_in_flight_per_actor=2
                ),
                **compute,
            )
        )
        waiting = _say_if_waiting(pool, say)
        batches = iter(described.iter_batches(batch_size=None, batch_format="pyarrow"))
        with closing(batches):
            try:
                for batch in batches:
                    waiting.cancel()
                    yield batch
            finally:
                waiting.cancel()
                attempts.forget()


def _spans(missing: Sequence[Missing], pool: Pool) -> list[Span]:
    spans = []
    most = _most_images(missing, pool)
    for request, each in enumerate(missing):
        for shard in each.shards:
            image_bytes = _image_bytes(each.work.size_px, each.work.methods[shard.part])
            step = _block_images(most, image_bytes)
            spans += [
                Span(request, shard.part, start, min(start + step, shard.stop))
                for start in range(shard.start, shard.stop, step)
            ]
    return spans


def _inputs(spans: Sequence[Span]) -> list[pa.Table]:
    """Return tables of spans of one part each: few, since each costs as much as many images."""
    most = math.ceil(len(spans) / _MOST_INPUTS)
    tables = []
    for _, of_part in groupby(spans, key=lambda span: (span.request, span.part)):
        rows = [span._asdict() for span in of_part]
        tables += [
            pa.Table.from_pylist(rows[start : start + most]) for start in range(0, len(rows), most)
        ]
    return tables


def _shared_files(
    missing: Sequence[Missing],
) -> dict[tuple[int, str], "ray.ObjectRef[Any]"]:
    """Put paths and sizes into Ray's store, those of the same images once."""
    stored: dict[tuple[int, str], ray.ObjectRef[Any]] = {}
    found = {}
    for request, each in enumerate(missing):
        for part, images in each.images.items():
            if (id(images), part) not in stored:
                stored[id(images), part] = ray.put(images.select(["path", "size_bytes"]))
            found[request, part] = stored[id(images), part]
    return found


def _most_images(missing: Sequence[Missing], pool: Pool) -> int:
    """Return how many images a block may have: as many as leave each actor four blocks."""
    number = sum(shard.stop - shard.start for each in missing for shard in each.shards)
    return min(_MOST_BLOCK, max(_LEAST_BLOCK, number // (4 * pool.actors)))


def _block_images(most: int, image_bytes: int) -> int:
    return max(1, min(most, _BLOCK_BYTES // image_bytes))


def _image_bytes(size_px: Size, method: QueryMethod) -> int:
    """Return how many bytes an image's pixels have, about: what sizes files have is not known."""
    short_px = min(size_px)
    pixels = {"five_crops": NUM_CROPS * short_px**2, "single_query": 2 * short_px**2}
    return 3 * (1_000_000 if method == "native_size" else pixels.get(method, math.prod(size_px)))


def _say_if_waiting(pool: Pool, say: Callable[[str], None] | None) -> Timer:
    """Return a running timer that says, at its end, that other jobs hold what is needed."""
    needed = {"CPU": _READER_CPUS}
    if pool.gpus_per_actor:
        needed = {"GPU": pool.gpus_per_actor, **needed}

    def is_short(name: str) -> bool:
        return bool(ray.available_resources().get(name, 0) < needed[name])

    # Later on this job's own workers are among those that have something.
    short = [name for name in needed if is_short(name)]

    def tell() -> None:
        for name in filter(is_short, short):
            total = ray.cluster_resources().get(name, 0)
            used = total - ray.available_resources().get(name, 0)
            if say is not None:
                say(f"waiting for {name}s of the cluster: {used:g} of {total:g} in use")
            break

    timer = Timer(_PATIENCE_S, tell)
    timer.daemon = True
    timer.start()
    return timer


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


def _quiet_context(pool: Pool, block_bytes: int) -> "ray.data.DataContext":
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = False
    # Above what a full block has, it would be joined to the next, and far below, cut.
    context.target_max_block_size = 3 * block_bytes // 4
    context.execution_options.resource_limits = ray.data.ExecutionResources(
        object_store_memory=_BLOCKS_AHEAD * (pool.actors + pool.readers) * block_bytes
    )
    return context
