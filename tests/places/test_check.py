from pathlib import Path

import pytest
from small_set import add_images, remove_images, write_small_set

from vgray.places import check, load_manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_small_set(tmp_path)


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
    remove_images(root, *folders)
    table = load_manifest(root)
    assert [problem for problem in check(table).problems if message in problem]


def test_mixed_zones_are_refused(root: Path) -> None:
    add_images(root, "val/database", 1000, zone=11)
    table = load_manifest(root)
    assert "2 UTM zones (10N, 11N)" in check(table).problems[0]


def test_mixed_zones_in_training_are_a_warning(root: Path) -> None:
    add_images(root, "train/database", 0, zone=11, count=4)
    report = check(load_manifest(root))
    assert report.problems == [] and any("2 UTM zones" in text for text in report.warnings)


def test_mixed_zones_in_test_are_a_problem(root: Path) -> None:
    add_images(root, "test/database", 0)
    add_images(root, "test/queries", 0, zone=11)
    table = load_manifest(root)
    assert "test split lies in 2" in check(table).problems[0]


@pytest.mark.photos
def test_real_photographs(photos: Path) -> None:
    report = check(load_manifest(photos / "sf_night_small"), decode=False)
    assert report.problems == [] and report.unreadable == []
    assert (report.places, report.trainable_places) == (200, 199)
    assert report.evaluations["val"].queries_without_positive == 0
    assert report.sizes_px == {"256 x 256": 2646}
