"""The demo city: its camera, its plan, and its files."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgray.errors import UserError
from vgray.places import demo_city
from vgray.places.demo_city import CitySettings, generate, survey
from vgray.places.demo_city.camera import GROUND, WALL, Camera, cast
from vgray.places.demo_city.hashing import generator
from vgray.places.demo_city.light import DAY, DUSK, NIGHT, conditions
from vgray.places.demo_city.render import photograph
from vgray.places.demo_city.scene import Scene, scene_around
from vgray.places.filenames import VprName, parse_vpr_name
from vgray.places.store import cache_folder

TINY = CitySettings(places=10, width=32, height=24, images_per_place=4, seed=3)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(TINY, tmp_path_factory.mktemp("demo") / "city", workers=1)


def _names(city: Path, split: str, role: str) -> list[VprName]:
    parsed = [parse_vpr_name(p.name) for p in (city / "images" / split / role).iterdir()]
    names = [name for name in parsed if name is not None]
    assert len(names) == len(parsed) > 0
    return names


def _positions(city: Path, split: str, *roles: str) -> np.ndarray:
    return np.array([(n.east_m, n.north_m) for role in roles for n in _names(city, split, role)])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def _scene(number: int = 0) -> Scene:
    at = survey.place(TINY, number)
    return scene_around(TINY.seed, at.x_m, at.y_m, at.direction)


# The camera


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (7.0, 0.0), (0.0, 5.0), (-4.0, -3.0)])
def test_a_point_on_a_ray_projects_to_the_rays_pixel(pitch: float, roll: float) -> None:
    camera = Camera(1.0, -2.0, 1.6, 200.0, pitch, roll, 80.0)
    across, rise = camera.rays(20, 12)
    depth = np.float32(9.0)
    x, y = camera.points(across.ravel(), np.full(across.size, depth))
    right, forward = camera.to_frame(x, y)
    column, row = camera.project(right, forward, 1.6 + depth * rise.ravel(), 20, 12)
    expected_row, expected_column = np.mgrid[0:12, 0:20] + 0.5
    np.testing.assert_allclose(column, expected_column.ravel(), atol=2e-3)
    np.testing.assert_allclose(row, expected_row.ravel(), atol=2e-3)


def test_a_known_point_is_where_a_pinhole_camera_sees_it() -> None:
    """Looking east from 2 m up with a 90 degree lens: f = 50 px for a picture 100 px wide."""
    camera = Camera(0.0, 0.0, 2.0, 90.0, fov_deg=90.0)
    right, forward = camera.to_frame(np.array([10.0]), np.array([-4.0]))  # south is on the right
    column, row = camera.project(right, forward, np.array([5.0]), 100, 60)
    assert column[0] == pytest.approx(50 + 50 * 4 / 10)
    assert row[0] == pytest.approx(30 - 50 * 3 / 10)


def test_pitch_and_roll_move_the_horizon_as_they_should() -> None:
    ahead = (np.array([0.0]), np.array([1000.0]), np.array([1.6]))
    aside = (np.array([300.0]), np.array([1000.0]), np.array([1.6]))
    looking_up = Camera(0, 0, 1.6, 0, pitch_deg=5)
    assert looking_up.project(*ahead, 100, 80)[1][0] > 40  # the horizon sinks
    clockwise = Camera(0, 0, 1.6, 0, roll_deg=5)
    assert clockwise.project(*aside, 100, 80)[1][0] < 40  # it rises on the right


def test_turning_clockwise_moves_the_scene_to_the_left() -> None:
    east = (np.array([5.0]), np.array([30.0]))
    columns = []
    for heading in (0.0, 10.0, 20.0):
        camera = Camera(0, 0, 1.6, heading)
        right, forward = camera.to_frame(*east)
        columns.append(camera.project(right, forward, np.array([1.0]), 100, 80)[0][0])
    assert columns[0] > columns[1] > columns[2]


def test_rays_meet_the_walls_that_a_brute_force_search_finds() -> None:
    scene = _scene()
    camera = Camera(1.0, -2.0, 2.5, 25.0, pitch_deg=6.0, roll_deg=1.5)
    across, rise = (rays.ravel() for rays in camera.rays(40, 30))
    hits = cast(scene, camera, across, rise)
    best = np.where(rise < -1e-4, camera.height_m / np.maximum(-rise, 1e-9), np.inf)
    wall = np.full(across.size, -1)
    for number in range(len(scene.walls)):
        (r0, r1), (f0, f1) = camera.to_frame(
            np.array([scene.start_m[number, 0], scene.end_m[number, 0]]),
            np.array([scene.start_m[number, 1], scene.end_m[number, 1]]),
        )
        length = np.hypot(r1 - r0, f1 - f0)
        # depth * (across, 1) = start + share * (end - start)
        determinant = across * (f1 - f0) - (r1 - r0)
        share = (r0 - across * f0) / determinant
        depth = (r0 * (f1 - f0) - f0 * (r1 - r0)) / determinant
        top = scene.height_m[number] - scene.gable_slope[number] * length * np.abs(share - 0.5)
        z = camera.height_m + depth * rise
        met = (share >= 0) & (share <= 1) & (depth > 0.2) & (z >= 0) & (z <= top)
        met &= determinant < 0  # its front is towards the camera
        nearer = met & (depth < best)
        best[nearer], wall[nearer] = depth[nearer], number
    assert len({*wall.tolist()}) > 5
    agree = np.where(wall >= 0, (hits.kind == WALL) & (hits.wall == wall), hits.kind != WALL)
    # The table has a few entries for each column of rays: next to an edge, the wall on the other
    # side may be extended by a fraction of a pixel.
    assert agree.mean() > 0.97
    close = agree & np.isfinite(best)
    np.testing.assert_allclose(hits.depth_m[close], best[close], rtol=1e-3)
    assert (hits.kind[(wall < 0) & (rise < -1e-4) & agree] == GROUND).all()


# The photographs


@pytest.mark.parametrize("time_of_day", [DAY, DUSK, NIGHT])
def test_photographs_are_neither_black_nor_burnt_out(time_of_day: str) -> None:
    scene, camera = _scene(), Camera(0, 0, 2.5, 0)
    for month in range(1, 13):
        light = conditions(generator(month), time_of_day, month)
        pixels = photograph(scene, camera, light, 2015, 40, 30)
        assert pixels.shape == (30, 40, 3)
        assert pixels.dtype == np.uint8
        assert 15 < pixels.mean() < 225
        assert pixels.std() > 10


def test_the_same_place_looks_more_like_itself_than_like_other_places() -> None:
    """By day: edges of the same facades agree better than those of other places on average."""
    pictures = []
    for number in range(4):
        scene = _scene(number)
        at = survey.place(TINY, number)
        own = []
        for take in range(3):
            camera = Camera(0.4 * take, 0.3 * take, 2.5, at.heading_deg + 2 * take)
            light = conditions(generator(number, take), DAY, 6)
            picture = photograph(scene, camera, light, 2010 + take, 48, 36).mean(axis=2)
            small = picture.reshape(12, 3, 16, 3).mean(axis=(1, 3))
            own.append((small - small.mean()) / small.std())
        pictures.append(own)
    same = [np.mean(a * b) for own in pictures for a, b in combinations(own, 2)]
    other = [np.mean(a * b) for one, two in combinations(pictures, 2) for a in one for b in two]
    assert np.mean(same) > np.mean(other) + 0.15


# The plan


def test_places_are_the_groups_that_the_vpr_layout_makes(city: Path) -> None:
    """A place is one 10 m cell and one 30 degree class of headings, with all its photographs."""
    groups: dict[tuple[int, int, int], int] = {}
    for role in ("database", "queries"):
        for name in _names(city, "train", role):
            heading_class = int(((name.heading_deg + 15) % 360) // 30)
            cell = (int(name.east_m // 10), int(name.north_m // 10), heading_class)
            groups[cell] = groups.get(cell, 0) + 1
    assert sorted(groups.values()) == [4] * survey.split_sizes(TINY)["train"]


def test_every_query_has_a_database_photograph_within_25_m(city: Path) -> None:
    for split in survey.SPLITS:
        distances = _distances(
            _positions(city, split, "queries"), _positions(city, split, "database")
        )
        assert distances.min(axis=1).max() <= 25


@pytest.mark.parametrize("seed", [0, 1])
def test_places_keep_their_distance(seed: int) -> None:
    """50 m between centres in a split leaves 40 m between photographs; 100 m between splits."""
    settings = CitySettings(places=200, seed=seed)
    places = [survey.place(settings, n) for n in range(survey.count_places(settings))]
    centres = np.array([(p.x_m, p.y_m) for p in places])
    splits = np.array([p.split for p in places])
    distances = _distances(centres, centres) + 1e9 * np.eye(len(centres))
    assert distances.min() >= 50
    between = splits[:, None] != splits[None]
    assert between.any()
    assert distances[between].min() > 100
    assert (centres % 10 == 5).all()
    queried = [p.split for p in places if p.queries]
    assert [queried.count(split) for split in survey.SPLITS] == [140, 40, 20]


def test_names_agree_with_the_camera_and_with_the_globe() -> None:
    from pyproj import Transformer

    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    seen = 0
    for number in range(survey.count_places(TINY)):
        at = survey.place(TINY, number)
        for shot in survey.shots(TINY, at):
            name = parse_vpr_name(shot.name)
            assert name is not None
            assert name.utm_zone == "32N"
            assert name.zone_letter == "T"
            assert name.heading_deg == shot.camera.heading_deg
            assert name.timestamp == f"{shot.year}{shot.month:02d}"
            east, north = to_utm.transform(name.lon, name.lat)
            assert np.hypot(east - name.east_m, north - name.north_m) < 1.5  # five decimals
            city_x = name.east_m - survey.ORIGIN_EAST_M
            city_y = name.north_m - survey.ORIGIN_NORTH_M
            assert city_x - at.x_m == pytest.approx(shot.camera.x_m, abs=0.006)
            assert city_y - at.y_m == pytest.approx(shot.camera.y_m, abs=0.006)
            seen += 1
    assert seen == survey.count_photos(TINY)


def test_queries_are_later_than_the_database(city: Path) -> None:
    for split in survey.SPLITS:
        latest = max(name.timestamp for name in _names(city, split, "database"))
        assert latest < min(name.timestamp for name in _names(city, split, "queries"))


# The files


def test_any_number_of_workers_writes_the_same_bytes(city: Path, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    again = generate(
        TINY, tmp_path / "city", workers=2, progress=lambda done, of: progress.append((done, of))
    )
    files = sorted(p.relative_to(city) for p in city.rglob("*.jpg"))
    assert files == sorted(p.relative_to(again) for p in again.rglob("*.jpg"))
    assert len(files) == survey.count_photos(TINY)
    assert all((city / p).read_bytes() == (again / p).read_bytes() for p in files)
    assert progress[-1] == (len(files), len(files))
    assert progress == sorted(progress)
    with Image.open(city / files[0]) as image:
        assert image.size == (32, 24)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"places": 4}, "4"),
        ({"width": 15}, "15"),
        ({"height": 4097}, "4097"),
        ({"images_per_place": 1}, "1"),
        ({"seed": -1}, "-1"),
        ({"places": 12.0}, "12.0"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, int], found: str) -> None:
    with pytest.raises(UserError, match=f"{next(iter(change))} is {found}, expected"):
        replace(TINY, **change)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        generate(TINY, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(TINY, tmp_path / "city", workers=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_removes_what_a_killed_one_left_but_not_what_a_living_one_makes(
    tmp_path: Path,
) -> None:
    settings = CitySettings(places=5, width=16, height=16, images_per_place=2)
    code = (
        "import signal\n"
        "from vgray.places.demo_city import CitySettings, generate\n"
        "def stop(done, total):\n"
        "    print('begun', flush=True)\n"
        "    signal.pause()\n"
        f"generate({settings!r}, {str(tmp_path / 'city')!r}, workers=1, progress=stop)"
    )
    other = tmp_path / ".city.v2.01234567.partial"  # of another folder, city.v2
    (other / "city").mkdir(parents=True)
    (other / "lock").touch()
    maker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "begun\n"
        (unfinished,) = {*tmp_path.glob("*.partial")} - {other}
        generate(settings, tmp_path / "city", workers=1)
        assert unfinished.is_dir()
    finally:
        maker.kill()
        maker.communicate()
    shutil.rmtree(tmp_path / "city")
    generate(settings, tmp_path / "city", workers=1)
    assert {*tmp_path.iterdir()} == {tmp_path / "city", other}


def test_photographs_are_on_the_disk_before_the_city_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def sync() -> None:
        assert not (tmp_path / "city").exists()
        written.extend(tmp_path.rglob("*.jpg"))

    monkeypatch.setattr(os, "sync", sync)
    settings = CitySettings(places=5, width=16, height=16, images_per_place=2)
    generate(settings, tmp_path / "city", workers=1)
    assert len(written) == survey.count_photos(settings)


def test_a_folder_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        generate(TINY, tmp_path / "file" / "city")


def test_the_default_city_is_made_once_by_whoever_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, vgray.places.demo_city\n"
        "made = sys.modules['vgray.places.demo_city.generate']\n"
        "tiny = made.CitySettings(places=5, width=16, height=16, images_per_place=2)\n"
        "made.CitySettings = lambda: tiny\n"
        "print(made.default_city())"
    )
    home = str(Path(demo_city.__path__[0]).parents[2])
    environment = {**os.environ, "VGRAY_CACHE": str(tmp_path), "PYTHONPATH": home}
    command = [sys.executable, "-c", code]
    racers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert len(answers) == 1
    folder = Path(answers.pop())
    assert len(list(folder.rglob("*.jpg"))) == 5 * 2 + 2
    assert [p for p in folder.parent.iterdir() if p.name.endswith(".partial")] == []

    settings = CitySettings(places=5, width=16, height=16, images_per_place=2)
    monkeypatch.setenv("VGRAY_CACHE", str(tmp_path))
    monkeypatch.setattr(sys.modules[generate.__module__], "CitySettings", lambda: settings)
    started = time.monotonic()
    assert demo_city.default_city() == folder
    assert time.monotonic() - started < 1.0


def test_the_default_city_lies_in_the_cache_folder_of_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CitySettings(places=5, width=16, height=16, images_per_place=2)
    monkeypatch.setattr(sys.modules[generate.__module__], "CitySettings", lambda: settings)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VGRAY_CACHE", "~/x")
    assert demo_city.default_city() == tmp_path / "x" / "demo-city" / settings.key()
    assert cache_folder() == tmp_path / "x"


def test_another_generator_or_other_settings_have_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {TINY.key(), replace(TINY, seed=4).key(), replace(TINY, width=33).key()}
    monkeypatch.setattr("vgray.places.demo_city.settings.GENERATOR_VERSION", 10**6)
    keys.add(TINY.key())
    assert len(keys) == 4
