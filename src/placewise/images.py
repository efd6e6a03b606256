"""Bytes of a file → upright RGB pixels, safely and fast.

The law of this module: whatever the bytes are, the result is an image or an ``ImageError``. Size is judged by the
file's header, before any pixel is decoded. Everything is thread-safe, and nothing of Pillow's global state is used:
``PIL.Image.open`` would judge size by a process-wide limit and report it through process-wide warning filters, so
Pillow's readers are called directly, and only those of common photo formats. (Pillow still warns, in the usual Python
way, of damaged EXIF data; whoever owns the process may filter that.)
"""

from __future__ import annotations

import io
import re
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from placewise.core import Image, InputRule
from placewise.errors import ImageError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

MAX_PIXELS = 200_000_000
"""An image with more pixels is refused: it needs gigabytes, and photos of that size come from no camera."""

MAX_SIDE = 65_535
"""The longest side that is decoded, in pixels; it is JPEG's own limit."""

MAX_BYTES = 512 * 2**20
"""The largest file that is read."""

MAX_ASPECT = 16
"""An image more elongated than this is cut to its centre before it is resized, so that memory stays bounded."""

_READERS: tuple[tuple[re.Pattern[bytes], Callable[[io.BytesIO, str], ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),  # of a multi-picture file (MPO) the first picture
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    (re.compile(rb"P[1-6fy]"), PpmImageFile),
    (re.compile(rb"....ftyp(avif|avis|mif1|msf1)", re.DOTALL), AvifImageFile),
)
FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or AVIF"
"""The formats that are read, in words."""

_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the image upright (Exif 2.32, section 4.6.4, tag 0x0112)."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: ``missing``; ``unreadable`` for a folder, a device or a file that may not be read; ``too_large``
            above ``MAX_BYTES``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            message = "the photo must be a file, got a folder or a device; correct the path"
            raise ImageError(message, kind="unreadable")
        if status.st_size > MAX_BYTES:
            message = f"a photo's file must have at most {MAX_BYTES} bytes, got {status.st_size}; save it smaller"
            raise ImageError(message, kind="too_large")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        message = "the photo's file does not exist; correct the path or remove the row"
        raise ImageError(message, kind="missing") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        message = f"the photo's file cannot be read ({reason}); correct the path or its permissions"
        raise ImageError(message, kind="unreadable") from error


def header_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as the header states them, before EXIF orientation; no pixel is decoded.

    Raises:
        ImageError: As ``decode``.
    """
    width, height = _open(data).size
    return width, height


def decode(data: bytes, *, at_least: int | None = None) -> Image:
    """Decode the bytes of a file to upright RGB.

    EXIF orientation is applied. Transparent pixels are shown on white. Gray values of 16 bits keep their high byte,
    as Pillow does for 16-bit colour; see ``_to_eight_bits`` for wider ones. Of an animation the first frame is used.
    Colour profiles are ignored, as all common feature extractors do.

    Args:
        data: A whole file in one of ``FORMATS``.
        at_least: Decode a JPEG directly at 1/2, 1/4 or 1/8 of its size, as long as the shorter side keeps this many
            pixels. Several times faster for large photos. Other formats are decoded in full.

    Returns:
        ``(H, W, 3)`` uint8. Without ``at_least``, opaque images are exactly Pillow's ``convert("RGB")``.

    Raises:
        ImageError: ``unreadable``, ``truncated`` or ``too_large``.
    """
    if at_least is not None and at_least < 1:
        message = f"at_least must be 1 pixel or more, got {at_least}"
        raise OptionError(message)
    image = _open(data)
    try:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        orientation = _orientation(image)
        rgb = _to_rgb(image)
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
        return np.array(rgb)
    except Exception as error:  # damaged files make Pillow raise nearly anything, from KeyError to MemoryError
        raise _image_error(error, data) from error


def prepare(image: Image, rule: InputRule, *, strip: bool = False) -> Image:
    """Resize and crop an image as a network's input rule says.

    The arithmetic is torchvision's ``Resize`` (shorter side to ``rule.resize``, the longer one rounded down, or to
    the nearest pixel where the rule says so) followed by ``CenterCrop``, with Pillow's antialiased filters.

    Args:
        image: ``(H, W, 3)`` uint8 of any size.
        rule: Sizes and filter; its mean and std are applied by the network.
        strip: Crop the shorter side only.

    Returns:
        ``(rule.crop, rule.crop, 3)`` uint8, or the whole resized image where ``rule.crop`` is None.
    """
    image = resize(_cut_to_aspect(image), rule)
    return image if rule.crop is None else cut_centre(image, rule.crop, strip=strip)


def cut_centre(image: Image, side: int, *, strip: bool = False) -> Image:
    """The ``side`` x ``side`` pixels in the centre; of a strip, the shorter side is cut only."""
    height, width = image.shape[:2]
    wide = width if strip and width >= height else side
    high = height if strip and height > width else side
    left, top = round((width - wide) / 2), round((height - high) / 2)
    return image[top : top + high, left : left + wide].copy()


def resize(image: Image, rule: InputRule) -> Image:
    """The whole image, its shorter side ``rule.resize`` pixels, the longer one rounded as the rule says."""
    picture = PIL.Image.fromarray(image)
    width, height = picture.size
    shorter, longer = sorted((width, height))
    scaled = rule.resize * longer / shorter / rule.multiple
    length = (int if rule.rounding == "down" and rule.multiple == 1 else round)(scaled) * rule.multiple
    size = (rule.resize, length) if width <= height else (length, rule.resize)
    return np.array(picture.resize(size, PIL.Image.Resampling[rule.interpolation.upper()]))


def thumbnail(image: Image, *, longer_side: int) -> bytes:
    """A small JPEG of an image for reports.

    Args:
        image: ``(H, W, 3)`` uint8.
        longer_side: Longer side of the result in pixels; smaller images keep their size.
    """
    picture = PIL.Image.fromarray(_cut_to_aspect(image))
    picture.thumbnail((longer_side, longer_side), PIL.Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80, optimize=True)
    return file.getvalue()


def _open(data: bytes) -> ImageFile:
    """Read the header only, and refuse sizes that are not decoded."""
    reader = next((reader for signature, reader in _READERS if signature.match(data)), None)
    if reader is None:
        what = f"a file that starts with {data[:8]!r}" if data else "an empty file"
        message = f"a photo must be a {FORMATS} image, got {what}; convert or replace it"
        raise ImageError(message, kind="unreadable")
    try:
        image = reader(io.BytesIO(data), "")
    except Exception as error:  # see decode
        raise _image_error(error, data) from error
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        message = (
            f"a photo must have at most {MAX_PIXELS} pixels and no side above {MAX_SIDE}, "
            f"got {width} x {height}; save it smaller"
        )
        raise ImageError(message, kind="too_large")
    return image


def _image_error(error: Exception, data: bytes) -> ImageError:
    """What a failure of Pillow means."""
    text = str(error).lower()
    if isinstance(error, PIL.Image.DecompressionBombError | MemoryError):
        message = "the photo is too large to decode; save it smaller"
        return ImageError(message, kind="too_large")
    if "truncated" in text or "broken data stream" in text or _ends_before_riff(data):
        message = "the photo's file is cut off or its pixels are damaged; copy it again from where it came"
        return ImageError(message, kind="truncated")
    message = f"the photo cannot be decoded ({' '.join(text.split()) or type(error).__name__}); replace the file"
    return ImageError(message, kind="unreadable")


def _ends_before_riff(data: bytes) -> bool:
    """Whether a WebP file is shorter than its first chunk says; its decoder does not tell this from other damage."""
    return data[:4] == b"RIFF" and len(data) >= 8 and len(data) < 8 + int(struct.unpack_from("<I", data, 4)[0])


def _orientation(image: PIL.Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where it is absent or the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a photo with damaged EXIF data is still a photo
        return 1


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Any of Pillow's modes as RGB, transparent pixels on white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = PIL.Image.fromarray(_to_eight_bits(np.asarray(image)))
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = PIL.Image.new("RGBA", image.size, "white")
        image.alpha_composite(layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Gray values of more than 8 bits, ``(H, W)``, scaled to uint8.

    White is 65535 for integers. Real numbers have no agreed white: it is the first of 1, 255, 65535 that no value
    exceeds. Where values exceed 65535, the largest is white.
    """
    if values.dtype.itemsize == 2:
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    finite = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    peak = float(finite.max())
    whites = (65535.0,) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    white = next((white for white in whites if peak <= white), peak)
    scaled: NDArray[np.uint8] = (np.clip(finite / white, 0, 1) * 255 + 0.5).astype(np.uint8)
    return scaled


def _cut_to_aspect(image: Image) -> Image:
    """The centre of an image that is more elongated than ``MAX_ASPECT``; others as they are."""
    height, width = image.shape[:2]
    keep = MAX_ASPECT * min(height, width)
    top, left = max(0, (height - keep) // 2), max(0, (width - keep) // 2)
    return image[top : height - top, left : width - left]
