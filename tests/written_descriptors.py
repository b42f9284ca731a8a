"""Folders of descriptors made from arrays, for tests that score what no network has described."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.recipe import Recipe
from vgray.retrieval.description import FILE, Description, Extraction
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.shards import IMAGE_SCHEMA, shards, write_table


def write_descriptors(
    folder: Path,
    parts: Mapping[str, NDArray[np.floating]],
    positions_m: Mapping[str, NDArray[np.floating]],
    *,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    model_hash: str = "a" * 64,
    fingerprint: str = "b" * 64,
    dtype: str = "float32",
    shard_rows: int = 4,
    **more: Any,
) -> Descriptors:
    """Write a complete folder.

    Args:
        folder: a new one.
        parts: ``test-queries`` -> (N, D) or (N, 5, D); made L2-normalised here.
        positions_m: east and north (N, 2) of each part's images, in metres.
        columns: of each part, manifest columns with other values than the made-up ones.
        more: further fields of the description.
    """
    folder.mkdir(parents=True)
    dimension = next(iter(parts.values())).shape[-1]
    description = Description(
        **{
            "model": "runs/made/best", "model_hash": model_hash, "recipe": Recipe().to_dict(),
            "dimension": dimension, "data": "city", "fingerprint": fingerprint,
            "parts": {part: len(described) for part, described in parts.items()},
            "query_method": "resize", "dtype": dtype, "decoder_version": 1,
            "shard_rows": shard_rows,
            "extractions": (Extraction(["made"], {}, "2024-01-01T00:00:00+00:00"),),
        }
        | more
    )  # fmt: skip
    for part, described in parts.items():
        images = _images(part, positions_m[part], (columns or {}).get(part, {}))
        unit = described / np.linalg.norm(described, axis=-1, keepdims=True)
        for shard in shards(folder, part, len(described), shard_rows):
            rows = slice(shard.start, shard.stop)
            kept = images.slice(shard.start, shard.stop - shard.start)
            write_table(shard, description, kept, unit[rows], [], shard.file)
    (folder / FILE).write_text(description.to_json())
    return Descriptors(folder)


def _images(part: str, positions_m: NDArray[np.floating], columns: Mapping[str, Any]) -> pa.Table:
    split, _, role = part.partition("-")
    number = len(positions_m)
    values: dict[str, Any] = {
        "path": [f"/city/{split}/{role}/{row:05d}.jpg" for row in range(number)],
        "split": [split] * number, "role": [role] * number, "place_id": [""] * number,
        "east_m": positions_m[:, 0], "north_m": positions_m[:, 1], "utm_zone": ["10N"] * number,
        "lat": [None] * number, "lon": [None] * number, "heading_deg": [None] * number,
        "taken_at": [None] * number, "source": ["city"] * number, "size_bytes": [1000] * number,
        "modified_ns": [0] * number, "brightness": [100.0] * number, "height_px": [48] * number,
        "width_px": [64] * number,
    }  # fmt: skip
    return pa.table({**values, **columns}, schema=IMAGE_SCHEMA)
