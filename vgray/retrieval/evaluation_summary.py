"""An evaluation as values: what ``recall.json`` says, and the rows of ``queries.parquet``.

The first holds the protocol, recall@N with intervals, curves of recall over the distance, slices
and comparisons; the second has a row for each model and query, from which other questions can be
answered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from vgray.provenance import versions
from vgray.retrieval.crops import Crops
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation import CURVE_M, Evaluation, compare
from vgray.retrieval.slices import Slicing

_DESCRIBING = (
    "path", "place_id", "east_m", "north_m", "utm_zone", "heading_deg", "taken_at", "source",
    "brightness", "height_px", "width_px",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluated:
    """A model and how it did."""

    name: str
    descriptors: Descriptors
    dimension: int
    """Of what was searched: after a PCA, if there was one."""
    pca: Mapping[str, Any] | None
    """What the PCA is and was fitted on."""
    evaluation: Evaluation


def summarise(
    models: Sequence[Evaluated],
    split: str,
    *,
    recall_at: Sequence[int],
    distance_m: float,
    slicings: Sequence[Slicing] = (),
    crops: Crops = "mean",
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what ``recall.json`` says, as JSON values.

    Args:
        models: all of the same queries; the first is what the others are compared with.
        split: of the data.
        recall_at: the values of N.
        distance_m: within which an image is a positive.
        slicings: of the queries.
        crops: how queries in five crops were ranked.
        command: the command line.
    """
    first = models[0]
    description, evaluation = first.descriptors.description, first.evaluation
    num_given = sum(description.parts[f"{split}-{role}"] for role in ("database", "queries"))
    return {
        "format": 1,
        "data": {
            "uri": description.data,
            "fingerprint": description.fingerprint,
            "split": split,
            "num_database": evaluation.num_database,
            "num_queries": evaluation.num_queries,
            "num_without_positive": evaluation.ranking.num_without_positive(distance_m),
            "num_skipped": num_given - evaluation.num_database - evaluation.num_queries,
        },
        "distance_m": distance_m,
        "recall_at": list(recall_at),
        "num_ranked": evaluation.ranking.ranked.shape[1],
        "models": [_model(each, recall_at, distance_m, slicings, crops) for each in models],
        "slicings": [{"by": slicing.by, "how": slicing.how} for slicing in slicings],
        "comparisons": [
            _comparison(each, first, n, distance_m) for each in models[1:] for n in recall_at
        ],
        "versions": versions(),
        "command": list(command),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def query_table(
    models: Sequence[Evaluated], distance_m: float, slicings: Sequence[Slicing] = ()
) -> pa.Table:
    """Return the rows of ``queries.parquet``: those of the first model, then those of the next.

    ``rank`` counts from 1 and is null where no positive is among the ranked images; ``nearest_m``
    is the distance to the closest database image of all and ``first_m`` that to the image ranked
    first, whose path is ``first_path``. A slicing is a column, such as ``slice_brightness``.
    """
    tables = []
    for each in models:
        evaluation = each.evaluation
        table = evaluation.queries.select(_DESCRIBING)
        ranks = evaluation.ranking.ranks(distance_m)
        columns = {
            "nearest_m": pa.array(evaluation.ranking.nearest_m),
            "rank": pa.array(ranks + 1, pa.int64(), mask=ranks < 0),
            "first_path": pa.array(evaluation.first_paths, pa.string()),
            "first_m": pa.array(evaluation.ranking.away_m[:, 0]),
        }
        for slicing in slicings:
            columns[f"slice_{slicing.by}"] = pa.array(slicing.label_of(), pa.string())
        for name, column in columns.items():
            table = table.append_column(name, column)
        tables.append(with_model(table, each.name))
    return pa.concat_tables(tables)


def with_model(table: pa.Table, name: str) -> pa.Table:
    """Return a table with the name of the model it is of as the first column."""
    return table.add_column(0, "model", pa.array([name] * table.num_rows, pa.string()))


def _model(
    each: Evaluated,
    recall_at: Sequence[int],
    distance_m: float,
    slicings: Sequence[Slicing],
    crops: Crops,
) -> dict[str, Any]:
    description, evaluation = each.descriptors.description, each.evaluation
    curve = np.round(evaluation.ranking.curve(recall_at, CURVE_M), 4).tolist()
    return {
        "name": each.name,
        "descriptors": str(each.descriptors.folder),
        "model": description.model,
        "model_hash": description.model_hash,
        "dimension": each.dimension,
        "pca": dict(each.pca) if each.pca else None,
        "image_size_px": list(description.recipe["image_size"]),
        "query_method": description.query_method,
        "crops": crops if description.query_method == "five_crops" else None,
        "dtype": description.dtype,
        "extractions": [asdict(extraction) for extraction in description.extractions],
        "recall": [asdict(evaluation.recall(n, distance_m)) for n in recall_at],
        "curve": {
            "distances_m": list(CURVE_M),
            "recall": {str(n): row for n, row in zip(recall_at, curve, strict=True)},
        },
        "slices": [
            {
                "by": slicing.by,
                "slice": label,
                "num_queries": int(slicing.of(label).sum()),
                "recall": [
                    asdict(evaluation.recall(n, distance_m, slicing.of(label))) for n in recall_at
                ],
            }
            for slicing in slicings
            for label in slicing.labels
        ],
    }


def _comparison(each: Evaluated, first: Evaluated, n: int, distance_m: float) -> dict[str, Any]:
    found = compare(each.evaluation, first.evaluation, n, distance_m)
    return {
        "model": each.name,
        "than": first.name,
        "n": n,
        "points": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "certain": found.is_certain,
    }
