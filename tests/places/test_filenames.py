import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgray.places.filenames import format_name, iso_time, parse_gsv_name, parse_vpr_name

SF = "@0553003.03@4175258.88@10@S@037.72306@-122.39856@2cimd-inpG5ocC4IY7Go-A@@120@@@@201712@@.jpg"


def test_a_published_name_is_read_and_written_back() -> None:
    name = parse_vpr_name(SF)
    assert name is not None
    assert (name.east_m, name.north_m, name.lat, name.lon) == (
        553003.03,
        4175258.88,
        37.72306,
        -122.39856,
    )
    assert (name.pano, name.heading_deg, name.timestamp, name.note) == (
        "2cimd-inpG5ocC4IY7Go-A",
        120.0,
        "201712",
        "",
    )
    assert name.utm_zone == "10N"  # band S is north of the equator
    assert (
        format_name(
            east_m=553003.03,
            north_m=4175258.88,
            utm_zone=10,
            zone_letter="S",
            lat=37.72306,
            lon=-122.39856,
            pano=name.pano,
            heading_deg=120,
            timestamp="201712",
        )
        == SF
    )


@pytest.mark.parametrize(
    "text",
    [
        "@1.5@2.5@.jpg",
        "@1.5@2.5.jpg",
        "@1.5@2.5@@@@@@@@@@@@@.PNG",
        "@1.5@2.5@@@@@@@@@@@@.jpeg",
        "@01.500@02.50@@.JPG",
    ],
)
def test_fields_after_north_may_be_empty_or_missing(text: str) -> None:
    name = parse_vpr_name(text)
    assert name is not None
    assert (name.east_m, name.north_m, name.utm_zone) == (1.5, 2.5, "")
    assert math.isnan(name.lat) and math.isnan(name.lon) and math.isnan(name.heading_deg)
    assert (name.pano, name.timestamp, name.note) == ("", "", "")


@pytest.mark.parametrize(
    ("zone_fields", "zone"),
    [
        ("56@H@-33.86@151.2", "56S"),
        ("56@H@@", "56S"),
        ("10@S@@", "10N"),
        ("10@n@@", "10N"),
        ("10@M@@", "10S"),
        ("10@@37.7@-122.4", "10N"),
        ("10@@-37.7@-122.4", "10S"),
        ("10@@@", "10"),
        ("@@@", ""),
    ],
)
def test_the_zone_is_number_and_hemisphere(zone_fields: str, zone: str) -> None:
    name = parse_vpr_name(f"@334000.5@6252000.25@{zone_fields}@@@@@@@@@.jpg")
    assert name is not None
    assert name.utm_zone == zone


@pytest.mark.parametrize(
    "text", ["photo.jpg", "@a@2@.jpg", "@1@.jpg", "@@@.jpg", "@nan@2@.jpg", "@1@2@61@.jpg", "@.jpg"]
)
def test_other_names_are_not_vpr_names(text: str) -> None:
    assert parse_vpr_name(text) is None


def test_notes_and_negative_headings_survive() -> None:
    name = parse_vpr_name("@1@2@56@H@-33.8@151.2@p a@3@-30.5@1@2@3@20170102_030405@day left@.jpeg")
    assert name is not None
    assert (name.heading_deg, name.note, name.pano) == (-30.5, "day left", "p a")
    assert name.timestamp == "20170102_030405"


text_field = st.text(st.characters(blacklist_characters="@/\0", codec="utf-8"), max_size=12)


@given(
    east=st.floats(1e5, 9e5),
    north=st.floats(0, 1e7),
    zone=st.integers(1, 60),
    letter=st.sampled_from("CDEFGHJKLMNPQRSTUVWX"),
    lat=st.floats(-80, 84),
    lon=st.floats(-180, 180),
    pano=text_field,
    note=text_field,
    heading=st.one_of(st.none(), st.integers(-180, 360)),
)
def test_what_is_written_is_read(
    east: float,
    north: float,
    zone: int,
    letter: str,
    lat: float,
    lon: float,
    pano: str,
    note: str,
    heading: int | None,
) -> None:
    name = parse_vpr_name(
        format_name(
            east_m=east,
            north_m=north,
            utm_zone=zone,
            zone_letter=letter,
            lat=lat,
            lon=lon,
            pano=pano,
            note=note,
            heading_deg=heading,
        )
    )
    assert name is not None
    assert (name.east_m, name.north_m) == pytest.approx((east, north), abs=0.005001)
    assert (name.lat, name.lon) == pytest.approx((lat, lon), abs=0.000005001)
    assert (name.pano, name.note, name.zone_number) == (pano, note, zone)
    assert (None if math.isnan(name.heading_deg) else name.heading_deg) == heading


@pytest.mark.parametrize(
    "change",
    [
        {"pano": "a@b"},
        {"note": "a/b"},
        {"utm_zone": 0},
        {"zone_letter": "I"},
        {"lat": math.nan},
        {"extension": "jpg"},
    ],
)
def test_a_name_that_could_not_be_read_is_not_written(change: dict[str, object]) -> None:
    fields = {"east_m": 1.0, "north_m": 2.0, "utm_zone": 10, "zone_letter": "S", "lat": 1, "lon": 2}
    with pytest.raises(ValueError):
        format_name(**{**fields, **change})  # type: ignore[arg-type]


def test_gsv_names() -> None:
    name = parse_gsv_name("Mexico_City_0000123_2017_05_090_19.43_-99.13_a_b_-c.JPG")
    assert name == ("Mexico_City", "0000123", 2017, 5, 90.0, 19.43, -99.13, "a_b_-c")
    south = parse_gsv_name("BuenosAires_0012345_2012_11_271_-34.6_-58.4_x1.jpg")
    assert south is not None and (south.lat, south.lon) == (-34.6, -58.4)
    greenwich = parse_gsv_name("London_0000001_2012_11_000_51.5_-7.1e-05_id.jpeg")
    assert greenwich is not None and greenwich.lon == -7.1e-05
    short = parse_gsv_name("London_0000001_2012_11_000_51.5_-.74_id.jpeg")
    assert short is not None and short.lon == -0.74
    for other in (SF, "London.jpg", "London_1_2012_11_000_51.5_0.1_id.jpg"):
        assert parse_gsv_name(other) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("201712", "2017-12"),
        ("2017", "2017"),
        ("2017-12", "2017-12"),
        ("20171224", "2017-12-24"),
        ("20171224_101112", "2017-12-24T10:11:12"),
        ("2017:12:24 10:11:12", "2017-12-24T10:11:12"),
        ("2017-12-24T10:11:12+02:00", "2017-12-24T10:11:12"),
        ("", None),
        ("201713", None),
        ("night", None),
    ],
)
def test_times(text: str, time: str | None) -> None:
    assert iso_time(text) == time
