"""Folders of descriptors written in any order, interrupted, filled up and gone on with."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.places import SCHEMA
from vgray.retrieval import writable
from vgray.retrieval.description import FILE, Description, Extraction, read_description
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.writing import SKIPPED, TEMPORARY, Writer

PART, ROWS, DIMENSION = "test-database", 10, 8


class Made:
    """A folder to be, its images and their descriptors."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        model = write_descriptors(
            folder / "like",
            {PART: rng.normal(size=(ROWS, DIMENSION)), "test-queries": rng.normal(size=(3, 8))},
            {PART: np.zeros((ROWS, 2)), "test-queries": np.zeros((3, 2))},
        )
        self.folder = folder / "out"
        self.described = {role: model.load("test", role) for role in ("database", "queries")}
        self.all = model.description
        self.description = replace(self.all, parts={PART: ROWS})
        self.images = {
            f"test-{role}": model.images("test", role).select(SCHEMA.names)
            for role in ("database", "queries")
        }

    def writer(self, **changed: object) -> Writer:
        description: Description = replace(self.description, **changed)
        return Writer(self.folder, description, self.images)

    def add(self, writer: Writer, rows: list[int], reasons: dict[int, str] | None = None) -> None:
        number = len(rows)
        writer.add(
            PART, np.array(rows), self.described["database"][rows], np.full(number, 90.0),
            np.full((number, 2), (48, 64)), reasons or {},
        )  # fmt: skip

    def files(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("*.parquet"))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_images_come_in_any_order_and_twice(made: Made) -> None:
    with made.writer() as writer:
        assert [(shard.start, shard.stop) for shard in writer.missing] == [(0, 4), (4, 8), (8, 10)]
        made.add(writer, [9, 3, 5, 0])
        assert made.files() == []
        made.add(writer, [8, 5, 2, 1])
        assert made.files() == [f"{PART}-0000{n}-of-00003.parquet" for n in (0, 2)]
        made.add(writer, [0, 7, 4, 6])
        writer.close()
    found = Descriptors(made.folder)
    np.testing.assert_array_equal(found.load("test", "database"), made.described["database"])
    images = found.images("test", "database")
    assert images.select(SCHEMA.names).equals(made.images[PART])
    assert set(images["height_px"].to_pylist()) == {48}
    assert (made.folder / SKIPPED).read_text() == "path,reason\n"


def test_what_cannot_be_read_is_left_out_and_listed(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)], {5: "truncated", 1: "empty file"})
        writer.close()
    found = Descriptors(made.folder)
    kept = [row for row in range(ROWS) if row not in (1, 5)]
    np.testing.assert_array_equal(found.load("test", "database"), made.described["database"][kept])
    paths = made.images[PART]["path"].to_pylist()
    assert found.skipped() == [(paths[1], "empty file"), (paths[5], "truncated")]
    lines = (made.folder / SKIPPED).read_text().splitlines()
    assert lines == ["path,reason", f"{paths[1]},empty file", f"{paths[5]},truncated"]


def test_a_shard_of_which_nothing_can_be_read_is_empty(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)], dict.fromkeys(range(4, 8), "not an image"))
    kept = [0, 1, 2, 3, 8, 9]
    found = Descriptors(made.folder)
    np.testing.assert_array_equal(found.load("test", "database"), made.described["database"][kept])


def test_only_missing_and_damaged_shards_are_written_again(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)])
    files = sorted(made.folder.glob("*.parquet"))
    written = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-7])
    (made.folder / f"{TEMPORARY}{files[0].name}").write_bytes(b"half")
    with made.writer() as writer:
        assert [shard.start for shard in writer.missing] == [0, 4]
        assert not list(made.folder.glob(f"{TEMPORARY}*"))
        made.add(writer, [*range(8)])
    assert files[2].stat().st_mtime_ns == written[files[2]]
    found = Descriptors(made.folder).load("test", "database")
    np.testing.assert_array_equal(found, made.described["database"])
    with made.writer() as writer:
        assert writer.missing == []


def test_another_split_joins_the_folder(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)])
    with made.writer(parts={"test-queries": 3}) as writer:
        assert [shard.part for shard in writer.missing] == ["test-queries"]
        writer.add(
            "test-queries", np.arange(3), made.described["queries"], np.zeros(3),
            np.ones((3, 2)), {1: "empty file"},
        )  # fmt: skip
        writer.close()
    found = Descriptors(made.folder)
    assert found.description.parts == made.all.parts
    assert len(found.load("test", "database")) == ROWS and len(found.load("test", "queries")) == 2
    assert len((made.folder / SKIPPED).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_hash": "c" * 64}, "model_hash was aaaaaaaaaaaa, now cccccccccccc"),
        ({"fingerprint": "c" * 64}, "fingerprint was b+, now c+"),
        ({"query_method": "five_crops"}, "query_method was resize, now five_crops"),
        ({"dtype": "float16"}, "dtype was float32, now float16"),
        ({"shard_rows": 5}, "shard_rows was 4, now 5"),
        ({"labelled": False}, "labelled was True, now False"),
        ({"decoder_version": 2}, "decoder_version was 1, now 2"),
        ({"parts": {PART: 9}}, f"number of images in {PART} was 10, now 9"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    made: Made, changed: dict[str, object], message: str
) -> None:
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)])
    before = (made.folder / FILE).read_text()
    with pytest.raises(UserError, match=f"{message}; choose another --out"):
        made.writer(**changed)
    assert (made.folder / FILE).read_text() == before and len(made.files()) == 3


def test_a_shard_from_elsewhere_is_an_error(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)])
    text = (made.folder / FILE).read_text()
    (made.folder / FILE).write_text(text.replace("a" * 64, "c" * 64))
    with pytest.raises(UserError, match="another model or data"):
        made.writer(model_hash="c" * 64)


def test_a_folder_of_other_things_is_refused(made: Made) -> None:
    made.folder.mkdir()
    (made.folder / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"has photo.jpg in it but no descriptors; give --out"):
        made.writer()
    (made.folder / "photo.jpg").rename(made.folder / ".hidden")
    with made.writer() as writer:
        assert len(writer.missing) == 3


def test_two_extractions_do_not_share_a_folder(made: Made) -> None:
    with made.writer(), pytest.raises(UserError, match="another extraction is writing into it"):
        made.writer()
    with made.writer() as writer:
        assert len(writer.missing) == 3


KILLED = """
import sys, time, pathlib
sys.path[:0] = {paths!r}
from test_writing import Made
made = Made(pathlib.Path({folder!r}))
with made.writer() as writer:
    made.add(writer, [0, 1, 2, 3, 4, 5])
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_whole_shards_and_no_lock(tmp_path: Path, made: Made) -> None:
    tests = Path(__file__).parents[1]
    code = KILLED.format(paths=[str(tests), str(tests / "retrieval")], folder=str(tmp_path / "k"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    made.folder = tmp_path / "k" / "out"
    assert len(made.files()) == 1
    with made.writer() as writer:
        assert [shard.start for shard in writer.missing] == [4, 8]
        made.add(writer, [*range(4, ROWS)])
    found = Descriptors(made.folder).load("test", "database")
    np.testing.assert_array_equal(found, made.described["database"])


def test_a_full_disk_keeps_what_is_finished(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [8, 9])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(UserError, match=r"no room.*GB free; make room.*same command again"):
                made.add(writer, [0, 1, 2, 3])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert made.files() == [f"{PART}-00002-of-00003.parquet"]
    assert not list(made.folder.glob(f"{TEMPORARY}*"))
    with made.writer() as writer:
        assert len(writer.missing) == 2


def test_too_little_room_is_said_before_the_start(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = writable.shutil.disk_usage(made.folder.parent)
    needed = ROWS * (DIMENSION * 4 + 400)
    monkeypatch.setattr(writable.shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(UserError, match="no room for descriptors"):
        made.writer()
    monkeypatch.setattr(writable.shutil, "disk_usage", lambda _: usage._replace(free=needed))
    with made.writer():
        assert read_description(made.folder) == replace(made.description, extractions=())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(made: Made) -> None:
    made.folder.mkdir()
    made.folder.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        made.writer()


def test_a_folder_below_a_file_is_said(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made.folder = tmp_path / "file" / "out"
    with pytest.raises(UserError, match=r"cannot be written \(not a directory\)"):
        made.writer()


def test_crops_are_kept_together(made: Made) -> None:
    crops = np.repeat(made.described["queries"][:, None], 5, axis=1)
    crops /= np.linalg.norm(crops, axis=-1, keepdims=True)
    with made.writer(parts={"test-queries": 3}, query_method="five_crops") as writer:
        writer.add("test-queries", np.arange(3), crops, np.zeros(3), np.ones((3, 2)), {1: "empty"})
    np.testing.assert_array_equal(Descriptors(made.folder).load("test", "queries"), crops[[0, 2]])


def test_memory_holds_unfinished_shards_alone(made: Made) -> None:
    with made.writer() as writer:
        made.add(writer, [0, 1, 2, 3, 4])
        assert list(writer._open) == [f"{PART}-00001-of-00003.parquet"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_model_without_numbers_is_said(made: Made, number: float) -> None:
    made.described["database"][5, 3] = number
    with (
        made.writer() as writer,
        pytest.raises(UserError, match=r"00005.jpg: the model gives no n"),
    ):
        made.add(writer, [*range(ROWS)])
    assert made.files() == []
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)], {5: "truncated"})
    assert len(made.files()) == 3


def test_who_wrote_shards_is_recorded(made: Made) -> None:
    by = [Extraction([name], {"torch": name}, "2024-01-01T00:00:00+00:00") for name in "abc"]

    def recorded() -> list[list[str]]:
        return [list(each.command) for each in read_description(made.folder).extractions]

    with made.writer(extractions=(by[0],)) as writer:
        made.add(writer, [0, 1, 2])
        assert recorded() == []
        made.add(writer, [3])
        assert recorded() == [["a"]]
        made.add(writer, [4, 5, 6, 7])
    with made.writer(extractions=(by[1],)) as writer:
        made.add(writer, [8, 9])
    with made.writer(extractions=(by[2],)) as writer:
        assert writer.missing == []
    assert recorded() == [["a"], ["b"]]
    assert read_description(made.folder).extractions == tuple(by[:2])


def test_a_part_of_which_nothing_can_be_read_is_an_error(made: Made) -> None:
    none = dict.fromkeys(range(ROWS), "empty file")
    with made.writer() as writer:
        made.add(writer, [8, 9], none)
        with pytest.raises(UserError, match=r"not one of its 10 images.*00004.jpg \(empty file\)"):
            made.add(writer, [*range(8)], none)
    assert made.files() == []
    with made.writer() as writer:
        made.add(writer, [0, 1, 2, 3, 4, 5, 6, 7], none)
        assert made.files() == []
        made.add(writer, [8, 9])
    assert len(made.files()) == 3 and len(Descriptors(made.folder).load("test", "database")) == 2
    # The other shards say that this part can be read.
    (made.folder / made.files()[2]).unlink()
    with made.writer() as writer:
        made.add(writer, [8, 9], none)
    assert len(made.files()) == 3


def test_what_the_manifest_leaves_out_is_listed(made: Made) -> None:
    left_out = [("/city/a.jpg", "no position")]
    with Writer(made.folder, made.description, made.images, left_out) as writer:
        made.add(writer, [*range(ROWS)], {5: "truncated"})
        writer.close()
    lines = (made.folder / SKIPPED).read_text().splitlines()
    assert lines[1].endswith(",truncated") and lines[2:] == ["/city/a.jpg,no position"]


def test_a_folder_that_looks_like_an_address(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder.parent)
    made.folder = Path("run:1/out")
    with made.writer() as writer:
        made.add(writer, [*range(ROWS)])
        writer.close()
    assert len(Descriptors(made.folder).load("test", "database")) == ROWS
    assert len(Descriptors(made.folder).images("test", "database")) == ROWS
