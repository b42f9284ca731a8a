"""What a report says of a test set, from the descriptors and from the data set itself."""

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.places import fingerprint, load_manifest, positives_within
from vgray.reports.test_sets import describe_test_set
from vgray.retrieval.description import FILE
from vgray.retrieval.descriptors import Descriptors

POSITIONS = {
    "test-database": np.array([[0, 0], [100, 0], [200, 0], [np.nan, 0]], float),
    "test-queries": np.array([[25, 0], [50, 0], [200, 25.1]], float),
    "val-queries": np.zeros((2, 2)),
}
SIZES = {
    "test-database": {"height_px": [48, 48, 64, 48], "size_bytes": [10**6, 10**6, 10**6, -1]},
    "test-queries": {"height_px": [64, 32, 48], "size_bytes": [2 * 10**6] * 3},
}


def described(folder: Path, **more: object) -> Descriptors:
    parts = {part: np.ones((len(positions), 4)) for part, positions in POSITIONS.items()}
    return write_descriptors(folder, parts, POSITIONS, columns=SIZES, **more)


def test_without_the_data_set_what_was_described_is_counted(tmp_path: Path) -> None:
    descriptors = described(tmp_path / "made", data=str(tmp_path / "gone"), dtype="float16")
    test = describe_test_set(descriptors, "test", name="ours", distance_m=25, chose_models=True)
    assert (test.name, test.split, test.distance_m, test.chose_models) == ("ours", "test", 25, True)
    assert not test.whole
    assert test.counts == {"val": {"queries": 2}, "test": {"database": 4, "queries": 3}}
    assert test.gigabytes == pytest.approx(9.002e-3)
    assert test.native_sizes_px == {"48 x 64": 4, "64 x 64": 2, "32 x 64": 1}
    assert next(iter(test.native_sizes_px)) == "48 x 64"
    assert (test.num_database, test.num_queries, test.num_skipped) == (4, 3, 0)
    # The first is at exactly 25 m, the others farther away.
    assert test.num_without_positive == 2
    assert (test.query_method, test.dtype) == ("resize", "float16")
    assert (test.uri, test.fingerprint) == (str(tmp_path / "gone"), "b" * 64)


def test_what_could_not_be_read_is_counted(tmp_path: Path) -> None:
    folder = described(tmp_path / "made", shard_rows=7).folder
    values = json.loads((folder / FILE).read_text())
    values["parts"] |= {"test-database": 7, "test-queries": 7}
    # Of each seven images, the shards hold four and three.
    (folder / FILE).write_text(json.dumps(values))
    descriptors = Descriptors(folder)
    test = describe_test_set(descriptors, "test", name="ours", distance_m=25, chose_models=False)
    assert (test.num_database, test.num_queries, test.num_skipped) == (4, 3, 7)


def test_counts_are_those_of_the_whole_data_set(tiny_city: Path, tmp_path: Path) -> None:
    manifest = load_manifest(tiny_city)
    parts, positions, columns = {}, {}, {}
    for role in ("database", "queries"):
        rows = manifest.filter(
            pc.and_(pc.equal(manifest["split"], "val"), pc.equal(manifest["role"], role))
        )
        assert rows.num_rows
        parts[f"val-{role}"] = np.ones((rows.num_rows, 4))
        positions[f"val-{role}"] = np.column_stack([rows["east_m"], rows["north_m"]])
        columns[f"val-{role}"] = {"path": rows["path"]}
    made = {
        state: write_descriptors(
            tmp_path / state, parts, positions, columns=columns, data=str(tiny_city),
            fingerprint=fingerprint(manifest) if state == "same" else "0" * 64,
        )
        for state in ("same", "changed")
    }  # fmt: skip
    same, changed = (
        describe_test_set(made[state], "val", name="city", distance_m=25, chose_models=True)
        for state in ("same", "changed")
    )
    assert same.whole
    assert sum(sum(roles.values()) for roles in same.counts.values()) == manifest.num_rows
    assert next(iter(same.counts)) == "train"
    assert same.gigabytes == pytest.approx(sum(manifest["size_bytes"].to_pylist()) / 1e9)
    expected = positives_within(positions["val-queries"], positions["val-database"], 25)
    assert same.num_without_positive == sum(not len(rows) for rows in expected)
    # The data set has changed since its images were described.
    assert not changed.whole
    assert list(changed.counts) == ["val"]
    assert changed.counts["val"] == same.counts["val"]


def test_a_split_that_was_not_described_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no database of split val"):
        describe_test_set(
            described(tmp_path / "made"), "val", name="x", distance_m=25, chose_models=False
        )
