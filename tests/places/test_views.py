"""How queries are taken: sizes, crops and brightness, against plain Pillow and torchvision."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from vgray.places import UnreadableImage, read_image
from vgray.places.images import MAX_PIXELS
from vgray.places.views import MAX_WHOLE_PIXELS, QUERY_METHODS, read_views, resized_size

SIZE = (48, 64)


def street(height: int, width: int) -> Image.Image:
    """Smooth, and with four different corners."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return Image.fromarray(np.dstack([red, green, 255 - red]).astype(np.uint8))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    street(90, 151).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_shapes_of_every_method(photo: Path) -> None:
    shapes = {method: read_views(photo, SIZE, method).pixels.shape for method in QUERY_METHODS}
    assert shapes == {
        "resize": (1, 48, 64, 3),
        "single_query": (1, 48, 80, 3),
        "native_size": (1, 90, 151, 3),
        "central_crop": (1, 48, 64, 3),
        "five_crops": (5, 48, 48, 3),
    }


@pytest.mark.parametrize("size_px", [(48, 64), (64, 48), (50, 50)])
@pytest.mark.parametrize("own_px", [(90, 151), (151, 90), (33, 40), (64, 64), (47, 64), (480, 639)])
def test_sizes_and_crops_are_torchvisions(
    tmp_path: Path, own_px: tuple[int, int], size_px: tuple[int, int]
) -> None:
    image = street(*own_px)
    image.save(tmp_path / "photo.png")

    def views(method: str) -> np.ndarray:
        return read_views(tmp_path / "photo.png", size_px, method).pixels.astype(int)

    single = v2.functional.resize(v2.functional.pil_to_tensor(image), [min(size_px)])
    ours = views("single_query")
    assert ours.shape == (1, *single.shape[1:], 3)
    assert abs(ours[0] - single.permute(1, 2, 0).numpy()).max() <= 1
    five = v2.functional.five_crop(torch.from_numpy(ours[0]).permute(2, 0, 1), [min(size_px)] * 2)
    assert np.array_equal(views("five_crops"), torch.stack(five).permute(0, 2, 3, 1).numpy())
    scale = max(wanted / own for wanted, own in zip(size_px, own_px, strict=True))
    covering = [max(w, math.floor(o * scale)) for w, o in zip(size_px, own_px, strict=True)]
    whole = np.array(image.resize(covering[::-1], Image.Resampling.BILINEAR), int)
    cut = v2.functional.center_crop(torch.from_numpy(whole).permute(2, 0, 1), list(size_px))
    assert np.array_equal(views("central_crop")[0], cut.permute(1, 2, 0).numpy())
    assert np.array_equal(views("native_size")[0], np.array(image))
    assert np.array_equal(views("resize")[0], read_image(tmp_path / "photo.png", size_px))


def test_brightness_is_of_the_resized_image_before_it_is_cropped(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 60:] = 200  # a quarter, which the central crop does not see
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    found = {
        method: read_views(tmp_path / "photo.png", (40, 40), method) for method in QUERY_METHODS
    }
    for method in ("single_query", "native_size", "central_crop", "five_crops"):
        assert found[method].brightness == 50, method
    assert found["resize"].brightness == pytest.approx(found["resize"].pixels.mean(), abs=1e-9)
    assert found["central_crop"].pixels.max() == 0
    white = Image.fromarray(np.full((3000, 2500, 3), 255, np.uint8))
    white.save(tmp_path / "white.png")  # more than 32 bits of it
    assert read_views(tmp_path / "white.png", (40, 40), "native_size").brightness == 255


def test_sizes_are_of_the_file_as_it_is_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    street(600, 800).save(tmp_path / "photo.jpg", exif=exif)  # seen as 800 high, and drafted
    for method in QUERY_METHODS:
        views = read_views(tmp_path / "photo.jpg", SIZE, method)
        assert (views.height_px, views.width_px) == (800, 600), method
    upright = np.array(street(600, 800).rotate(-90, expand=True).resize((48, 64)), int)
    views = read_views(tmp_path / "photo.jpg", (48, 48), "single_query")
    assert views.pixels.shape == (1, 64, 48, 3)
    assert abs(views.pixels[0] - upright).max() <= 6


def test_large_images_are_decoded_at_a_fraction_of_their_size_only_if_they_are_shrunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    street(1024, 1536).save(tmp_path / "photo.jpg")
    from PIL import JpegImagePlugin

    drafted = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def noting(self: Image.Image, *arguments: object) -> object:
        result = draft(self, *arguments)
        drafted.append(self.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", noting)
    for method, expected in (
        ("resize", [(192, 128)]),
        ("single_query", [(192, 128)]),
        ("central_crop", [(192, 128)]),
        ("native_size", []),
    ):
        drafted.clear()
        read_views(tmp_path / "photo.jpg", SIZE, method)
        assert drafted == expected, method


def test_images_that_a_network_sees_whole_are_bounded() -> None:
    for own in ((3024, 4032), (4032, 3024), (2000, 50_000)):
        for method in ("native_size", "single_query"):
            height, width = resized_size(own, (2400, 2400), method)
            assert 0.99 * MAX_WHOLE_PIXELS < height * width <= MAX_WHOLE_PIXELS
            assert width / height == pytest.approx(own[1] / own[0], rel=1e-2)
    assert resized_size((2000, 2000), SIZE, "native_size") == (2000, 2000)


def test_an_image_that_no_network_could_see_is_unreadable(tmp_path: Path) -> None:
    Image.new("RGB", (60_000, 1)).save(tmp_path / "line.png")
    assert MAX_PIXELS < 48 * 48 * 60_000
    for method in ("central_crop", "five_crops"):
        with pytest.raises(UnreadableImage, match=f"too narrow for {method}: 1x60000 pixels"):
            read_views(tmp_path / "line.png", SIZE, method)
    for method in ("single_query", "native_size"):
        with pytest.raises(UnreadableImage, match=f"too small for {method}: 1x60000 pixels"):
            read_views(tmp_path / "line.png", SIZE, method)
    with pytest.raises(UnreadableImage, match="too small for native_size: 32x31 pixels"):
        resized_size((32, 31), SIZE, "native_size")
    assert resized_size((32, 31), SIZE, "single_query") == (49, 48)
    with pytest.raises(UnreadableImage, match="too small for single_query: 2x9000 pixels"):
        resized_size((2, 9000), (480, 640), "single_query")  # 480 x 2,160,000, shrunk
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(UnreadableImage, match="empty file"):
        read_views(tmp_path / "empty.jpg", SIZE, "five_crops")


def test_no_such_method(photo: Path) -> None:
    with pytest.raises(ValueError, match="found 'nearest_crop'"):
        read_views(photo, SIZE, "nearest_crop")
