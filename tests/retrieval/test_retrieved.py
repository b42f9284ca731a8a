"""Images retrieved without positions: which, and how similar they are."""

from pathlib import Path

import numpy as np
import pytest
from written_descriptors import write_descriptors

from vgray.retrieval.retrieved import retrieve


@pytest.mark.parametrize("crops", ["mean", "nearest_crop", "maj_voting"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_retrieved_images_have_their_similarity(tmp_path: Path, crops: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    parts = {"test-database": rng.normal(size=(9, 6)), "test-queries": rng.normal(size=(4, 5, 6))}
    if crops == "mean":
        parts["test-queries"] = parts["test-queries"][:, 0]
    at_m = {part: np.zeros((len(each), 2)) for part, each in parts.items()}
    descriptors = write_descriptors(tmp_path / "a", parts, at_m, dtype=dtype)
    table = retrieve(descriptors, "test", 3, crops=crops).table
    assert table["rank"].to_pylist() == [1, 2, 3] * 4
    row_of = {
        role: {
            path: row
            for row, path in enumerate(descriptors.images("test", role)["path"].to_pylist())
        }
        for role in ("queries", "database")
    }
    unit = {
        part: each / np.linalg.norm(each, axis=-1, keepdims=True) for part, each in parts.items()
    }
    for line in table.to_pylist():
        query = unit["test-queries"][row_of["queries"][line["query"]]].reshape(-1, 6)
        image = unit["test-database"][row_of["database"][line["path"]]]
        assert line["similarity"] == pytest.approx((query @ image).max(), abs=2e-3)
    if crops != "maj_voting":
        similarity = np.array(table["similarity"].to_pylist()).reshape(4, 3)
        assert (np.diff(similarity, axis=1) <= 1e-3).all()
