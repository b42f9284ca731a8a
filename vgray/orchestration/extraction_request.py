"""What an extraction is asked for: a model, images, and how they are to be described."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vgray.errors import UserError
from vgray.places import SCHEMA, fingerprint, load_manifest
from vgray.places.images import DECODER_VERSION
from vgray.places.manifest import left_out_images
from vgray.places.views import QueryMethod
from vgray.provenance import versions
from vgray.recipe import Recipe
from vgray.retrieval.description import (
    SHARD_ROWS,
    Description,
    DType,
    Extraction,
    part_images,
    part_name,
)

_ROLES = ("train", "database", "queries")


@dataclass(frozen=True)
class Request:
    """What is to be described, and how."""

    model: Path
    """The checkpoint; every node of the cluster must find it there, and the images too."""
    data: str
    splits: tuple[str, ...]
    out: Path
    """A folder of this machine; made absolute."""
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

    def __post_init__(self) -> None:
        """Settle where ``out`` is.

        Raises:
            UserError: it is an address, such as ``s3://bucket/folder``.
        """
        if re.match(r"[A-Za-z][\w+.-]+:/", str(self.out)):  # a Path keeps one slash of two
            raise UserError(
                f"--out {self.out}: descriptors are written to a folder of this machine, not to an "
                "address; give a path"
            )
        object.__setattr__(self, "out", self.out.expanduser().absolute())


@dataclass(frozen=True)
class Asked:
    """A request and what it comes to."""

    request: Request
    images: Mapping[str, pa.Table]
    """Each part's rows of the manifest; requests of the same images have the same mapping."""
    description: Description
    left_out: Sequence[tuple[str, str]]
    """Path and reason of the data's images that are not in the manifest."""


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
    from vgray.models.checkpoint import RECIPE, changed_recipe, model_hash
    from vgray.models.network import Network

    recipe = changed_recipe(request.model, request.settings)
    hash_ = model_hash(request.model, recipe)  # reads the weights: once
    network = Network(Recipe.from_file(request.model / RECIPE), load_weights=False)
    network.use(recipe)
    return Description(
        model=str(request.model),
        model_hash=hash_,
        recipe=recipe.to_dict(),
        dimension=network.dimension,
        data=request.data,
        fingerprint=fingerprint(manifest),
        parts={part: table.num_rows for part, table in images_of(request, manifest).items()},
        query_method=request.query_method,
        dtype=request.dtype,
        decoder_version=DECODER_VERSION,
        labelled=request.labelled,
        shard_rows=request.shard_rows,
    )


def describe_requests(
    requests: Sequence[Request], loaded: Mapping[str, pa.Table], command: Sequence[str]
) -> list[Asked]:
    """Return what each request comes to; ``loaded`` has the manifests of some data.

    Raises:
        UserError: as for :func:`describe_request`, or there are no such data.
    """
    created = datetime.now().astimezone().isoformat(timespec="seconds")
    record = Extraction(list(command), versions(), created)
    manifests: dict[object, pa.Table] = {}
    images: dict[object, dict[str, pa.Table]] = {}
    asked = []
    for request in requests:
        data = request.data, request.labelled
        if data not in manifests:
            known = loaded.get(request.data)
            manifests[data] = load_images(request) if known is None else known
        description = replace(describe_request(request, manifests[data]), extractions=(record,))
        wanted = *data, request.splits, request.train_images
        if wanted not in images:
            images[wanted] = images_of(request, manifests[data])
        left_out = left_out_images(manifests[data])
        asked.append(Asked(request, images[wanted], description, left_out))
    return asked


def images_of(request: Request, manifest: pa.Table) -> dict[str, pa.Table]:
    """Return the images of each part that is wanted.

    Raises:
        UserError: the data have no such split.
    """
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
