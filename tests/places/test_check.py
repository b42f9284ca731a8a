from pathlib import Path

import pytest
from PIL import Image

from vgray.places import check, load_manifest
from vgray.places.filenames import format_name


def image(
    root: Path,
    folder: str,
    east: float,
    *,
    count: int = 1,
    zone: int = 10,
    size: tuple[int, int] = (32, 24),
) -> list[Path]:
    paths = []
    for number in range(count):
        name = format_name(
            east_m=553000 + east,
            north_m=4175000 + 0.5 * number,
            utm_zone=zone,
            zone_letter="S",
            lat=37.7,
            lon=-122.4,
            heading_deg=0,
        )
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number * 9, 80, 90)).save(path)
        paths.append(path)
    return paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three places of 4 images and one of 2; one of three val queries has no positive."""
    for place, count in enumerate((4, 4, 4, 2)):
        image(tmp_path, "train/database", 100 * place, count=count)
    image(tmp_path, "val/database", 1000, count=2)
    for east in (1005, 1024, 1500):
        image(tmp_path, "val/queries", east, size=(64, 48))
    return tmp_path


def test_a_sound_dataset(root: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = check(load_manifest(root), progress=lambda *step: steps.append(step))
    assert report.counts == {
        "train": {"database": 14},
        "val": {"database": 2, "queries": 3},
    }
    assert (report.images, report.layout, report.problems) == (19, "VPR folders", [])
    assert report.sizes_px == {"24 x 32": 16, "48 x 64": 3}
    assert (report.places, report.trainable_places, report.small_places) == (4, 3, 1)
    val = report.evaluations["val"]
    assert (val.queries, val.database, val.queries_without_positive) == (3, 2, 1)
    assert val.mean_positives == pytest.approx(4 / 3)
    assert report.utm_zones == {"train": ["10N"], "val": ["10N"]}
    assert report.unreadable == [] and report.duplicate_positions == 0
    assert report.gigabytes == pytest.approx(
        sum(path.stat().st_size for path in root.rglob("*.jpg")) / 1e9
    )
    assert steps[-1] == (19, 19)
    assert [warning.split(" ")[:3] for warning in report.warnings] == [
        ["1", "of", "4"],
        ["1", "of", "3"],
    ]


def test_unreadable_images_are_named_and_not_counted(root: Path) -> None:
    bad = sorted((root / "train/database").iterdir())
    bad[0].write_bytes(b"")
    bad[5].write_bytes(bad[5].read_bytes()[:-20])
    report = check(load_manifest(root))
    assert [(Path(path), why.split(":")[0]) for path, why in report.unreadable] == [
        (bad[0], "empty file"),
        (bad[5], "truncated"),
    ]
    assert report.trainable_places == 1
    assert "1 training place has 4 images" in report.problems[0]
    headers = check(load_manifest(root), decode=False)
    assert [Path(path) for path, _ in headers.unreadable] == [bad[0]]


def test_duplicates(root: Path) -> None:
    first = min((root / "train/database").iterdir())
    (root / "train/database/again").mkdir()
    (root / "train/database/again" / first.name).write_bytes(first.read_bytes())
    assert check(load_manifest(root)).duplicate_positions == 1


def remove(root: Path, *folders: str) -> None:
    for folder in folders:
        for path in (root / folder).iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train/database"], "no training images"),
        (["val/queries"], "no val queries"),
        (["val/database"], "no val database images"),
        (["val/database", "val/queries"], "no val queries"),
    ],
)
def test_what_cannot_be_trained_is_a_problem(root: Path, folders: list[str], message: str) -> None:
    remove(root, *folders)
    table = load_manifest(root)
    assert [problem for problem in check(table).problems if message in problem]


def test_mixed_zones_are_refused(root: Path) -> None:
    image(root, "val/database", 1000, zone=11)
    table = load_manifest(root)
    assert "2 UTM zones (10N, 11N)" in check(table).problems[0]


def test_mixed_zones_in_training_are_a_warning(root: Path) -> None:
    image(root, "train/database", 0, zone=11, count=4)
    report = check(load_manifest(root))
    assert report.problems == [] and any("2 UTM zones" in text for text in report.warnings)


def test_mixed_zones_in_test_are_a_problem(root: Path) -> None:
    image(root, "test/database", 0)
    image(root, "test/queries", 0, zone=11)
    table = load_manifest(root)
    assert "test split lies in 2" in check(table).problems[0]


@pytest.mark.photos
def test_real_photographs(photos: Path) -> None:
    report = check(load_manifest(photos / "sf_night_small"), decode=False)
    assert report.problems == [] and report.unreadable == []
    assert (report.places, report.trainable_places) == (200, 199)
    assert report.evaluations["val"].queries_without_positive == 0
    assert report.sizes_px == {"256 x 256": 2646}
