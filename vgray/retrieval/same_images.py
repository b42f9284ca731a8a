"""Whether descriptors are of the same images, without which models cannot be compared or joined."""

from collections.abc import Sequence
from os.path import commonprefix

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vgray.errors import UserError
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.sources import Source

_COLUMNS = ("size_bytes", "east_m", "north_m")


def require_same_images(sources: Sequence[Source], split: str, role: str) -> None:
    """Refuse sources whose images of a part are not the same, in the same order.

    The same are those of equal path below the part's common folder, file size and position. Where
    the data lay does not matter, so that descriptors of two machines can be compared, nor does what
    else belongs to the data sets.

    Raises:
        UserError: they differ; the message says which, and in what.
    """
    if len(sources) < 2:
        return
    first, *others = sources
    images = _images(first, split, role)
    for other in others:
        if difference := _difference((first, images), (other, _images(other, split, role))):
            raise UserError(
                f"{name_of(first)} and {name_of(other)} are not of the same {split} {role}: "
                f"{difference}"
            )


def name_of(source: Source) -> str:
    """Return what to call a source in a message: its folder, where it is one."""
    if isinstance(source, Descriptors):
        return str(source.folder)
    return f"{type(source).__name__} of {source.dimension} dimensions"


def _images(source: Source, split: str, role: str) -> pa.Table:
    return source.images(split, role).select(["path", *_COLUMNS])


def _difference(one: tuple[Source, pa.Table], other: tuple[Source, pa.Table]) -> str | None:
    """Return in what the images differ and what to do about it; None if they do not."""
    (source, images), (other_source, others) = one, other
    paths, other_paths = (_below(table["path"]) for table in (images, others))
    same_names = paths.equals(other_paths)
    if same_names and all(
        np.array_equal(images[name].to_numpy(), others[name].to_numpy(), equal_nan=True)
        for name in _COLUMNS
    ):
        return None
    if isinstance(source, Descriptors) and isinstance(other_source, Descriptors):
        descriptions = [each.description for each in (source, other_source)]
        if len({each.fingerprint for each in descriptions}) > 1:
            data, other_data = (f"{each.data} ({each.fingerprint[:8]})" for each in descriptions)
            return (
                f"their data sets are {data} and {other_data}; extract both from one, or evaluate "
                "them one at a time"
            )
    if same_names:
        return "files of one name differ in size or position; extract both from one data set"
    has, other_has = (set(each.to_pylist()) for each in (paths, other_paths))
    if missing := other_has - has:
        lacking, having = name_of(source), name_of(other_source)
    else:
        missing, lacking, having = has - other_has, name_of(other_source), name_of(source)
    return (
        f"{lacking} lacks {len(missing):,} that {having} has, such as {min(missing)}; if "
        "skipped.csv there says that they could not be read, make them readable and extract anew"
    )


def _below(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    if not len(paths):
        return paths
    # The paths are in order, so what the first and the last begin with all do. They may be
    # addresses, whose "//" commonpath would shorten.
    shared = commonprefix([paths[0].as_py(), paths[-1].as_py()])  # noqa: RUF071
    return pc.utf8_slice_codeunits(paths, shared.rfind("/") + 1)
