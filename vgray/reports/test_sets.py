"""What a test set is: how many images of what size, and how many queries can be found at all."""

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places import fingerprint, load_manifest, positives_within, require_one_zone
from vgray.places.manifest import SPLITS
from vgray.reports.results import TestSet
from vgray.retrieval.description import part_name
from vgray.retrieval.descriptors import Descriptors


def describe_test_set(
    descriptors: Descriptors,
    split: str,
    *,
    name: str,
    distance_m: float,
    chose_models: bool,
    trained_models: bool = False,
) -> TestSet:
    """Return what the images are that a model described.

    Counts and size are those of the whole data set while it can be read and has not changed, and
    of the described images otherwise.

    Args:
        descriptors: of any model, with the queries and the database of the split.
        split: that the models are scored on.
        name: of the data set, for people.
        distance_m: within how many metres an image is a positive.
        chose_models: whether anything was chosen on these images.
        trained_models: whether a model was trained on some of them.

    Raises:
        UserError: the split was not described, its shards are damaged, or it lies in more than one
            UTM zone.
    """
    description = descriptors.description
    queries, database = (descriptors.images(split, role) for role in ("queries", "database"))
    images = pa.concat_tables([queries, database])
    require_one_zone(images, split)
    positives = positives_within(_positions_m(queries), _positions_m(database), distance_m)
    num_found = sum(len(rows) > 0 for rows in positives)
    asked = sum(description.parts[part_name(split, role)] for role in ("queries", "database"))
    manifest = _manifest(descriptors)
    return TestSet(
        name=name,
        uri=description.data,
        split=split,
        fingerprint=description.fingerprint,
        counts=_counts(descriptors) if manifest is None else _manifest_counts(manifest),
        gigabytes=_gigabytes(_described(descriptors) if manifest is None else manifest),
        native_sizes_px=_native_sizes(images),
        num_database=database.num_rows,
        num_queries=queries.num_rows,
        num_without_positive=queries.num_rows - num_found,
        num_skipped=asked - images.num_rows,
        distance_m=distance_m,
        chose_models=chose_models,
        trained_models=trained_models,
        whole=manifest is not None,
        query_method=description.query_method,
        dtype=description.dtype,
    )


def _manifest(descriptors: Descriptors) -> pa.Table | None:
    """Return the manifest of the data that was described, if it is still there."""
    try:
        manifest = load_manifest(descriptors.description.data)
    except (UserError, OSError, pa.ArrowException):
        return None
    return manifest if fingerprint(manifest) == descriptors.description.fingerprint else None


def _manifest_counts(manifest: pa.Table) -> dict[str, dict[str, int]]:
    pairs = zip(manifest["split"].to_pylist(), manifest["role"].to_pylist(), strict=True)
    return _nested(Counter(pairs))


def _counts(descriptors: Descriptors) -> dict[str, dict[str, int]]:
    parts = descriptors.description.parts
    return _nested({_split_and_role(part): count for part, count in parts.items()})


def _nested(counts: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    return {
        split: {role: count for (of, role), count in sorted(counts.items()) if of == split}
        for split in SPLITS
        if any(of == split for of, _ in counts)
    }


def _described(descriptors: Descriptors) -> pa.Table:
    parts = descriptors.description.parts
    return pa.concat_tables([descriptors.images(*_split_and_role(part)) for part in parts])


def _split_and_role(part: str) -> tuple[str, str]:
    split, _, role = part.partition("-")
    return split, role


def _gigabytes(images: pa.Table) -> float:
    return float(np.maximum(images["size_bytes"].to_numpy(), 0).sum() / 1e9)


def _native_sizes(images: pa.Table) -> dict[str, int]:
    sizes = zip(images["height_px"].to_pylist(), images["width_px"].to_pylist(), strict=True)
    return dict(Counter(f"{height} x {width}" for height, width in sizes).most_common())


def _positions_m(images: pa.Table) -> NDArray[np.float64]:
    """Return (N, 2) the known positions, in metres."""
    positions: NDArray[np.float64] = np.column_stack(
        [images["east_m"].to_numpy(), images["north_m"].to_numpy()]
    )
    return np.compress(np.isfinite(positions).all(axis=1), positions, axis=0)
