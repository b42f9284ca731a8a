"""Images without positions: which are found, with what role and split."""

import math
import shutil
from pathlib import Path

import pytest
from PIL import Image

from vgray import UserError
from vgray.places import SCHEMA, fingerprint, layout_of, left_out, root_of
from vgray.places.unlabelled import load_unlabelled


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / path)


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        ("", "test"),
        ("test/", "test"),
        ("images/test/", "test"),
        ("Images/Val/", "val"),
        ("train/", "train"),
        ("city/train/old/", "train"),
        ("train/val/", "val"),
    ],
)
def test_roles_and_splits_are_those_of_the_folders(
    tmp_path: Path, folders: str, split: str
) -> None:
    write(
        tmp_path,
        f"{folders}database/a.jpg",
        f"{folders}database/north/queries/b.png",
        f"{folders}Queries/c.jpg",
        "elsewhere/d.jpg",
    )
    table = load_unlabelled(tmp_path)
    assert table.schema.remove_metadata() == SCHEMA
    rows = table.to_pylist()
    below = [(row["path"].removeprefix(f"{tmp_path}/{folders}"), row["role"]) for row in rows]
    assert sorted(below) == [
        ("Queries/c.jpg", "queries"),
        ("database/a.jpg", "database"),
        ("database/north/queries/b.png", "database"),
    ]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    for row in rows:
        assert row["split"] == split
        assert math.isnan(row["east_m"]) and math.isnan(row["north_m"])
        assert row["lat"] is None and row["taken_at"] is None and row["utm_zone"] == ""
        assert row["size_bytes"] == Path(row["path"]).stat().st_size
        assert row["source"] == tmp_path.name
    assert left_out(table) == {"outside database and queries": ["elsewhere/d.jpg"]}
    assert (root_of(table), layout_of(table)) == (str(tmp_path), "without labels")


def test_the_roots_own_name_is_a_split(tmp_path: Path) -> None:
    write(tmp_path / "val", "database/a.jpg", "queries/b.jpg")
    assert load_unlabelled(tmp_path / "val")["split"].to_pylist() == ["val", "val"]
    assert load_unlabelled(tmp_path)["split"].to_pylist() == ["val", "val"]


def test_positions_in_names_are_not_looked_at(tiny_city: Path) -> None:
    table = load_unlabelled(tiny_city)
    assert table.num_rows > 0
    assert all(map(math.isnan, table["east_m"].to_pylist()))


def test_the_fingerprint_is_of_the_images_and_not_of_where_they_lie(tmp_path: Path) -> None:
    write(tmp_path / "one", "database/a.jpg", "queries/b.jpg")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first = fingerprint(load_unlabelled(tmp_path / "one"))
    assert fingerprint(load_unlabelled(tmp_path / "two")) == first
    write(tmp_path / "two", "queries/c.jpg")
    assert fingerprint(load_unlabelled(tmp_path / "two")) != first


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "database/a.jpg", "queries/b.jpg")
    odd = str(tmp_path / "queries").encode() + b"/c\xff.jpg"
    shutil.copy(tmp_path / "queries" / "b.jpg", odd)
    table = load_unlabelled(tmp_path)
    assert table.num_rows == 2
    assert left_out(table) == {"file name is not UTF-8": ["queries/c\\udcff.jpg"]}


def test_nothing_to_retrieve_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no images .*expected .* in database/ and"):
        load_unlabelled(tmp_path)
    write(tmp_path, "gallery/a.jpg", "b.jpg")
    with pytest.raises(UserError, match="found 2 images, none of them in a folder named database"):
        load_unlabelled(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_unlabelled(tmp_path / "missing")
