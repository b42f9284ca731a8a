"""Which database images show the same place as a query: all within a distance."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from vgray.errors import UserError


def positives_within(
    queries_m: ArrayLike, database_m: ArrayLike, distance_m: float
) -> list[NDArray[np.int64]]:
    """Return, for each query, the rows of the database within ``distance_m`` metres of it.

    ``queries_m`` (Q, 2) and ``database_m`` (D, 2) are east and north in one UTM zone. The rows
    are ascending and the distance is inclusive, as in the published evaluations; nothing is
    added to it. Either side may be empty. Raises ValueError for other shapes, for positions that
    are not finite, and for a distance that is negative or not finite.
    """
    queries, database = _positions(queries_m, "queries_m"), _positions(database_m, "database_m")
    if not (np.isfinite(distance_m) and distance_m >= 0):
        raise ValueError(f"distance_m must be finite and not negative: {distance_m}")
    if len(database) == 0:
        return [np.empty(0, np.int64) for _ in queries]
    if len(queries) == 0:
        return []
    # The tree only proposes: numerical libraries differ in the last bit of a distance, so the
    # candidates are a little too many and one formula decides. (Northings are below 1e7 m.)
    found: Any = cKDTree(database).query_ball_point(queries, distance_m * (1 + 1e-9) + 1e-6)
    counts = np.fromiter(map(len, found), np.int64, len(queries))
    rows = np.fromiter((row for rows in found for row in rows), np.int64, int(counts.sum()))
    owner = np.repeat(np.arange(len(queries)), counts)
    offsets = database[rows] - queries[owner]
    near = np.sqrt((offsets**2).sum(axis=1)) <= distance_m
    rows, owner = rows[near], owner[near]
    order = np.lexsort((rows, owner))
    return np.split(rows[order], np.searchsorted(owner[order], np.arange(1, len(queries))))


def require_one_zone(table: pa.Table, split: str) -> None:
    """Raise UserError if the images of a split lie in more than one UTM zone.

    Metres of two zones cannot be compared. An unknown zone ("") is taken for the others', and a
    zone without its hemisphere ("10") for the one with it ("10N").
    """
    inside = table.filter(pc.equal(table["split"], split))
    found = set(pc.unique(inside["utm_zone"]).to_pylist()) - {""}
    zones = sorted(zone for zone in found if not {f"{zone}N", f"{zone}S"} & found)
    if len(zones) > 1:
        raise UserError(
            f"the {split} split lies in {len(zones)} UTM zones ({', '.join(zones[:6])}), between "
            "which distances are meaningless; make one dataset per zone"
        )


def may_be_one_zone(one: str, other: str) -> bool:
    """Return whether metres of two UTM zones may be compared, by the rule of the split's zones."""
    return "" in (one, other) or one == other or other in (f"{one}N", f"{one}S", one.rstrip("NS"))


def _positions(values: ArrayLike, name: str) -> NDArray[np.float64]:
    positions = np.asarray(values, np.float64)
    if positions.size == 0 and positions.ndim <= 2:
        positions = positions.reshape(0, 2)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise ValueError(f"{name} must be of shape (N, 2): {positions.shape}")
    if not np.isfinite(positions).all():
        raise ValueError(
            f"{name} must be finite: row {int(np.argmin(np.isfinite(positions).all(1)))}"
        )
    return positions
