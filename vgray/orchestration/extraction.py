"""Extraction: the images of a data set described by a model, on Ray Data, into a folder.

What the folder has already is not described again; when nothing is missing, Ray is not started.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.orchestration.extraction_tally import Outcome, Tally
from vgray.places import SCHEMA, fingerprint, load_manifest
from vgray.places.views import QueryMethod
from vgray.provenance import versions
from vgray.recipe import Recipe
from vgray.retrieval.descriptors import (
    NUM_CROPS,
    SHARD_ROWS,
    Described,
    Description,
    DType,
    Shard,
    is_query_part,
    part_images,
    part_name,
)
from vgray.retrieval.writing import Writer

_ROLES = ("train", "database", "queries")


@dataclass(frozen=True)
class Request:
    """What is to be described, and how."""

    model: Path
    """The checkpoint; every node of the cluster must find it there, and the images too."""
    data: str
    splits: tuple[str, ...]
    out: Path
    query_method: QueryMethod = "resize"
    """How queries are taken; the database and all of split train have the recipe's image size."""
    dtype: DType = "float16"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the model's recipe for testing."""
    strict: bool = False
    """Whether one image that cannot be read is an error."""
    labelled: bool = True
    """False for images without positions."""
    shard_rows: int = SHARD_ROWS
    train_images: int | None = None
    """Of split train, at most so many images, evenly spaced; None for all."""


def extract(
    request: Request,
    *,
    address: str | None = None,
    command: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Describe the images that the folder does not have yet.

    Connects to Ray if something is left to do and this process is not connected; it stays so.
    Whatever ends an extraction early, Ctrl-C among it, finished shards are kept.

    Args:
        request: what is wanted.
        address: of the cluster; this machine unless given.
        command: the command line, for the record.
        progress: called with the number of images done and of all.

    Raises:
        UserError: the model, the data or the folder cannot be used, the disk is full, an image
            cannot be read for a reason that lies in the system, or any image if ``strict``.
    """
    started = perf_counter()
    manifest = load_images(request)
    description = replace(
        describe_request(request, manifest),
        versions=versions(),
        command=list(command),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    images = _parts(request, manifest)
    with Writer(request.out, description, images) as writer:
        if request.strict:
            for path, reason in writer.skipped():
                raise _unreadable(path, reason)
        tally = Tally(started, sum(table.num_rows for table in images.values()))
        if writer.missing:
            _describe_missing(request, images, writer, tally, address=address, progress=progress)
        writer.close()
        num_skipped = len(writer.skipped())
    return tally.outcome(request.out, num_skipped)


def load_images(request: Request) -> pa.Table:
    """Return the manifest of a request's data.

    Raises:
        UserError: there are no such images.
    """
    if request.labelled:
        return load_manifest(request.data)
    from vgray.places.unlabelled import load_unlabelled

    return load_unlabelled(request.data)


def describe_request(request: Request, manifest: pa.Table) -> Description:
    """Return what the folder of a request will be, without versions, command and time.

    Args:
        request: what is wanted.
        manifest: of its data.

    Raises:
        UserError: the model is missing, damaged, or cannot be used so; the data have no such split.
    """
    from vgray.models.checkpoint import RECIPE, model_hash, test_recipe
    from vgray.models.network import Network

    recipe = test_recipe(request.model, request.settings)
    network = Network(Recipe.from_file(request.model / RECIPE), load_weights=False)
    network.use(recipe)
    return Description(
        model=str(request.model),
        model_hash=model_hash(request.model, recipe),
        recipe=recipe.to_dict(),
        dimension=network.dimension,
        data=request.data,
        fingerprint=fingerprint(manifest),
        parts={part: table.num_rows for part, table in _parts(request, manifest).items()},
        query_method=request.query_method,
        dtype=request.dtype,
        labelled=request.labelled,
        shard_rows=request.shard_rows,
    )


def _parts(request: Request, manifest: pa.Table) -> dict[str, pa.Table]:
    """Return the images of each part that is wanted."""
    found = {}
    for split in request.splits:
        of_split = manifest.filter(pc.equal(manifest["split"], split))
        if not of_split.num_rows:
            known = sorted(pc.unique(manifest["split"]).to_pylist())
            raise UserError(
                f"{request.data}: no images in split {split!r}, only in {', '.join(known)}; give "
                "one of these"
            )
        if split == "train" and request.train_images is not None:
            of_split = _evenly_spaced(of_split, request.train_images)
        for role in _ROLES:
            table = part_images(of_split, split, role)
            if table.num_rows:
                found[part_name(split, role)] = table.select(SCHEMA.names)
    return found


def _evenly_spaced(images: pa.Table, number: int) -> pa.Table:
    if number >= images.num_rows:
        return images
    return images.take(np.arange(number) * images.num_rows // number)


def _describe_missing(
    request: Request,
    images: Mapping[str, pa.Table],
    writer: Writer,
    tally: Tally,
    *,
    address: str | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    # Only here, so that a finished folder is found without waiting for Ray.
    from vgray.orchestration.describing import Read
    from vgray.orchestration.extraction_pipeline import describe_images, join_cluster

    recipe = Recipe.from_dict(writer.description.recipe)
    methods = {part: _method(request, part) for part in images}
    missing = [_missing(images, shard) for shard in writer.missing]
    tally.expect(sum(map(len, missing)))
    blocks = describe_images(
        missing,
        max(_image_bytes(recipe.image_size, methods[part]) for part in methods),
        join_cluster(address),
        Read(recipe.image_size, methods),
        (request.model.absolute(), dict(request.settings), request.dtype),
    )
    with contextlib.closing(blocks):
        for block in blocks:
            part = block["part"][0].as_py()
            reasons = _reasons(block)
            if request.strict and reasons:
                row, reason = min(reasons.items())
                raise _unreadable(images[part]["path"][row].as_py(), reason)
            began = perf_counter()
            writer.add(part, *_columns(block, methods[part], writer.description), reasons)
            tally.count(block, perf_counter() - began)
            if progress is not None:
                progress(tally.num_done, tally.num_images)


def _missing(images: Mapping[str, pa.Table], shard: Shard) -> pa.Table:
    """Return part, row and path of the images of a shard."""
    number = shard.stop - shard.start
    return pa.table(
        {
            "part": [shard.part] * number,
            "row": np.arange(shard.start, shard.stop),
            "path": images[shard.part]["path"].slice(shard.start, number),
        }
    )


def _method(request: Request, part: str) -> QueryMethod:
    return request.query_method if is_query_part(part) else "resize"


def _image_bytes(size_px: tuple[int, int], method: QueryMethod) -> int:
    """Return how many bytes an image's pixels have, about: what sizes files have is not known."""
    short_px = min(size_px)
    pixels = {"five_crops": NUM_CROPS * short_px**2, "single_query": 2 * short_px**2}
    return 3 * (1_000_000 if method == "native_size" else pixels.get(method, math.prod(size_px)))


def _reasons(block: pa.Table) -> dict[int, str]:
    """Return why rows of the part could not be read.

    Raises:
        UserError: because of the system.
    """
    unread = block.filter(pc.is_valid(block["reason"]))
    faults = unread.filter(unread["is_fault"])
    if faults.num_rows:
        raise UserError(faults["reason"][0].as_py())
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
        f"{path}: cannot be read ({reason}); mend or remove it, or leave --strict out to skip it"
    )
