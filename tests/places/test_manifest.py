"""The manifest as a whole: its schema, its errors and its fingerprint."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from vgray.errors import UserError
from vgray.places import (
    SCHEMA,
    fingerprint,
    layout_of,
    left_out,
    load_manifest,
    root_of,
)

NAMES = (
    "images/train/database/@0553003.03@4175258.88@10@S@037.72306@-122.39856@p1@@120@@@@201712@@.jpg",
    "images/val/database/@0553103.03@4175258.88@10@S@037.72306@-122.39742@p2@@0@@@@201112@@.jpg",
    "images/val/queries/@0553113.03@4175258.88@10@S@037.72306@-122.39731@p3@@0@@@@201712@@.jpg",
)


def write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    return root


def test_schema_order_and_facts(tmp_path: Path) -> None:
    root = write(tmp_path / "city", *reversed(NAMES))
    table = load_manifest(root)
    assert table.schema.equals(SCHEMA, check_metadata=False)
    assert table["path"].to_pylist() == sorted(str(root / name) for name in NAMES)
    assert (root_of(table), layout_of(table), left_out(table)) == (str(root), "VPR folders", {})
    row = table.slice(0, 1).to_pylist()[0]
    assert (
        row.items()
        >= {
            "split": "train",
            "role": "database",
            "place_id": "10N_55300_417525_4",
            "utm_zone": "10N",
            "heading_deg": 120.0,
            "taken_at": "2017-12",
            "source": "city",
            "size_bytes": 16,
        }.items()
    )
    assert load_manifest(root / "images")["source"].unique().to_pylist() == ["city"]


def test_relative_paths_homes_and_file_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "city", *NAMES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in ("city", "./city/", "~/city", f"file://{root}", root):
        assert load_manifest(uri)["path"].to_pylist() == load_manifest(root)["path"].to_pylist()


def test_an_address_is_read_through_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    root = write(tmp_path / "city", *NAMES)
    Image.new("RGB", (8, 6), "red").save(root / NAMES[0])

    class Bucket:
        @staticmethod
        def from_uri(uri: str) -> tuple[fs.FileSystem, str]:
            here = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
            return here, uri.removeprefix("s3://bucket/")

    monkeypatch.setattr(fs, "FileSystem", Bucket)
    table = load_manifest("s3://bucket/city/")
    assert table["path"][0].as_py() == f"s3://bucket/city/{NAMES[0]}"
    assert fingerprint(table) == fingerprint(load_manifest(root))
    from vgray.places import read_image

    assert read_image(table["path"][0].as_py(), None).shape == (6, 8, 3)


def test_fingerprint_is_of_the_data_not_of_where_it_lies(tmp_path: Path) -> None:
    root = write(tmp_path / "city", *NAMES)
    first = fingerprint(load_manifest(root))
    assert len(first) == 64 and int(first, 16)
    copy = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(root, copy)
    for path in copy.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert fingerprint(load_manifest(copy)) == first

    (copy / NAMES[0]).write_bytes(b"longer than before")
    assert fingerprint(load_manifest(copy)) != first
    shutil.copy(root / NAMES[0], copy / NAMES[0])
    assert fingerprint(load_manifest(copy)) == first
    (copy / "images/val/queries").rename(copy / "images/val/gallery")
    assert fingerprint(load_manifest(copy)) != first


def test_fingerprint_survives_parquet(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = load_manifest(write(tmp_path / "city", *NAMES))
    pq.write_table(table, tmp_path / "kept.parquet")
    kept = pq.read_table(tmp_path / "kept.parquet")
    assert fingerprint(kept) == fingerprint(table) and root_of(kept) == root_of(table)
    moved = table.set_column(4, SCHEMA.field("east_m"), pa.array([1.0, 2.0, 3.0]))
    assert fingerprint(moved) != fingerprint(table)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no images in"),
        (("notes.txt",), "no images in"),
        ((".hidden/@1@2@.jpg", "__MACOSX/@1@2@.jpg", "._@1@2@.jpg"), "no images in"),
        (("holiday/IMG_1.jpg",), "fit no layout: holiday/IMG_1.jpg"),
    ],
)
def test_a_folder_without_a_dataset(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    write(tmp_path, *names)
    with pytest.raises(UserError, match=message) as caught:
        load_manifest(tmp_path)
    assert "\n" not in str(caught.value)
    if "layout" in message:
        for layout in ("VPR folders", "GSV-Cities", "place folders", "manifest file", "photo"):
            assert layout in str(caught.value)


def test_missing_folders_and_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_manifest(tmp_path / "nothing")
    with pytest.raises(UserError, match="is no dataset"):
        load_manifest(write(tmp_path, "photo.jpg") / "photo.jpg")
    with pytest.raises(UserError, match="no such folder"):
        load_manifest(tmp_path / "nothing.csv")
    with pytest.raises(UserError, match="cannot open nowhere://x"):
        load_manifest("nowhere://x")


def test_a_folder_of_several_names_is_listed_once(tmp_path: Path) -> None:
    root = write(tmp_path / "city", *NAMES)
    (root / "images/a_link").symlink_to(root / "images/train")
    (root / "images/val/database/self.jpg").symlink_to("self.jpg")
    paths = [Path(path).relative_to(root) for path in load_manifest(root)["path"].to_pylist()]
    assert paths == sorted(map(Path, NAMES))
    assert left_out(load_manifest(root)) == {
        "name without a position": ["images/val/database/self.jpg"]
    }


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = write(tmp_path / "real", *NAMES)
    link = tmp_path / "link"
    link.symlink_to(root)
    assert load_manifest(link).num_rows == 3
    (root / "images" / "val" / "database" / "loop").symlink_to(root)
    assert load_manifest(root).num_rows == 3


def test_a_name_that_is_not_utf8_is_left_out(tmp_path: Path) -> None:
    root = write(tmp_path / "city", *NAMES)
    odd = os.fsencode(root / "images/val/queries") + b"/@1@2@\xff@.jpg"
    Path(os.fsdecode(odd)).write_bytes(b"x")
    table = load_manifest(root)
    assert table.num_rows == 3
    assert list(left_out(table)) == ["file name is not UTF-8"]


def test_neither_torch_nor_ray_is_imported() -> None:
    code = "import sys, vgray.places, vgray.console; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
