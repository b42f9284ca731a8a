"""Several data sets as one to train on."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vgray.errors import UserError
from vgray.places import (
    SCHEMA,
    describe_near_validation,
    describe_sources,
    fingerprint,
    layout_of,
    left_out,
    load_manifest,
    load_training_data,
    positives_within,
    root_of,
)

DAY = "train/database/@0553003.03@4175258.88@10@S@037.72306@-122.39856@p1@@120@@@@201712@day@.jpg"
NIGHT = DAY.replace("day", "night").replace("553003", "553004")
VAL = (
    "val/database/@0553103.03@4175258.88@10@S@037.72306@-122.39742@p2@@0@@@@201112@@.jpg",
    "val/queries/@0553113.03@4175258.88@10@S@037.72306@-122.39731@p3@@0@@@@201712@@.jpg",
)
TEST = tuple(name.replace("val/", "test/") for name in VAL)
GSV = "Images/Boston/Boston_0000007_2015_06_120_42.35_-71.06_pano.JPG"


def write(root: Path, *names: str) -> str:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    return str(root)


def test_one_set_is_itself_without_its_test_images(tmp_path: Path) -> None:
    table = load_manifest(write(tmp_path / "city", DAY, *VAL, *TEST))
    kept = load_training_data([tmp_path / "city"])
    assert kept.equals(table.filter(pc.not_equal(table["split"], "test")))
    assert kept.num_rows == 3
    assert kept.schema.metadata == table.schema.metadata
    # As a run of an earlier version recorded it: it must be able to go on.
    assert fingerprint(kept).startswith("92b4844a4f55e708")


def test_places_of_positions_are_shared_and_named_ones_are_not(tmp_path: Path) -> None:
    real = write(tmp_path / "real", DAY, *VAL)
    synthetic = write(tmp_path / "synthetic", NIGHT, *VAL)
    gsv = write(tmp_path / "gsv", GSV)
    other = write(tmp_path / "other", GSV)
    table = load_training_data([gsv, real, other, synthetic])
    assert table.schema.equals(SCHEMA, check_metadata=False)
    assert table["split"].to_pylist() == ["train"] * 4 + ["val"] * 2
    first, day, third, night = table["place_id"].to_pylist()[:4]
    assert day == night == "10N_55300_417525_4"
    assert first != third and first.partition("/")[2] == third.partition("/")[2]
    assert table["source"].to_pylist()[:4] == ["gsv/Boston", "real", "other/Boston", "synthetic"]
    # The first set with a val split is scored.
    assert all(path.startswith(f"{real}/val") for path in table["path"].to_pylist()[4:])
    assert root_of(table) == f"{gsv} + {real} + {other} + {synthetic}"
    assert layout_of(table) == "GSV-Cities + VPR folders, val: VPR folders"


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [write(tmp_path / part / "city", DAY, *VAL) for part in "abc"]
    table = load_training_data(folders)
    assert table["source"].to_pylist() == ["city", "city (2)", "city (3)", "city", "city"]
    assert describe_sources(table) == (
        "training images: city 1 in 1 places, city (2) 1 in 1 places, city (3) 1 in 1 places; "
        "validated on city"
    )
    assert describe_sources(load_training_data(folders[:1])) == ""


def test_what_is_left_out_is_named_in_full(tmp_path: Path) -> None:
    one = write(tmp_path / "one", GSV, "Images/cover.jpg")
    two = write(tmp_path / "two", DAY, *VAL, "val/queries/none.jpg")
    reason = "name without a position"
    assert left_out(load_training_data([one, two])) == {
        reason: [f"{one}/Images/cover.jpg", f"{two}/val/queries/none.jpg"]
    }
    assert left_out(load_training_data([one], two)) == {
        reason: ["Images/cover.jpg", f"{two}/val/queries/none.jpg"]
    }


def test_fingerprint_does_not_tell_where_sets_lie(tmp_path: Path) -> None:
    def load(folder: Path, names: tuple[str, str, str]) -> str:
        gsv, city, val = (folder / name for name in names)
        write(gsv, GSV)
        write(city, DAY)
        write(val, *VAL)
        return fingerprint(load_training_data([gsv, city], val))

    found = load(tmp_path / "x", ("a", "b", "c"))
    assert load(tmp_path / "y" / "y", ("z", "b", "a")) == found
    write(tmp_path / "x" / "b", NIGHT)
    assert load(tmp_path / "x", ("a", "b", "c")) != found
    x = tmp_path / "x"
    assert fingerprint(load_training_data([x / "b", x / "a"], x / "c")) != fingerprint(
        load_training_data([x / "a", x / "b"], x / "c")
    )


def test_another_set_is_validated_on(tmp_path: Path) -> None:
    gsv, city = write(tmp_path / "gsv", GSV), write(tmp_path / "city", DAY, *VAL)
    both = load_training_data([gsv], city)
    assert both["split"].to_pylist() == ["train", "val", "val"]
    assert (root_of(both), layout_of(both)) == (gsv, "GSV-Cities, val: VPR folders")
    assert fingerprint(both).startswith("007362388162e801")
    itself = load_training_data([city], city)
    assert not set(itself["place_id"][:1].to_pylist()) & set(itself["place_id"][1:].to_pylist())


def test_validation_takes_the_only_split_that_can_be_scored(tmp_path: Path) -> None:
    gsv, city = write(tmp_path / "gsv", GSV), write(tmp_path / "city", *TEST)
    assert load_training_data([gsv], city)["split"].to_pylist() == ["train", "val", "val"]
    with pytest.raises(UserError, match="no split with a database and queries"):
        load_training_data([gsv], gsv)
    write(tmp_path / "city", *(name.replace("val/", "train/") for name in VAL))
    with pytest.raises(UserError, match="2 splits with a database and queries"):
        load_training_data([gsv], city)


def test_nothing_to_validate_on(tmp_path: Path) -> None:
    gsv, other = write(tmp_path / "gsv", GSV), write(tmp_path / "other", GSV)
    for data in ([gsv], [gsv, other]):
        with pytest.raises(UserError, match="--val DATA names a set to validate on") as caught:
            load_training_data(data)
        assert str(caught.value).startswith(" + ".join(data))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no data set"):
        load_training_data([])


def test_an_image_is_in_one_set_only(tmp_path: Path) -> None:
    city = write(tmp_path / "city", DAY, *VAL)
    (tmp_path / "link").symlink_to(city)
    for again in (city, f"{city}/", str(tmp_path / "link"), f"{city}/train"):
        with pytest.raises(UserError, match=r"is in two data sets .*; give each image once"):
            load_training_data([city, again])
    # A copy is another file: it may have been changed.
    copy = shutil.copytree(city, tmp_path / "copy")
    assert load_training_data([city, copy])["split"].to_pylist().count("train") == 2


def test_images_that_are_trained_on_are_not_validated_on(tmp_path: Path) -> None:
    city = write(tmp_path / "city", DAY, *VAL)
    manifest = tmp_path / "scored.csv"
    manifest.write_text(
        "path,east,north,split,role\n"
        + f"city/{DAY},553003,4175258,val,database\ncity/{VAL[0]},553003,4175258,val,queries\n"
    )
    with pytest.raises(UserError, match="in two data sets"):
        load_training_data([city], manifest)


def test_a_set_that_adds_nothing(tmp_path: Path) -> None:
    city, scored = write(tmp_path / "city", DAY, *VAL), write(tmp_path / "scored", *VAL)
    with pytest.raises(UserError, match="no training images; leave it out, or validate on it"):
        load_training_data([city, scored])


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = write(tmp_path / "one", DAY, *VAL), write(tmp_path / "two", NIGHT)
    monkeypatch.chdir(tmp_path)
    assert load_training_data(["one", f".{os.sep}two"]).equals(load_training_data([one, two]))


def write_city(root: Path, positions_m: np.ndarray, zone: str = "10N") -> str:
    """Write a manifest without splits."""
    root.mkdir()
    rows = [f"{i}.jpg,{east:.2f},{north:.2f},{zone}" for i, (east, north) in enumerate(positions_m)]
    (root / "manifest.csv").write_text("\n".join(["path,east,north,utm_zone", *rows]))
    for i in range(len(rows)):
        (root / f"{i}.jpg").write_bytes(b"not decoded here")
    return str(root)


def positions(table: pa.Table, split: str) -> np.ndarray:
    rows = table.filter(pc.equal(table["split"], split))
    return np.column_stack([rows["east_m"], rows["north_m"]])


def test_nothing_is_trained_on_where_it_is_validated(tmp_path: Path) -> None:
    """A synthetic night of a city, whose images split otherwise than those of the day."""
    rng = np.random.default_rng(0)
    blocks = [(553020 + 100 * (i % 6), 4175220 + 100 * (i // 6)) for i in range(30)]
    places = np.repeat(np.array(blocks, float), 4, axis=0) + rng.uniform(0, 5, (120, 2))
    day = write_city(tmp_path / "day", places)
    alone = load_training_data([day])
    for zone in ("10N", "10", ""):
        night = write_city(tmp_path / f"night{zone}", places[::4], zone)
        table = load_training_data([day, night])
        val = positions(table, "val")
        assert np.array_equal(val, positions(alone, "val")) and len(val) == 24
        assert not any(map(len, positives_within(val, positions(table, "train"), 25)))
        (near,) = (paths for why, paths in left_out(table).items() if why.startswith("near the va"))
        assert all(Path(path).parent == Path(night) and Path(path).is_file() for path in near)
        assert len(near) + len(positions(table, "train")) - 96 == len(
            positions(load_manifest(night), "train")
        )
        assert describe_near_validation(table) == (
            f"{len(near)} training images left out: within 25 m, "
            f"near the validation images of {day}"
        )
    other = write_city(tmp_path / "other", places[::4], "11N")
    assert describe_near_validation(load_training_data([day, other])) == ""
    assert describe_near_validation(alone) == ""


def test_with_val_every_set_keeps_its_distance(tmp_path: Path) -> None:
    near, far = DAY.replace("4175258.88", "4175283.88"), DAY.replace("4175258.88", "4175283.89")
    scored = write(tmp_path / "scored", *(name.replace("0553103", "0553003") for name in VAL))
    city = write(tmp_path / "city", near, far)
    table = load_training_data([city], scored)
    assert table["path"].to_pylist()[0] == f"{city}/{far}" and table.num_rows == 3
    assert left_out(table) == {f"near the validation images of {scored}": [near]}
    assert describe_near_validation(table).startswith("1 training image left out: within 25 m")
    (tmp_path / "city" / far).unlink()
    for data in ([city], [city, write(tmp_path / "gsv", GSV)]):
        with pytest.raises(UserError, match="all its 1 training images are within 25 m") as caught:
            load_training_data(data, scored)
        assert "\n" not in str(caught.value)
