"""The contact sheet: the right images in the right places, and words above them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places import load_manifest
from vgray.places.images import read_image
from vgray.places.preview import describe_augmentation, preview, spread_images
from vgray.recipe.augmentation import Augmentation


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)


def test_a_row_is_the_original_and_three_draws(noise: NDArray[np.uint8]) -> None:
    settings = Augmentation(brightness=(0.1, 0.9))
    sheet = preview(noise, settings, seed=1)
    # Enlarged three times, with margins of 6 and two lines of 18.
    assert sheet.size == (4 * (3 * 64 + 6) + 6, 6 + 2 * 18 + 2 * (3 * 32 + 6))
    pixels = np.asarray(sheet)
    assert (pixels[:42] < 100).any()  # words
    means = set()
    for row, original in enumerate(noise):
        top = 42 + row * 102
        cells = [pixels[top : top + 96, 6 + i * 198 :][:, :192][::3, ::3] for i in range(4)]
        assert np.array_equal(cells[0], original)
        for cell in cells[1:]:
            assert 0.09 < cell.mean() / original.mean() < 0.91
            means.add(cell.mean())
    assert len(means) == 6
    assert np.array_equal(np.asarray(preview(noise, settings, seed=1)), pixels)
    assert not np.array_equal(np.asarray(preview(noise, settings, seed=2)), pixels)


def test_every_image_stands_for_a_query(noise: NDArray[np.uint8]) -> None:
    for_all = preview(noise, Augmentation(brightness=(0.1, 0.9)))
    settings = Augmentation(brightness=(0.1, 0.9), images="queries")
    for_queries = preview(noise, settings)
    assert np.array_equal(np.asarray(for_queries)[42:], np.asarray(for_all)[42:])
    assert describe_augmentation(settings) == ["brightness=[0.1, 0.9]", "queries only"]


def test_large_images_keep_their_size_and_long_words_are_wrapped() -> None:
    everything: dict[str, Any] = {
        name: {} for name in Augmentation.model_fields if name != "images"
    }
    settings = Augmentation.model_validate({**everything, "brightness": [0.5, 1]})
    said = describe_augmentation(settings)
    assert said[:3] == ["random_crop min_scale=0.6", "perspective distortion=0.3 p=0.5",
                        "rotation degrees=10"]  # fmt: skip
    assert len(said) == 9
    large = preview(np.zeros((1, 100, 250, 3), np.uint8), settings)
    small = preview(np.zeros((1, 16, 4, 3), np.uint8), settings)
    assert large.width == 4 * 256 + 6 and 400 < small.width < 600
    assert (large.height - 106 - 6) % 18 == (small.height - 198 - 6) % 18 == 0
    assert small.height - 198 > large.height - 106 > 2 * 18 + 6


def test_nothing_on_and_nothing_to_show(noise: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match=r"nothing is on.*brightness.*random_erasing"):
        preview(noise, Augmentation(images="queries"))
    with pytest.raises(ValueError, match="no images"):
        preview(noise[:0], Augmentation(brightness=(0.1, 0.3)))


def test_images_are_spread_over_the_train_split(tiny_city: Path) -> None:
    manifest = load_manifest(tiny_city)
    split = manifest["split"].to_pylist()
    train = [row for row in range(manifest.num_rows) if split[row] == "train"]
    chosen = [train[0], train[round((len(train) - 1) / 2)], train[-1]]
    paths = [manifest["path"][row].as_py() for row in chosen]
    expected = np.stack([read_image(path, (20, 30)) for path in paths])
    assert np.array_equal(spread_images(manifest, (20, 30), 3), expected)
    assert len(spread_images(manifest.take(train[:4]), (20, 30), 9)) == 4


def test_images_that_cannot_be_had(tiny_city: Path, tmp_path: Path) -> None:
    manifest = load_manifest(tiny_city)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    train = [row for row, split in enumerate(manifest["split"].to_pylist()) if split == "train"]
    two = manifest.take(train[:2])

    def with_paths(paths: list[str]) -> pa.Table:
        return two.set_column(0, two.schema.field(0), pa.array(paths))

    paths = two["path"].to_pylist()
    assert len(spread_images(with_paths([str(broken), paths[1]]), (20, 30), 2)) == 1
    with pytest.raises(UserError, match=r"can be read \(.*broken.jpg: not an image\)"):
        spread_images(with_paths([str(broken), str(broken)]), (20, 30), 2)
    others = [row for row in range(manifest.num_rows) if row not in set(train)]
    with pytest.raises(UserError, match="no training images"):
        spread_images(manifest.take(others), (20, 30), 2)
