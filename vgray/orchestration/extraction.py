"""Extraction: the images of data sets described by models, on Ray Data, into folders.

What a folder has already is not described again; when nothing is missing, Ray is not started.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.orchestration.extraction_request import Asked, Request, describe_requests
from vgray.orchestration.extraction_tally import Outcome, Tally
from vgray.places.headers import first_unreadable
from vgray.places.views import QueryMethod
from vgray.recipe import Recipe
from vgray.retrieval.description import FILE, NUM_CROPS, Description, is_query_part
from vgray.retrieval.shards import Described
from vgray.retrieval.writing import Writer


def extract(
    request: Request,
    *,
    manifest: pa.Table | None = None,
    address: str | None = None,
    command: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Describe the images that the folder does not have yet; see :func:`extract_all`."""
    (outcome,) = extract_all(
        [request],
        manifests={} if manifest is None else {request.data: manifest},
        address=address,
        command=command,
        progress=progress,
        say=say,
    )
    return outcome


def extract_all(
    requests: Sequence[Request],
    *,
    manifests: Mapping[str, pa.Table] | None = None,
    address: str | None = None,
    command: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
    finished: Callable[[Request, Outcome], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Describe the images that the folders do not have yet, with one pool of actors for all.

    Connects to Ray if something is left to do and this process is not connected; it stays so.
    Whatever ends an extraction early, Ctrl-C or a fault in one request among it, finished shards
    are kept.

    Args:
        requests: what is wanted, each in a folder of its own. They are worked off model by model.
        manifests: of the data that are loaded already, by where they are.
        address: of the cluster; this machine unless given.
        command: the command line, for the record.
        progress: called with the number of images done and of all.
        finished: called with each request as soon as its folder has all images.
        say: takes a line if the cluster is too busy to begin.

    Returns:
        what became of each request, in their order.

    Raises:
        UserError: a model, data or a folder cannot be used, the disk is full, an image cannot be
            read for a reason that lies in the system, or any image if ``strict``.
        ValueError: two requests have the same folder.
    """
    if len({request.out.absolute() for request in requests}) < len(requests):
        raise ValueError("two requests write into the same folder")
    started = perf_counter()
    outcomes: dict[int, Outcome] = {}
    with contextlib.ExitStack() as stack:
        # Every folder is locked from here on, so that what comes later will not be in vain.
        extractions = [
            _Extraction(asked, started, stack)
            for asked in describe_requests(requests, manifests or {}, command)
        ]

        def note(extraction: _Extraction) -> None:
            outcome = extraction.finish()
            outcomes[id(extraction)] = outcome
            if finished is not None:
                finished(extraction.request, outcome)

        for extraction in extractions:
            if extraction.is_complete:
                note(extraction)
        unfinished = _by_model([each for each in extractions if not each.is_complete])
        if unfinished:
            _describe_missing(unfinished, extractions, note, address, progress, say)
        return [outcomes[id(extraction)] for extraction in extractions]


class WorkerError(RuntimeError):
    """A bug that showed in a worker; the text is the worker's traceback."""


class _Extraction:
    """A request being carried out."""

    def __init__(self, asked: Asked, started: float, stack: contextlib.ExitStack) -> None:
        self.request = request = asked.request
        self.images = images = asked.images
        if request.strict and not (request.out / FILE).is_file():
            # Once the folder is begun it holds to these data, and mended ones are others.
            for table in images.values():
                if found := first_unreadable(table["path"].to_pylist()):
                    raise _unreadable(*found)
        self.writer = stack.enter_context(
            Writer(request.out, asked.description, images, asked.left_out)
        )
        self.description = self.writer.description
        self.methods: dict[str, QueryMethod] = {
            part: request.query_method if is_query_part(part) else "resize" for part in images
        }
        if request.strict:
            for path, reason in self.writer.skipped():
                raise _unreadable(path, reason)
        self.tally = Tally(started, sum(table.num_rows for table in images.values()))
        self.tally.expect(sum(shard.stop - shard.start for shard in self.writer.missing))

    @property
    def is_complete(self) -> bool:
        return self.writer.is_complete

    def take(self, block: pa.Table) -> None:
        """Write the images of a block."""
        part = block["part"][0].as_py()
        reasons = _reasons(block)
        if self.request.strict and reasons:
            row, reason = min(reasons.items())
            raise _unreadable(self.images[part]["path"][row].as_py(), reason)
        began = perf_counter()
        columns = _columns(block, self.methods[part], self.description)
        self.writer.add(part, *columns, reasons)
        self.tally.count(block, perf_counter() - began)

    def finish(self) -> Outcome:
        """Complete the folder, of which all shards are there."""
        self.writer.close()
        return self.tally.outcome(self.request.out, len(self.writer.skipped()))


def _by_model(extractions: Sequence[_Extraction]) -> list[_Extraction]:
    """Return them so that those of the same model follow each other."""
    first: dict[str, int] = {}
    for place, extraction in enumerate(extractions):
        first.setdefault(extraction.description.model_hash, place)
    return sorted(extractions, key=lambda each: first[each.description.model_hash])


def _describe_missing(
    unfinished: Sequence[_Extraction],
    extractions: Sequence[_Extraction],
    finished: Callable[[_Extraction], None],
    address: str | None,
    progress: Callable[[int, int], None] | None,
    say: Callable[[str], None] | None,
) -> None:
    # Only here, so that finished folders are found without waiting for Ray.
    from vgray.orchestration.extraction_pipeline import Missing, describe_images, join_cluster
    from vgray.orchestration.reading import Work

    missing = [
        Missing(
            Work(
                checkpoint=each.request.model.absolute(),
                model_hash=each.description.model_hash,
                settings=dict(each.request.settings),
                dtype=each.request.dtype,
                size_px=Recipe.from_dict(each.description.recipe).image_size,
                methods=each.methods,
            ),
            each.images,
            each.writer.missing,
        )
        for each in unfinished
    ]
    num_images = sum(each.tally.num_images for each in extractions)
    with contextlib.closing(describe_images(missing, join_cluster(address), say)) as blocks:
        for block in blocks:
            extraction = unfinished[block["request"][0].as_py()]
            is_new = not extraction.is_complete  # or these came twice, after the death of a worker
            extraction.take(block)
            if progress is not None:
                progress(sum(each.tally.num_done for each in extractions), num_images)
            if is_new and extraction.is_complete:
                finished(extraction)


def _reasons(block: pa.Table) -> dict[int, str]:
    """Return why rows of the part could not be read.

    Raises:
        UserError: because of the system.
        WorkerError: because of a bug.
    """
    unread = block.filter(pc.is_valid(block["reason"]))
    faults = unread.filter(unread["is_fault"])
    if faults.num_rows:
        first = faults.slice(0, 1).to_pylist()[0]
        raise WorkerError(first["reason"]) if first["is_bug"] else UserError(first["reason"])
    return dict(zip(unread["row"].to_pylist(), unread["reason"].to_pylist(), strict=True))


def _columns(
    block: pa.Table, method: QueryMethod, description: Description
) -> tuple[NDArray[np.integer], Described, NDArray[np.floating], NDArray[np.integer]]:
    """Return rows, descriptors, brightness and sizes of a block, as the writer takes them."""
    shape = (NUM_CROPS,) * (method == "five_crops") + (description.dimension,)
    descriptors = np.zeros((block.num_rows, *shape), description.dtype)
    for place, found in enumerate(block["descriptor"]):
        if content := found.as_buffer():
            descriptors[place] = np.frombuffer(content, description.dtype).reshape(shape)
    sizes_px = np.stack([block["height_px"].to_numpy(), block["width_px"].to_numpy()], axis=1)
    return block["row"].to_numpy(), descriptors, block["brightness"].to_numpy(), sizes_px


def _unreadable(path: str, reason: str) -> UserError:
    return UserError(
        f"{path}: cannot be read ({reason}); leave --strict out to skip it, or mend or remove it: "
        "then the data are others, and what is in --out by now needs another"
    )
