import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from vgray.errors import UserError
from vgray.places import images, load_manifest, open_store, read_image, skipped_images, store
from vgray.places.filenames import format_name

SIZE = (24, 32)


def write_dataset(folder: Path, count: int = 6, side: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        name = format_name(
            east_m=553000 + 30 * number,
            north_m=4175000,
            utm_zone=10,
            zone_letter="S",
            lat=37.7,
            lon=-122.4,
        )
        path = folder / "images" / "train" / "database" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(path)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    return load_manifest(write_dataset(tmp_path / "set"))


def test_rows_are_as_in_the_table(table: pa.Table, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = open_store(table, SIZE, cache_dir=tmp_path, progress=lambda *step: seen.append(step))
    assert found.pixels.shape == (6, *SIZE, 3) and found.pixels.dtype == np.uint8
    assert not found.pixels.flags.writeable
    for path, pixels in zip(table["path"].to_pylist(), found.pixels, strict=True):
        np.testing.assert_array_equal(pixels, read_image(path, SIZE))
    assert found.readable.all() and found.skipped == []
    assert seen[-1] == (6, 6)
    again = open_store(table, SIZE, cache_dir=tmp_path, progress=lambda *step: seen.append(step))
    assert again.folder == found.folder and len(seen) == 1
    flipped = open_store(table.take(list(range(5, -1, -1))), SIZE, cache_dir=tmp_path)
    np.testing.assert_array_equal(flipped.pixels, found.pixels[::-1])


def test_bad_images_are_skipped_and_listed(table: pa.Table, tmp_path: Path) -> None:
    paths = table["path"].to_pylist()
    Path(paths[1]).write_bytes(b"")
    Path(paths[4]).unlink()
    found = open_store(table, SIZE, cache_dir=tmp_path)
    assert found.readable.tolist() == [True, False, True, True, False, True]
    assert found.skipped == [(paths[1], "empty file"), (paths[4], "no such file or directory")]
    assert not found.pixels[[1, 4]].any() and found.pixels[[0, 2, 3, 5]].any(axis=(1, 2, 3)).all()
    again = open_store(table, SIZE, cache_dir=tmp_path)
    assert again.skipped == found.skipped
    np.testing.assert_array_equal(again.readable, found.readable)


def test_another_size_or_changed_data_is_another_store(table: pa.Table, tmp_path: Path) -> None:
    first = open_store(table, SIZE, cache_dir=tmp_path)
    assert open_store(table, (32, 24), cache_dir=tmp_path).folder != first.folder
    path = Path(table["path"][0].as_py())
    Image.new("RGB", (40, 40), "red").save(path)
    changed = open_store(load_manifest(tmp_path / "set"), SIZE, cache_dir=tmp_path)
    assert changed.folder != first.folder
    assert changed.pixels[0, 0, 0, 0] > 240


def test_the_cache_folder(table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGRAY_CACHE", str(tmp_path / "elsewhere"))
    assert open_store(table, SIZE).folder.parent == tmp_path / "elsewhere" / "images"
    monkeypatch.delenv("VGRAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert store.cache_folder().name == "vgray"


def test_a_full_disk_is_told_before_anything_is_decoded(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=r"0\.01 GB needed, 0\.00 GB free; set VGRAY_CACHE"
    ) as caught:
        open_store(table, (600, 600), cache_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_disk_that_fills_meanwhile(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "posix_fallocate", full)
        with pytest.raises(UserError, match="too full"):
            open_store(table, SIZE, cache_dir=tmp_path)
    assert [path.suffix for path in (tmp_path / "images").iterdir()] == [".lock"]
    assert open_store(table, SIZE, cache_dir=tmp_path).readable.all()


def test_a_cache_that_cannot_be_written(table: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set VGRAY_CACHE"):
        open_store(table, SIZE, cache_dir=tmp_path / "file")


def test_a_damaged_store_is_built_again(table: pa.Table, tmp_path: Path) -> None:
    first = open_store(table, SIZE, cache_dir=tmp_path)
    expected = np.array(first.pixels)
    (first.folder / "pixels.npy").write_bytes(b"\x93NUMPY")
    np.testing.assert_array_equal(open_store(table, SIZE, cache_dir=tmp_path).pixels, expected)
    for damaged in ("{", "{}", "[]", "null", '{"skipped": [1]}'):
        (first.folder / "store.json").write_text(damaged)
        np.testing.assert_array_equal(open_store(table, SIZE, cache_dir=tmp_path).pixels, expected)


def test_a_fault_of_the_system_is_not_kept(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(images, "open_binary", fail)
        with pytest.raises(UserError, match=r"cannot read .*: input/output error"):
            open_store(table, SIZE, cache_dir=tmp_path)
    assert open_store(table, SIZE, cache_dir=tmp_path).readable.all()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_reserves_nothing(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store.os, "posix_fallocate", fail)
    assert open_store(table, SIZE, cache_dir=tmp_path).readable.all()


def test_a_file_system_without_locks(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(store.fcntl, "flock", fail)
    with pytest.raises(UserError, match="No locks available; set VGRAY_CACHE"):
        open_store(table, SIZE, cache_dir=tmp_path)


def test_what_is_not_used_is_listed(table: pa.Table, tmp_path: Path) -> None:
    paths = table["path"].to_pylist()
    Path(paths[1]).write_bytes(b"")
    folder = Path(paths[0]).parent
    (folder / "map.png").write_bytes(b"")
    table = load_manifest(tmp_path / "set")
    found = open_store(table, SIZE, cache_dir=tmp_path)
    assert skipped_images(table, found) == [
        (paths[1], "empty file"),
        (str(folder / "map.png"), "name without a position"),
    ]


def test_wrong_calls(table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size_px"):
        open_store(table, (0, 32), cache_dir=tmp_path)
    with pytest.raises(ValueError, match="one image"):
        open_store(table.slice(0, 0), SIZE, cache_dir=tmp_path)


OPEN = """
import sys
from vgray.places import load_manifest, open_store
built = []
found = open_store(load_manifest(sys.argv[1]), (160, 160), cache_dir=sys.argv[2], workers=1,
                   progress=lambda done, total: (built.append(done), print(done, flush=True)))
total = int(found.pixels.astype("uint64").sum())
print("built" if built else "shared", total, found.readable.all())
"""


def start(dataset: Path, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN, str(dataset), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_four_processes_build_one_store(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", count=64, side=300)
    processes = [start(dataset, tmp_path / "cache") for _ in range(4)]
    said = [process.communicate(timeout=60)[0].splitlines()[-1].split() for process in processes]
    assert sorted(words[0] for words in said) == ["built", "shared", "shared", "shared"]
    assert len({words[1] for words in said}) == 1 and all(words[2] == "True" for words in said)
    assert sorted(path.suffix for path in (tmp_path / "cache/images").iterdir()) == ["", ".lock"]


def test_a_killed_build_leaves_nothing(tmp_path: Path) -> None:
    dataset, cache = write_dataset(tmp_path / "set", count=160, side=500), tmp_path / "cache"
    process = start(dataset, cache)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "32"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    time.sleep(0.01)
    assert [path.suffix for path in sorted((cache / "images").iterdir())] == [".building", ".lock"]
    found = open_store(load_manifest(dataset), (160, 160), cache_dir=cache)
    assert found.readable.all()
    assert sorted(path.suffix for path in (cache / "images").iterdir()) == ["", ".lock"]


@pytest.mark.photos
def test_real_photographs(photos: Path, tmp_path: Path) -> None:
    table = load_manifest(photos / "sf_night_small").slice(0, 200)
    found = open_store(table, (96, 96), cache_dir=tmp_path)
    assert found.readable.all() and found.pixels.std() > 20
