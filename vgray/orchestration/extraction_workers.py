"""What runs in Ray's tasks and actors: blocks are read and described, and deaths are counted."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vgray.orchestration.attempts import MOST, Attempts
from vgray.orchestration.describing import Describe, undescribed
from vgray.orchestration.reading import Fault, Read

import ray  # isort: skip


class Span(NamedTuple):
    """Images that are read and described at once."""

    request: int
    part: str
    start: int
    stop: int


class ReadSpans:
    """Reads the images of each span in turn.

    A span at which a worker died is read image by image, so that the one to blame is known.

    Args:
        read: reads a block.
        files: by request and part, path and size of all images in Ray's store.
        attempts: of this extraction.
    """

    def __init__(
        self,
        read: Read,
        files: Mapping[tuple[int, str], "ray.ObjectRef[Any]"],
        attempts: Attempts,
    ) -> None:
        self._read = read
        self._files = files
        self._attempts = attempts

    def __call__(self, spans: pa.Table) -> Iterator[pa.Table]:
        for row in spans.to_pylist():
            span = Span(**row)
            number = span.stop - span.start
            files = ray.get(self._files[span.request, span.part]).slice(span.start, number)
            yield self._try_reading(
                span,
                pa.table(
                    {
                        "request": np.full(number, span.request),
                        "part": [span.part] * number,
                        "row": np.arange(span.start, span.stop),
                        **{name: files[name] for name in files.column_names},
                    }
                ),
            )

    def _try_reading(self, span: Span, block: pa.Table) -> pa.Table:
        with self._attempts.begin(f"read {span}") as attempt:
            if not attempt.deaths:
                return self._read(block)
            paths = block["path"].to_pylist()
            if attempt.deaths >= MOST:
                return self._read.fail(
                    block, Fault(_killed("reading", paths, attempt.last), is_bug=False)
                )
            read = []
            for row, path in enumerate(paths):
                attempt.note(path)
                read.append(self._read(block.slice(row, 1)))
            return pa.concat_tables(read)


class DescribeBlocks:
    """Describes the blocks that were read.

    Args:
        make: loads what describes.
        files: by request and part, path and size of all images in Ray's store.
        attempts: of this extraction.
    """

    def __init__(
        self,
        make: Callable[[], Describe],
        files: Mapping[tuple[int, str], "ray.ObjectRef[Any]"],
        attempts: Attempts,
    ) -> None:
        self._files = files
        self._attempts = attempts
        actor = ray.get_runtime_context().get_actor_id()  # stays the same after a death
        with attempts.begin(f"start {actor}") as attempt:
            self._describe = make() if attempt.deaths < MOST else None

    def __call__(self, block: pa.Table) -> pa.Table:
        if self._describe is None:
            text = (
                f"a worker died {MOST} times while loading the model: out of memory, or a fault of "
                "the machine; see to that and give the same command again"
            )
            return undescribed(block, Fault(text, is_bug=False))
        request, part, start = (block[name][0].as_py() for name in ("request", "part", "row"))
        with self._attempts.begin(f"describe {request} {part} {start}") as attempt:
            if attempt.deaths < MOST:
                return self._describe(block)
            files = ray.get(self._files[request, part])
            paths = files["path"].slice(start, len(block)).to_pylist()
            return undescribed(block, Fault(_killed("describing", paths, ""), is_bug=False))


def _killed(doing: str, paths: list[str], last: str) -> str:
    """Return one line that names the images."""
    many = len(paths) > 1 and not last
    what = f"one of {paths[0]} to {paths[-1]} ({len(paths)} images)" if many else last or paths[0]
    return (
        f"{what}: {doing} it killed a worker {MOST} times (a file that crashes the decoder, or too "
        "little memory); remove it or see to the memory, and start again"
    )
