"""Whether images can be opened, by their headers alone, which takes a fraction of the time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vgray.places.images import UnreadableImage, read_size
from vgray.places.store import usable_cpus


def first_unreadable(paths: Sequence[str]) -> tuple[str, str] | None:
    """Return path and reason of the first image whose header cannot be read; None if all can.

    Raises:
        UserError: the system is at fault.
    """

    def reason_of(path: str) -> str | None:
        try:
            read_size(path)
        except UnreadableImage as error:
            return str(error)
        return None

    with ThreadPoolExecutor(usable_cpus()) as pool:
        try:
            for path, reason in zip(paths, pool.map(reason_of, paths), strict=True):
                if reason is not None:
                    return path, reason
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return None
