import numpy as np
import pytest

from vgray.places.positions import cell_places, choose_zones, complete, to_latlon, to_utm, zone_of


def test_utm_of_a_published_name() -> None:
    east, north = to_utm(np.array([37.72306]), np.array([-122.39856]), "10N")
    assert (east[0], north[0]) == pytest.approx((553003.03, 4175258.88), abs=1.0)


def test_there_and_back_on_both_hemispheres() -> None:
    lat, lon = np.array([-33.8568, -33.9]), np.array([151.2153, 151.1])
    east, north = to_utm(lat, lon, "56S")
    assert np.all((east > 3e5) & (east < 4e5) & (north > 6e6))
    back = to_latlon(east, north, "56S")
    np.testing.assert_allclose(back, (lat, lon), atol=1e-9)


def test_zones() -> None:
    found = [zone_of(*position) for position in ((37.7, -122.4), (-33.9, 151.2), (0, 180))]
    assert found == ["10N", "56S", "60N"]


def test_a_city_on_a_border_has_one_zone() -> None:
    lon = np.array([-0.2, -0.1, 0.05, 0.1])  # London lies in zones 30 and 31
    zones = choose_zones(np.full(4, 51.5), lon, np.array(["London"] * 4))
    assert len(set(zones)) == 1


def test_what_spreads_further_keeps_its_own_zones() -> None:
    lat, lon = np.array([51.5, 37.7, -33.9]), np.array([-0.2, -122.4, 151.2])
    assert choose_zones(lat, lon, np.array(["all"] * 3)).tolist() == ["30N", "10N", "56S"]


def test_complete_fills_what_is_missing() -> None:
    nan = np.nan
    lat, lon = np.array([37.72306, nan, nan]), np.array([-122.39856, nan, nan])
    east, north = np.array([nan, 553003.03, 5.0]), np.array([nan, 4175258.88, 6.0])
    zones = np.array(["", "10N", ""], object)
    complete(lat, lon, east, north, zones, np.array(["a"] * 3))
    assert zones.tolist() == ["10N", "10N", ""]
    assert east[0] == pytest.approx(553003.03, abs=1)
    assert (lat[1], lon[1]) == pytest.approx((37.72306, -122.39856), abs=1e-5)
    assert np.isnan([lat[2], lon[2]]).all() and (east[2], north[2]) == (5.0, 6.0)


def test_a_zone_is_found_where_metres_and_degrees_are_one_point() -> None:
    lat = np.array([37.72306, 37.72306, 37.72306, 51.5, 37.72306, -33.8568])
    lon = np.array([-122.39856, -122.39856, -122.39856, 0.05, -122.39856, 151.2153])
    east, north = np.full(6, 553003.03), np.full(6, 4175258.88)
    east[1] += 200  # another point
    (east[3],), (north[3],) = to_utm(lat[3:4], lon[3:4], "30N")  # written in the zone beside it
    (east[5],), (north[5],) = to_utm(lat[5:], lon[5:], "56S")
    zones = np.array(["", "", "10", "", "11", ""], object)
    complete(lat, lon, east, north, zones, np.array(["a"] * 6))
    assert zones.tolist() == ["10N", "", "10N", "30N", "11", "56S"]


@pytest.mark.parametrize(
    ("heading", "number"),
    [(0, 0), (14.9, 0), (15, 1), (345, 0), (344.9, 11), (-1e-9, 0), (360, 0), (-30, 11), (180, 6)],
)
def test_heading_classes(heading: float, number: int) -> None:
    places = cell_places(
        np.array(["10N"], object), np.array([19.99]), np.array([-0.01]), np.array([heading])
    )
    assert places == [f"10N_1_-1_{number}"]


def test_no_heading_no_class() -> None:
    one = np.array([25.0])
    assert cell_places(np.array([""], object), one, one, np.array([np.nan])) == ["_2_2"]
