"""Reading one image, and saying in a few words why an image cannot be read."""

import errno
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from vgray.errors import UserError
from vgray.places.files import is_remote, open_binary

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

# 120 megapixels: above every camera's photographs but some panoramas, and 360 MB decoded. A
# larger header is a mistake or an attack (a small file that decodes to gigabytes).
MAX_PIXELS = 120_000_000

# Raised when decoding changes, so that no stored pixels of an older version are used.
DECODER_VERSION = 1

COLOUR_MODES = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"))
# What phones, cameras and VPR datasets hold; the other decoders are never let near a file. (MPO
# is opened as JPEG.) HEIF joins them once its decoder is imported.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# These formats hold several images without being animated: the first one is the photograph.
_MULTI_PICTURE = frozenset(("MPO", "HEIF"))
# What the system says about the file itself. Anything else (too many open files, a network folder
# that went away) may pass, and says nothing about the image.
_ABOUT_THE_FILE = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.EOVERFLOW,
    )
)
_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_heif_lock = threading.Lock()
_heif_ready = False

# Pillow warns about images that are large or have odd metadata; the large ones are refused here
# and the metadata is not used. (A catch_warnings block around each image is not thread-safe.)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(Exception):  # noqa: N818 (named for what it is, as the design has it)
    """An image that is skipped, counted and listed; the text is a short reason."""


class MissingImage(UnreadableImage):
    """One whose file is not there."""


@contextmanager
def open_image(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image and read its header only. Raises UnreadableImage with the reason.

    Raises UserError where the system and not the image is at fault: no permission, too many open
    files, storage that fails, too little memory.

    Refused are empty files, what is no image, animations, more than 8 bits per channel, colours
    other than grey and RGB (CMYK, LAB), and headers of more than ``MAX_PIXELS``.
    """
    text = str(path)
    if text.lower().endswith((".heic", ".heif")):
        _register_heif()
    try:
        if not is_remote(text):
            found = Path(text).stat()
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableImage("not a file")  # reading from a pipe would never end
            if found.st_size == 0:
                raise UnreadableImage("empty file")
        stream = open_binary(text)
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and error.errno not in _ABOUT_THE_FILE:
            raise _system_fault(text, error) from error
        is_missing = isinstance(error, FileNotFoundError) or error.errno in _MISSING
        kind = MissingImage if is_missing else UnreadableImage
        raise kind((error.strerror or str(error)).lower()) from error
    with stream:
        try:
            image = _open(stream)
            _check(image)
        except UnreadableImage:
            raise
        except UnidentifiedImageError as error:
            raise UnreadableImage("not an image") from error
        except Image.DecompressionBombError as error:
            raise UnreadableImage(f"larger than {MAX_PIXELS // 10**6} megapixels") from error
        except Exception as error:  # a broken file makes a decoder raise anything at all
            if _is_system_fault(error):
                raise _system_fault(text, error) from error
            raise UnreadableImage(f"broken: {_one_line(error)}") from error
        with image:
            yield image


def read_image(path: str | Path, size_px: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) RGB, turned as its EXIF orientation says.

    ``size_px`` is (height, width); the image is squashed to it with an antialiased bilinear
    filter, None keeps its own size. Large JPEGs are decoded at a half, a quarter or an eighth,
    but never below twice the wanted size. Transparency is dropped. Raises UnreadableImage, and
    UserError as ``open_image``. Safe to call from several threads, which run in parallel.
    """
    return read_resized(path, (lambda _: size_px) if size_px is not None else None)[0]


def read_resized(
    path: str | Path, resized_size: Callable[[Size], Size] | None
) -> tuple[NDArray[np.uint8], Size]:
    """Return an image as ``read_image`` does, and the (height, width) that its file has as seen.

    ``resized_size`` is called with that height and width, and returns those to resize to. Raises
    UnreadableImage, and UserError as ``open_image``.
    """
    with open_image(path) as image:
        try:
            turn = _TURNS.get(_orientation(image))
            size_px = _size_as_seen(image)
            wanted = resized_size(size_px) if resized_size is not None else size_px
            if wanted != size_px and image.format in ("JPEG", "MPO"):
                height, width = reversed(wanted) if _is_sideways(image) else wanted
                image.draft("RGB", (2 * width, 2 * height))
            image.load()
            upright = image if turn is None else image.transpose(turn)
            upright = upright.convert("RGB")
            if upright.size != (wanted[1], wanted[0]):
                upright = upright.resize((wanted[1], wanted[0]), Image.Resampling.BILINEAR)
            return np.array(upright, np.uint8), size_px
        except UnreadableImage:
            raise
        except Exception as error:  # see open_image
            if _is_system_fault(error):
                raise _system_fault(str(path), error) from error
            reason = "truncated" if "truncated" in str(error).lower() else "broken"
            raise UnreadableImage(f"{reason}: {_one_line(error)}") from error


def read_size(path: str | Path) -> tuple[int, int]:
    """Return the (height, width) of an image as it is seen, from its header.

    Raises UnreadableImage, and UserError as ``open_image``.
    """
    with open_image(path) as image:
        return _size_as_seen(image)


def _open(stream: BinaryIO) -> ImageFile.ImageFile:
    if not _heif_ready:
        try:
            return Image.open(stream, formats=_FORMATS)
        except UnidentifiedImageError:
            # HEIC under another name, as phones' exports have it.
            _register_heif()
            stream.seek(0)
    return Image.open(stream, formats=(*_FORMATS, "HEIF"))


def _check(image: ImageFile.ImageFile) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"larger than {MAX_PIXELS // 10**6} megapixels: {width} x {height} pixels"
        )
    if image.format not in _MULTI_PICTURE and getattr(image, "n_frames", 1) > 1:
        raise UnreadableImage(f"animated: {getattr(image, 'n_frames', 1)} frames")
    # 16-bit RGB is opened as mode RGB; only the layout of its raw pixels tells.
    if image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in image.tile):
        raise UnreadableImage("more than 8 bits per channel")
    if image.mode not in COLOUR_MODES:
        raise UnreadableImage(f"colours are {image.mode}, not grey or RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF blocks are broken in every way a parser can trip over
        return 1


def _size_as_seen(image: Image.Image) -> Size:
    width, height = image.size
    return (width, height) if _is_sideways(image) else (height, width)


def _is_sideways(image: Image.Image) -> bool:
    return 5 <= _orientation(image) <= 8


def _register_heif() -> None:
    global _heif_ready
    with _heif_lock:
        if not _heif_ready:
            import pillow_heif

            pillow_heif.register_heif_opener()
            _heif_ready = True


def _is_system_fault(error: Exception) -> bool:
    """Tell the system's errors from a decoder's, which carry no number."""
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _ABOUT_THE_FILE
    return isinstance(error, MemoryError)


def _system_fault(path: str, error: Exception) -> UserError:
    reason = "not enough memory" if isinstance(error, MemoryError) else _one_line(error)
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror.lower()
    return UserError(f"cannot read {path}: {reason}; see to that and start again")


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:120] if lines else type(error).__name__
