"""faiss, imported when it is needed and given the number of threads it may use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def faiss_with(threads: int | None) -> Iterator[Any]:
    """Yield the faiss module, computing with so many threads (None: with all cores)."""
    # Seconds, which a trial need not wait for before its first step, nor a sweep's driver at all.
    # torch is first: faiss before it loads a second OpenMP, which can hang.
    import torch  # noqa: F401, I001
    import faiss

    threads_before = faiss.omp_get_max_threads()
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(threads_before)
