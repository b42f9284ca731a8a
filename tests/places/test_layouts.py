"""Each dataset layout on file names and files as they are met."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from vgray.errors import UserError
from vgray.places import LAYOUTS, layout_of, left_out, load_manifest
from vgray.places.layouts import photos as photos_layout


def write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    return root


def read(root: Path, *names: str) -> tuple[str, list[dict[str, Any]]]:
    table = load_manifest(write(root, *names))
    return layout_of(table), table.to_pylist()


def test_the_registry_names_the_layouts_of_the_readme() -> None:
    assert list(LAYOUTS) == ["VPR folders", "GSV-Cities", "place folders", "photo folder"]


# VPR folders


def test_vpr_folders_with_all_kinds_of_names(tmp_path: Path) -> None:
    layout, rows = read(
        tmp_path,
        "images/Test/Queries/@334000.5@6252000.25@56@H@-33.85@151.21@@@@@@@@@.JPG",
        "images/test/database/cbd/north/@334010@6252000@56@H@.jpeg",
        "images/test/database/@334020@6252000@.png",
        "images/train/@0553003.03@4175258.88@10@S@037.72306@-122.39856@p@@30@@@@200910@@.jpg",
    )
    assert layout == "VPR folders"
    found = {(row["split"], row["role"], row["east_m"], row["utm_zone"]) for row in rows}
    assert found == {
        ("test", "queries", 334000.5, "56S"),
        ("test", "database", 334010.0, "56S"),
        ("test", "database", 334020.0, ""),
        ("train", "train", 553003.03, "10N"),
    }
    by_east = {row["east_m"]: row for row in rows}
    # Degrees that the name leaves out are computed where the zone is known.
    assert by_east[334010.0]["lat"] == pytest.approx(-33.855, abs=0.01)
    assert by_east[334010.0]["lon"] == pytest.approx(151.206, abs=0.01)
    assert by_east[334020.0]["lat"] is None and by_east[334020.0]["lon"] is None
    assert by_east[334020.0]["heading_deg"] is None and by_east[334020.0]["taken_at"] is None
    assert by_east[334010.0]["place_id"] == "56S_33401_625200"


def test_vpr_folders_leave_out_and_note(tmp_path: Path) -> None:
    write(
        tmp_path,
        "val/queries/@1@2@.jpg",
        "val/queries/map.png",
        "val/night/@1@2@.jpg",
        "thumbnails/a.jpg",
    )
    table = load_manifest(tmp_path)
    assert table.num_rows == 1
    assert left_out(table) == {
        "outside the splits": ["thumbnails/a.jpg", "val/night/@1@2@.jpg"],
        "name without a position": ["val/queries/map.png"],
    }


@pytest.mark.parametrize(("folder", "split"), [("val", "val"), ("pitts30k", "test")])
def test_one_split_alone(tmp_path: Path, folder: str, split: str) -> None:
    layout, rows = read(tmp_path / folder, "database/@1@2@.jpg", "queries/@1@2@.jpg")
    assert layout == "VPR folders"
    found = [(row["split"], row["role"]) for row in rows]
    assert found == [(split, "database"), (split, "queries")]


@pytest.mark.photos
def test_the_real_vpr_folders(photos: Path) -> None:
    table = load_manifest(photos / "sf_night_small")
    counts = Counter(zip(table["split"].to_pylist(), table["role"].to_pylist(), strict=True))
    assert counts == {
        ("train", "database"): 815,
        ("train", "queries"): 1170,
        ("val", "database"): 280,
        ("val", "queries"): 381,
    }
    train = table.filter(pa.compute.equal(table["split"], "train"))
    assert len(set(train["place_id"].to_pylist())) == 200
    assert set(table["utm_zone"].to_pylist()) == {"10N"} and left_out(table) == {}


# GSV-Cities


def test_gsv_cities(tmp_path: Path) -> None:
    layout, rows = read(
        tmp_path / "gsv",
        "Images/London/London_0000001_2012_11_090_51.5_-7.1e-05_a_b.JPG",
        "Images/London/London_0000001_2015_03_095_51.5_0.0001_c.JPG",
        "Images/BuenosAires/BuenosAires_0000001_2014_01_359_-34.6_-58.4_-x_.jpg",
        "Images/Mexico_City/Mexico_City_0000002_2014_01_000_19.4_-99.1_y.jpg",
        "Dataframes/London.csv",
    )
    assert layout == "GSV-Cities"
    assert {row["place_id"] for row in rows} == {
        "London_0000001",
        "BuenosAires_0000001",
        "Mexico_City_0000002",
    }
    assert {(row["split"], row["role"]) for row in rows} == {("train", "train")}
    london = [row for row in rows if row["source"] == "gsv/London"]
    # Zones 30 and 31 meet at Greenwich: one city is written in one of them.
    assert len({row["utm_zone"] for row in london}) == 1
    assert abs(london[0]["east_m"] - london[1]["east_m"]) < 20
    assert london[0]["taken_at"] == "2012-11" and london[0]["heading_deg"] == 90
    south = next(row for row in rows if "BuenosAires" in row["path"])
    assert south["utm_zone"] == "21S" and south["north_m"] > 6e6


# Place folders


def test_place_folders_by_note(tmp_path: Path) -> None:
    layout, rows = read(
        tmp_path,
        "@553003@4175258@10@S@37.7@-122.4@pa@@0@@@@2017@place7@.jpg",
        "deep/er/@553203@4175258@10@S@37.7@-122.4@pb@@90@@@@2012@place7@.JPG",
        "@553403@4175258@10@S@37.7@-122.4@pa@@0@@@@2017@place8@.jpg",
    )
    assert layout == "place folders"
    assert sorted(row["place_id"] for row in rows) == ["place7", "place7", "place8"]
    assert {(row["split"], row["role"]) for row in rows} == {("train", "train")}


def test_place_folders_by_the_panorama_field(tmp_path: Path) -> None:
    _, rows = read(
        tmp_path,
        "@553003@4175258@10@S@37.7@-122.4@p7@@0@@@@2017@@.jpg",
        "@553004@4175258@10@S@37.7@-122.4@p7@@30@@@@2012@@.jpg",
        "@553403@4175258@10@S@37.7@-122.4@p8@@0@@@@2017@@.jpg",
        "@553503@4175258@10@S@37.7@-122.4@@@0@@@@2017@@.jpg",
    )
    found = sorted(row["place_id"] for row in rows)
    assert found == ["10N_55350_417525_0", "p7", "p7", "p8"]


def test_a_panorama_cut_into_headings_is_no_place(tmp_path: Path) -> None:
    _, rows = read(
        tmp_path,
        "@553003@4175258@10@S@37.7@-122.4@pa@@0@@@@2017@@.jpg",
        "@553003@4175258@10@S@37.7@-122.4@pa@@90@@@@2017@@.jpg",
        "@553004@4175258@10@S@37.7@-122.4@pb@@0@@@@2012@@.jpg",
    )
    found = sorted(row["place_id"] for row in rows)
    assert found == ["10N_55300_417525_0", "10N_55300_417525_0", "10N_55300_417525_3"]


def test_panoramas_that_are_all_different_name_no_places(tmp_path: Path) -> None:
    _, rows = read(
        tmp_path,
        "@553003@4175258@10@S@37.7@-122.4@pa@@0@@@@2017@@.jpg",
        "@553004@4175258@10@S@37.7@-122.4@pb@@0@@@@2012@@.jpg",
    )
    assert [row["place_id"] for row in rows] == ["10N_55300_417525_0"] * 2


def test_a_folder_one_too_high(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sf/images/val/queries/@1@2@.jpg",
        "sf/images/train/database/@1@2@.jpg",
        "@1@2@.jpg",
    )
    with pytest.raises(UserError, match=f"did you mean {tmp_path}/sf"):
        load_manifest(tmp_path)
    assert layout_of(load_manifest(tmp_path / "sf")) == "VPR folders"


def test_a_stray_file_does_not_decide(tmp_path: Path) -> None:
    gsv = "Images/London/London_0000001_2012_11_090_51.5_-7.1e-05_{}.JPG"
    layout, rows = read(
        tmp_path / "gsv", *(gsv.format(n) for n in range(5)), "test/queries/@1@2@.jpg"
    )
    assert layout == "GSV-Cities" and len(rows) == 5
    for number in range(5):
        gps = {1: "S", 2: dms(33, 51, 24.5), 3: "E", 4: dms(151, 12, 55.08)}
        photo(tmp_path / f"photos/{number}.jpg", gps)
    layout, rows = read(tmp_path / "photos", "@1@2@.jpg")
    assert layout == "photo folder" and len(rows) == 5


# Manifest file


def write_csv(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    write(folder, "a.jpg", "b/B.JPG", "c.png")
    path = folder / name
    path.write_text(text)
    return path


def test_manifest_with_degrees(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "path,lat,lon,split,role,place_id,heading,taken_at\n"
        "a.jpg,-33.8568,151.2153,train,train,0012,30,2017-12\n"
        "./b/B.JPG,-33.8568,151.2153,val,database,,,\n"
        f"{tmp_path}/c.png,-33.8568,151.2153,val,queries,,360,20180102\n",
    )
    for uri in (tmp_path, path):
        table = load_manifest(uri)
        assert layout_of(table) == "manifest file"
        first, second, third = table.to_pylist()
        assert (first["place_id"], first["utm_zone"], first["heading_deg"]) == ("0012", "56S", 30)
        assert second["path"] == str(tmp_path / "b/B.JPG") and second["role"] == "database"
        assert second["place_id"].startswith("56S_") and second["heading_deg"] is None
        assert third["path"] == str(tmp_path / "c.png") and third["taken_at"] == "2018-01-02"
        assert first["source"] == tmp_path.name


def test_manifest_with_metres_in_parquet(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "c.png")
    columns = {
        "path": ["a.jpg", "c.png"],
        "east": [553003.5, 553013.5],
        "north": [4175258, 4175258],
    }
    pq.write_table(pa.table({**columns, "utm_zone": ["10N", "10n"]}), tmp_path / "manifest.parquet")
    rows = load_manifest(tmp_path).to_pylist()
    assert [row["east_m"] for row in rows] == [553003.5, 553013.5]
    assert rows[1]["utm_zone"] == "10N" and rows[0]["lat"] == pytest.approx(37.723, abs=0.001)


def test_a_manifest_that_vgray_made_is_read_again(tmp_path: Path) -> None:
    write_csv(tmp_path, "path,lat,lon\na.jpg,37.7,-122.4\nb/B.JPG,37.8,-122.4\n")
    table = load_manifest(tmp_path)
    pq.write_table(table, tmp_path / "again.parquet")
    assert load_manifest(tmp_path / "again.parquet").to_pylist() == table.to_pylist()


def test_own_columns_are_ignored_and_capitals_do_not_matter(tmp_path: Path) -> None:
    write_csv(tmp_path, "Path,LAT,lon,Split,role,pitch\na.jpg,37.7,-122.4,VAL,Database,5\n")
    row = load_manifest(tmp_path).to_pylist()[0]
    assert (row["split"], row["role"]) == ("val", "database") and "pitch" not in row


def test_a_listed_image_that_is_missing_stays_for_the_check(tmp_path: Path) -> None:
    write_csv(tmp_path, "path,lat,lon\na.jpg,37.7,-122.4\ngone.jpg,37.8,-122.4\n")
    assert load_manifest(tmp_path)["size_bytes"].to_pylist() == [16, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,lat,lon\na.jpg,1,2\n", "column 'path' is missing; it has file, lat, lon"),
        ("path,lat,lon\na.jpg,1_0,2\n", "lat '1_0' of a.jpg is not a number"),
        ("path,lat,lon,headng\na.jpg,1,2,3\n", "'headng', did you mean 'heading'"),
        ("lat,lon\n1,2\n", "column 'path' is missing"),
        ("path,lat\na.jpg,1\n", "lat and lon or east and north; it has path, lat"),
        ("path,lat,lon,latitude\na.jpg,1,2,1\n", "more than one column means lat"),
        ("path,lat,lon\n", "no rows"),
        ("", "cannot read"),
        ("path,lat,lon\na.jpg,1\n", "cannot read"),
        ("path,lat,lon\na.jpg,north,2\n", "lat 'north' of a.jpg is not a number"),
        ("path,lat,lon\na.jpg,91,2\n", "lat 91 of a.jpg is out of range"),
        ("path,lat,lon\na.jpg,inf,2\n", "out of range"),
        ("path,lat,lon\na.jpg,,\n", "a.jpg has no position"),
        ("path,lat,lon\n,1,2\n", "row 1 has no path"),
        ("path,lat,lon\na.jpg,1,2\n./a.jpg,1,2\n", "a.jpg is listed more than once"),
        ("path,lat,lon,split\na.jpg,1,2,valid\n", "split 'valid' of a.jpg; it is one of train"),
        ("path,lat,lon,role\na.jpg,1,2,query\n", "role 'query'"),
        ("path,east,north,utm_zone\na.jpg,1,2,10T\n", "utm_zone '10T'"),
        ("path,lat,lon\nx.jpg,1,2\n", "none of its 1 images exists, such as x.jpg"),
    ],
)
def test_manifest_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    write_csv(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_manifest(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# Photo folder


def photo(path: Path, gps: dict[int, Any] | None, time: str | None = None) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"  # without any tag of the image itself Pillow's PNG drops the rest
    if gps is not None:
        exif.get_ifd(0x8825).update(gps)
    if time is not None:
        exif.get_ifd(0x8769)[0x9003] = time
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), "gray").save(path, exif=exif)


def dms(degrees: int, minutes: int, seconds: float) -> tuple[IFDRational, ...]:
    return (IFDRational(degrees), IFDRational(minutes), IFDRational(int(seconds * 100), 100))


def test_photos_with_gps(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    sydney = {1: "S", 2: dms(33, 51, 24.5), 3: "E", 4: dms(151, 12, 55.08)}
    photo(tmp_path / "a/IMG_1.JPG", {**sydney, 17: IFDRational(725, 2)}, "2019:05:06 07:08:09")
    photo(tmp_path / "IMG_2.png", sydney)
    photo(tmp_path / "IMG_3.heic", {**sydney, 3: "W"}, "2020:01:02 03:04:05")
    photo(tmp_path / "no_gps.jpg", None, "2019:05:06 07:08:09")
    photo(tmp_path / "null_island.jpg", {1: "N", 2: dms(0, 0, 0), 3: "E", 4: dms(0, 0, 0)})
    photo(tmp_path / "broken.jpg", {1: "N", 2: (IFDRational(1, 0),) * 3, 3: "E", 4: dms(1, 0, 0)})
    (tmp_path / "empty.jpg").write_bytes(b"")
    table = load_manifest(tmp_path)
    assert layout_of(table) == "photo folder"
    rows = {Path(row["path"]).name: row for row in table.to_pylist()}
    assert sorted(rows) == ["IMG_1.JPG", "IMG_2.png", "IMG_3.heic"]
    assert (rows["IMG_1.JPG"]["lat"], rows["IMG_1.JPG"]["lon"]) == pytest.approx(
        (-33.856805, 151.2153), abs=1e-6
    )
    assert rows["IMG_1.JPG"]["heading_deg"] == pytest.approx(2.5)
    assert rows["IMG_1.JPG"]["taken_at"] == "2019-05-06T07:08:09"
    assert rows["IMG_2.png"]["heading_deg"] is None and rows["IMG_2.png"]["taken_at"] is None
    assert rows["IMG_3.heic"]["lon"] < 0 and rows["IMG_3.heic"]["taken_at"].startswith("2020")
    assert left_out(table) == {
        "photo without GPS": ["broken.jpg", "no_gps.jpg", "null_island.jpg"],
        "empty file": ["empty.jpg"],
    }


@pytest.mark.parametrize(
    ("gps", "position"),
    [
        ({1: "S", 2: (-33.5,), 3: "W", 4: (70.25, 30.0)}, (-33.5, -70.75)),
        ({1: "N", 2: (-33.0, 30.0, 0.0), 3: "E", 4: (151.0, 0.0, 0.0)}, (-33.5, 151.0)),
        ({1: "S", 2: 33.5, 3: "E", 4: 151.25}, (-33.5, 151.25)),
        ({1: "S", 2: (33.0, float("nan"), 0.0), 3: "E", 4: (151.0,)}, None),
        ({1: "S", 2: (), 3: "E", 4: (151.0,)}, None),
    ],
)
def test_positions_in_exif(gps: dict[int, Any], position: tuple[float, float] | None) -> None:
    found = (photos_layout._degrees(gps, 2, 1, "S"), photos_layout._degrees(gps, 4, 3, "W"))
    assert (found if None not in found else None) == position


def test_photos_that_cannot_be_read_keep_their_reason(tmp_path: Path) -> None:
    photo(tmp_path / "good.jpg", {1: "S", 2: dms(33, 51, 0), 3: "E", 4: dms(151, 12, 0)})
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    (tmp_path / "note.jpg").write_text("no image")
    assert left_out(load_manifest(tmp_path)) == {
        "not an image": ["note.jpg"],
        "colours are CMYK, not grey or RGB": ["print.jpg"],
    }


@pytest.mark.photos
def test_real_photos(photos: Path) -> None:
    lund = load_manifest(photos / "exif_photos" / "lund")
    assert lund.num_rows == 29 and layout_of(lund) == "photo folder"
    assert set(lund["utm_zone"].to_pylist()) == {"33N"}
    assert all(55 < lat < 56 for lat in lund["lat"].to_pylist())
    assert set(lund["split"].to_pylist()) == {"train", "val"}
    assert load_manifest(photos / "exif_photos").num_rows == 32
