"""What was retrieved for each query, as a table that a page can show."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vgray.reports.methods import Ranked
from vgray.reports.queries import query_table
from vgray.reports.results import Kind, Method
from vgray.retrieval.ranking import Ranking

QUERIES = pa.table({"path": ["q0", "q1", "q2"], "brightness": pa.array([9.0, 120.0, 250.0], "f4")})
DATABASE = pa.table({"path": [f"d{row}" for row in range(7)]})


def _ranked(name: str, kind: Kind, seeds: list[int], *rankings: Ranking) -> Ranked:
    method = Method(name, kind, 8, "", [(8, 8)] * len(seeds), seeds, None, "", [])
    return Ranked(method, {"city": rankings})


def _ranking(first: list[int]) -> Ranking:
    """Return 6 images of each query, of which the one at rank ``first`` is 25 m away; -1: none."""
    ranked = np.array([[6, 5, 4, 3, 2, 1], [0, 1, 2, 3, 4, 5], [3, -1, -1, -1, -1, -1]])
    away_m = np.where(ranked < 0, np.inf, 100.0 + ranked)
    for query, at in enumerate(first):
        if at >= 0:
            away_m[query, at] = 25.0
    nearest_m = np.array([3.0, 25.0, np.inf])
    return Ranking(ranked, away_m, nearest_m)


def test_each_method_and_seed_has_a_row_for_each_query(tmp_path) -> None:
    methods = [
        _ranked("A x2", "single", [5, 6], _ranking([0, 5, -1]), _ranking([2, -1, -1])),
        _ranked("both", "ensemble", [5, 1], _ranking([1, 0, 0])),
    ]
    table = query_table(methods, "city", QUERIES, DATABASE, 25.0)
    pq.write_table(table, tmp_path / "city.parquet")
    rows = pq.read_table(tmp_path / "city.parquet").to_pylist()
    assert [(row["method"], row["seed"]) for row in rows] == [
        *[("A x2", 5)] * 3, *[("A x2", 6)] * 3, *[("both", None)] * 3,
    ]  # fmt: skip
    assert [row["rank"] for row in rows] == [1, 6, None, 3, None, None, 2, 1, 1]
    assert rows[0] == {
        "method": "A x2", "seed": 5, "path": "q0", "rank": 1, "nearest_m": 3.0,
        "retrieved": ["d6", "d5", "d4", "d3", "d2"],
        "retrieved_m": [25.0, 105.0, 104.0, 103.0, 102.0], "brightness": 9.0,
    }  # fmt: skip
    assert (rows[2]["nearest_m"], rows[2]["retrieved"]) == (None, ["d3"])
    # Nearer by a hair it is no positive.
    nearer = query_table(methods, "city", QUERIES, DATABASE, 24.9)
    assert nearer["rank"].to_pylist() == [None] * 9
