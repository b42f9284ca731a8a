"""Folders of descriptors: what was written is read, and what is damaged is said."""

import json

import numpy as np
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval.description import FILE
from vgray.retrieval.descriptors import Descriptors


@pytest.fixture
def parts() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {"test-database": rng.normal(size=(10, 8)), "test-queries": rng.normal(size=(3, 5, 8))}
    return {part: x / np.linalg.norm(x, axis=-1, keepdims=True) for part, x in made.items()}


@pytest.fixture
def written(tmp_path, parts):
    positions = {part: np.arange(2.0 * len(x)).reshape(-1, 2) for part, x in parts.items()}
    return write_descriptors(tmp_path / "made", parts, positions)


def test_what_was_written_is_read(written, parts) -> None:
    assert written.splits() == ["test"]
    for role in ("database", "queries"):
        np.testing.assert_allclose(written.load("test", role), parts[f"test-{role}"], atol=1e-6)
    images = written.images("test", "queries")
    assert images["path"].to_pylist() == [f"/city/test/queries/{row:05d}.jpg" for row in range(3)]
    assert images["north_m"].to_pylist() == [1, 3, 5]


def test_blocks_begin_at_the_same_images_whatever_the_shards(written, parts) -> None:
    blocks = list(written.blocks("test", "database", 3))
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    np.testing.assert_allclose(np.concatenate(blocks), parts["test-database"], atol=1e-6)


def test_half_precision_stays_half(tmp_path, parts) -> None:
    positions = {part: np.zeros((len(x), 2)) for part, x in parts.items()}
    half = write_descriptors(tmp_path / "half", parts, positions, dtype="float16")
    assert next(half.blocks("test", "database", 4)).dtype == np.float16
    assert half.load("test", "database").dtype == np.float32
    np.testing.assert_allclose(half.load("test", "database"), parts["test-database"], atol=1e-3)


def test_a_part_that_is_not_there_is_named(written) -> None:
    with pytest.raises(UserError, match=r"no database of split val, only test-database.*--split"):
        written.load("val", "database")


def test_a_missing_shard_is_an_extraction_to_go_on_with(written) -> None:
    next(written.folder.glob("test-database-00001*")).unlink()
    with pytest.raises(UserError, match=r"1 of 3 shards of test-database are missing.*again"):
        written.images("test", "database")


@pytest.mark.parametrize("harm", ["changed", "cut short", "emptied"])
def test_a_damaged_shard_is_named(written, harm) -> None:
    file = next(written.folder.glob("test-database-00001*"))
    content = bytearray(file.read_bytes())
    if harm == "changed":
        # A bit of a descriptor, which only a checksum can tell from another descriptor.
        first = written.load("test", "database")[4, :4].tobytes()
        assert content.count(first) == 1
        content[content.find(first) + 1] ^= 1
    file.write_bytes({"changed": content, "cut short": content[:-9], "emptied": b""}[harm])
    message = f"{file.name}: is damaged; delete this file.*extract.py or jobs/report.py"
    with pytest.raises(UserError, match=message):
        written.load("test", "database")


def test_a_shard_of_another_model_is_refused(written, tmp_path, parts) -> None:
    positions = {part: np.zeros((len(x), 2)) for part, x in parts.items()}
    other = write_descriptors(tmp_path / "other", parts, positions, model_hash="c" * 64)
    name = next(other.folder.glob("test-database-00001*")).name
    (written.folder / name).write_bytes((other.folder / name).read_bytes())
    with pytest.raises(UserError, match="another model or data"):
        written.load("test", "database")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": 1}'])
def test_a_damaged_description_is_said(written, text) -> None:
    (written.folder / FILE).write_text(text)
    with pytest.raises(UserError, match=f"{FILE} is damaged"):
        Descriptors(written.folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parts", [1]), ("parts", {}), ("parts", {"test": 3}), ("parts", {"test-queries": -1}),
        ("recipe", {}), ("recipe", {"evaluation": {"distance_m": 25.0}}), ("recipe", [1]),
        ("dimension", "8"), ("dimension", 0), ("shard_rows", 0), ("dtype", "int8"),
        ("model", None), ("extractions", 3),
    ],
)  # fmt: skip
def test_a_description_of_something_else_is_said(written, name, value) -> None:
    values = json.loads((written.folder / FILE).read_text())
    (written.folder / FILE).write_text(json.dumps({**values, name: value}))
    with pytest.raises(UserError, match=f"{FILE} is damaged"):
        Descriptors(written.folder)


def test_a_description_of_another_version(written) -> None:
    values = json.loads((written.folder / FILE).read_text())
    later = {
        name: value for name, value in values.items() if name not in ("labelled", "extractions")
    }
    (written.folder / FILE).write_text(json.dumps({**later, "new": 1}))
    assert len(Descriptors(written.folder).load("test", "database")) == 10
    del later["decoder_version"]
    (written.folder / FILE).write_text(json.dumps(later))
    with pytest.raises(UserError, match="no decoder_version, so another version of vgray wrote it"):
        Descriptors(written.folder)


def test_a_folder_without_descriptors_is_said(tmp_path) -> None:
    with pytest.raises(UserError, match=r"no descriptors here.*jobs/extract.py"):
        Descriptors(tmp_path)
