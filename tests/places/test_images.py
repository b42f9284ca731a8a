import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgray.errors import UserError
from vgray.places import UnreadableImage, images, read_image, read_size
from vgray.places.images import MAX_PIXELS

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def street(height: int = 60, width: int = 80) -> Image.Image:
    """Smooth and with four different corners, so that turns and squashes show."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return Image.fromarray(np.dstack([red, green, 255 - red]).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def png_header(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def write_frames(path: Path, kind: str) -> None:
    frames = [street(), street().rotate(90).resize((80, 60))]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.jpg": (lambda p: p.write_bytes(b""), "empty file"),
    "text.jpg": (lambda p: p.write_text("no image"), "not an image"),
    "truncated.jpg": (lambda p: p.write_bytes(jpeg(street())[:-300]), "truncated"),
    "header.jpg": (lambda p: p.write_bytes(jpeg(street())[:30]), "."),
    "truncated.png": (
        lambda p: street().save(p) or p.write_bytes(p.read_bytes()[:-90]),
        "truncated|broken",
    ),
    "broken.png": (
        lambda p: p.write_bytes(png_header(4, 4, 8, 2, b"")[:-30] + b"x" * 30),
        "broken",
    ),
    "animated.gif": (lambda p: write_frames(p, "GIF"), "animated: 2 frames"),
    "animated.png": (lambda p: write_frames(p, "PNG"), "animated: 2 frames"),
    "animated.webp": (lambda p: write_frames(p, "WEBP"), "animated: 2 frames"),
    "deep_grey.png": (
        lambda p: p.write_bytes(png_header(1, 1, 16, 0, b"\0\0\0")),
        "more than 8 bits",
    ),
    "deep_rgb.png": (
        lambda p: p.write_bytes(png_header(1, 1, 16, 2, b"\0" * 7)),
        "more than 8 bits",
    ),
    "postscript.jpg": (lambda p: street().save(p, "EPS"), "not an image"),
    "loop.jpg": (lambda p: p.symlink_to(p.name), "too many levels"),
    "cmyk.jpg": (lambda p: p.write_bytes(jpeg(street().convert("CMYK"))), "CMYK"),
    "lab.tif": (lambda p: Image.new("LAB", (8, 8)).save(p), "LAB"),
    "float.tif": (lambda p: Image.new("F", (8, 8)).save(p), "colours are F"),
    "bomb.png": (
        lambda p: p.write_bytes(png_header(11_000, 11_000, 1, 0, b"\0" * 100)),
        "larger than 120 megapixels",
    ),
    "huge_bomb.png": (
        lambda p: p.write_bytes(png_header(60_000, 60_000, 8, 2, b"\0" * 100)),
        "larger than 120 megapixels",
    ),
    "folder.jpg": (lambda p: p.mkdir(), "not a file"),
    "pipe.jpg": (lambda p: os.mkfifo(p), "not a file"),
    "link.jpg": (lambda p: p.symlink_to("nowhere.jpg"), "no such file"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("size", [None, (16, 16)])
def test_bad_images_say_why(name: str, size: tuple[int, int] | None, tmp_path: Path) -> None:
    write, reason = BAD[name]
    write(tmp_path / name)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read_image(tmp_path / name, size)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB"])
def test_other_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    street().convert(mode).save(tmp_path / "image.png")
    pixels = read_image(tmp_path / "image.png", None)
    assert pixels.shape == (60, 80, 3) and pixels.dtype == np.uint8
    expected = np.asarray(street().convert(mode).convert("RGB"))
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    seen = street(120, 160)
    stored = seen if back is None else seen.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg(stored, exif=exif))
    assert read_size(path) == (120, 160)
    for size in (None, (120, 160), (30, 50)):
        expected = np.asarray(seen if size is None else seen.resize(size[::-1], 2), int)
        difference = np.abs(read_image(path, size) - expected)
        assert difference.mean() < 3  # JPEG's own loss


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (150, 200, 3), np.uint8)).resize((1600, 1200), 3)
    noise.save(tmp_path / "large.jpg", quality=95)
    noise.save(tmp_path / "large.png")
    quick = read_image(tmp_path / "large.jpg", (120, 160)).astype(int)
    exact = read_image(tmp_path / "large.png", (120, 160)).astype(int)
    assert np.abs(quick - exact).mean() < 2


def test_a_photograph_with_a_second_picture_is_no_animation(tmp_path: Path) -> None:
    street().save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[street(30, 40)])
    assert read_image(tmp_path / "phone.jpg", None).shape == (60, 80, 3)


def test_heic_under_any_name(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    for name in ("photo.heic", "photo.HEIF", "photo.jpg"):
        street().save(tmp_path / name, "HEIF", quality=90)
        pixels = read_image(tmp_path / name, None)
        assert np.abs(pixels - np.asarray(street(), int)).mean() < 6
        assert read_size(tmp_path / name) == (60, 80)


def test_threads_read_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        street(40 + number, 60).save(path)
    alone = [read_image(path, (24, 32)) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: read_image(path, (24, 32)), paths))
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (OSError(errno.ESTALE, "Stale file handle"), "stale file handle"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (MemoryError(), "not enough memory"),
    ],
)
@pytest.mark.parametrize("place", ["open", "header", "pixels"])
def test_a_fault_of_the_system_is_none_of_the_image(
    fault: Exception, reason: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    street().save(tmp_path / "image.png")
    if place == "open":
        if isinstance(fault, MemoryError):
            return
        monkeypatch.setattr(images, "open_binary", fail)
    elif place == "header":
        monkeypatch.setattr(images.Image, "open", fail)
    else:
        monkeypatch.setattr(images.Image.Image, "convert", fail)
    with pytest.raises(UserError, match=f"cannot read {tmp_path}/image.png: {reason}; see"):
        read_image(tmp_path / "image.png", (16, 16))


def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    (tmp_path / "odd.jpg").write_bytes(jpeg(street(), exif=exif))
    assert read_size(tmp_path / "odd.jpg") == (60, 80)
    assert read_image(tmp_path / "odd.jpg", None).shape == (60, 80, 3)


def test_nothing_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000, 1, 0, b"\0" * 100))  # where Pillow warns
    code = (
        "import sys; from vgray.places import read_image, UnreadableImage\n"
        "try: read_image(sys.argv[1], (8, 8))\n"
        "except UnreadableImage: pass"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert MAX_PIXELS > 10_000**2
