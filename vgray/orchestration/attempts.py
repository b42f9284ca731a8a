"""How often work was begun: what kills its worker again and again is not tried for ever.

Ray starts the work of a dead worker again, and so Ray Data would for ever. The count lies with the
cluster, since whoever counts must outlive the worker.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vgray.orchestration import cluster  # noqa: F401 (it sets what Ray reads when imported)

from ray.experimental.internal_kv import (  # isort: skip
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_put,
)

MOST = 3
"""Workers that may die at the same work."""
_SPACE = "vgray"


@dataclass(frozen=True)
class Attempts:
    """The attempts of one job.

    Args:
        job: its name, unlike all others of the cluster.
    """

    job: str

    @contextmanager
    def begin(self, name: str) -> Iterator["Attempt"]:
        """Count an attempt at the work of this name; it counts no more once the block is left."""
        key = f"{self.job} {name}"
        if not _internal_kv_put(key, "0", overwrite=False, namespace=_SPACE):
            deaths, last = 0, ""
        else:
            before, _, last = _internal_kv_get(key, namespace=_SPACE).decode().partition(" ")
            deaths = int(before) + 1
        attempt = Attempt(key, deaths, last)
        if deaths:
            attempt.note("")
        try:
            yield attempt
        finally:
            _internal_kv_del(key, namespace=_SPACE)

    def forget(self) -> None:
        """Give the cluster's memory back, when the job ends."""
        _internal_kv_del(f"{self.job} ", del_by_prefix=True, namespace=_SPACE)


@dataclass(frozen=True)
class Attempt:
    """One of the attempts at some work."""

    key: str
    deaths: int
    """Workers that have died at it so far."""
    last: str
    """What the one that died last had noted; empty if nothing."""

    def note(self, text: str) -> None:
        """Note what is worked on, for whoever tries after a death."""
        _internal_kv_put(self.key, f"{self.deaths} {text}", namespace=_SPACE)
