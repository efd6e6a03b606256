"""Bytes of a file → upright RGB pixels, safely and fast.

The law of this module: whatever the bytes are, the result is an image or an ``ImageError``, in bounded memory. Size is
judged by the file's header, before any decoder sees the file. Everything is thread-safe, and nothing of Pillow's global
state is used: ``PIL.Image.open`` would judge size by a process-wide limit and report it through process-wide warning
filters, so Pillow's readers are called directly, and only those of common photo formats.

The limits: no more than ``MAX_BYTES`` of a file, ``MAX_PIXELS`` and ``MAX_SIDE`` in its header, ``MAX_MEMORY`` for what
all threads decode at a time. A JPEG that would need more is decoded at 1/2, 1/4 or 1/8 of its size, so that photos of
108 and 200 megapixels are read; other formats cannot be decoded in part, so that a PNG of 100 megapixels is
``too_large`` (``MAX_WHOLE_PIXELS``). What needs more than ``MAX_MEMORY`` all the same, such as WebP photos of 48
megapixels, is decoded while nothing else is, up to ``MAX_ALONE``. The readers of the headers have limits of their own,
which no camera comes near.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from placewise import exif, headers, photo_files, pixels
from placewise.core import Image, InputRule, Position
from placewise.errors import ImageError, OptionError
from placewise.headers import FORMATS, Header
from placewise.machine import give_memory_back
from placewise.photo_files import MAX_BYTES, MAX_HELD, opened, read_bytes
from placewise.turns import Budget

__all__ = [
    "FORMATS",
    "MAX_ALONE",
    "MAX_ASPECT",
    "MAX_BYTES",
    "MAX_HELD",
    "MAX_MEMORY",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_WHOLE_PIXELS",
    "Facts",
    "decode",
    "facts",
    "header_size",
    "opened",
    "prepare",
    "read",
    "read_bytes",
    "read_facts",
    "thumbnail",
]

MAX_PIXELS = 200_000_000
"""An image with more pixels is refused: even the reduced decoding of a JPEG reads all of them."""

MAX_SIDE = 65_535
"""The longest side that is decoded, in pixels; it is JPEG's own limit."""

_HEAD = 128 * 2**10
"""Bytes in which the header of a JPEG mostly is: EXIF data have 64 KiB at most."""

MAX_WHOLE_PIXELS = 70_000_000
"""The most pixels of a format that is decoded in full or not at all: all but JPEG."""

MAX_MEMORY = 500 * 10**6
"""Bytes that decoding may take at a time in all threads."""

MAX_ALONE = 900 * 10**6
"""Bytes that a single photo may take, its file included, while no other is decoded: so a process stays below 1 GB."""

_KEPT = 50 * 10**6
"""Bytes of decoding that a thread may keep for the next photo."""

_LARGE = 16_000_000

MAX_ASPECT = 16
"""An image more elongated than this is cut to its centre before it is resized, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file says of itself.

    Attributes:
        format: ``JPEG``, ``PNG``, ``WebP``, ``GIF``, ``BMP``, ``TIFF``, ``PPM``, ``AVIF`` or ``HEIC``.
        width: pixels as the header states them, before the photo is turned upright.
        height: likewise.
        orientation: how the photo must be turned, 1 to 8 as EXIF counts; 1 is upright.
        position: where EXIF or XMP data say that it was taken; None where they do not, or name no place on Earth.
        has_gps: whether they hold a latitude and a longitude, even such as are no position; not for (0, 0), which
            receivers write that do not know it.
        taken: when the EXIF data say that it was taken (``2024:05:01 10:00:00``), or else changed; may be empty.
        animated: whether there are more pictures than the one that is used.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    position: Position | None = None
    has_gps: bool = False
    taken: str = ""
    animated: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height in pixels of the upright photo."""
        return (self.width, self.height) if self.orientation < 5 else (self.height, self.width)


def read_facts(path: Path) -> Facts:
    """What a file says of itself; of a JPEG only the head is read.

    Raises:
        ImageError: As ``read_bytes`` and ``facts``.
    """
    head = photo_files.read_bytes(path, at_most=_HEAD)
    if head.startswith(b"\xff\xd8") or len(head) < _HEAD:
        with contextlib.suppress(ImageError):
            return facts(head)
    return facts(read_bytes(path))


def facts(data: bytes) -> Facts:
    """What a file says of itself, without decoding a pixel.

    Raises:
        ImageError: ``unreadable``, ``truncated`` or ``too_large``, as far as the header shows it.
    """
    return _facts(_judged(data))


def _facts(header: Header) -> Facts:
    found = exif.read(header.exif, header.xmp)
    return Facts(
        header.format,
        header.width,
        header.height,
        header.orientation or found.orientation,
        found.position,
        found.has_gps,
        found.taken,
        animated=header.animated,
    )


def header_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as the header states them, before EXIF orientation; no pixel is decoded.

    Raises:
        ImageError: As ``facts``.
    """
    header = _judged(data)
    return header.width, header.height


def decode(data: bytes, *, at_least: int | None = None) -> Image:
    """Decode the bytes of a file to upright RGB: the second of what ``read`` returns."""
    return read(data, at_least=at_least)[1]


def read(data: bytes, *, at_least: int | None = None) -> tuple[Facts, Image]:
    """What a file says of itself, and its pixels as upright RGB.

    EXIF orientation is applied. Transparent pixels are shown on white. Gray values of 16 bits keep their high byte,
    as Pillow does for 16-bit colour; see ``pixels`` for wider ones. Of an animation the first frame is used.
    Colour profiles are ignored, as all common feature extractors do.

    Args:
        data: A whole file in one of ``FORMATS``.
        at_least: Decode a JPEG directly at 1/2, 1/4 or 1/8 of its size, as long as the shorter side keeps this many
            pixels. Several times faster for large photos. Other formats are decoded in full, and averaged down to such
            a size if they have more than 16 megapixels, to be smaller for what follows.

    Returns:
        The facts; and ``(H, W, 3)`` uint8. Without ``at_least``, opaque images that ``MAX_MEMORY`` allows in full are
        exactly Pillow's ``convert("RGB")``.

    Raises:
        ImageError: ``unreadable``, ``truncated`` or ``too_large``.
    """
    if at_least is not None and at_least < 1:
        message = f"at_least must be 1 pixel or more, got {at_least}"
        raise OptionError(message)
    header = _judged(data)
    shorter = min(header.width, header.height)
    reducible = header.format == "JPEG" or header.width * header.height > _LARGE
    fits = [scale for scale in (2, 4, 8) if reducible and at_least is not None and shorter // at_least >= scale]
    scale = max(1, _scale(header), *fits)
    said = _facts(header)
    needed = _memory(header, scale if header.format == "JPEG" else 1)
    with _decoding.taken(needed, of=MAX_MEMORY):
        image = pixels.decode(header, said.orientation, scale=scale)
        if needed > _KEPT:
            give_memory_back()
    return said, image


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


def _judged(data: bytes) -> Header:
    """Read the header, and refuse sizes that are not decoded."""
    header = headers.read(data)
    width, height = header.width, header.height
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        message = (
            f"a photo must have at most {MAX_PIXELS} pixels and no side above {MAX_SIDE}, "
            f"got {width} x {height}; save it smaller"
        )
        raise ImageError(message, kind="too_large")
    do = "save it smaller" if header.format == "JPEG" else "save it smaller or as JPEG"
    if header.format != "JPEG" and width * height > MAX_WHOLE_PIXELS:
        message = f"a photo that is no JPEG must have at most {MAX_WHOLE_PIXELS} pixels, got {width} x {height}; {do}"
        raise ImageError(message, kind="too_large")
    if (needed := _memory(header, _scale(header)) + len(data)) > MAX_ALONE:
        message = (
            f"a photo must need at most {MAX_ALONE // 10**6} MB to decode, got a {header.format} file of "
            f"{width} x {height} pixels that needs {needed // 10**6} MB; {do}"
        )
        raise ImageError(message, kind="too_large")
    return header


def _scale(header: Header) -> int:
    """The least reduction, 1, 2, 4 or 8, with which a JPEG needs no more than ``MAX_MEMORY``; 1 for other formats."""
    scales = (1, 2, 4, 8) if header.format == "JPEG" else (1,)
    return next((scale for scale in scales if _memory(header, scale) <= MAX_MEMORY), scales[-1])


def _memory(header: Header, scale: int) -> int:
    """Bytes that decoding takes, the lean copy of the file included."""
    copied = sum(map(len, header.lean)) if len(header.lean) > 1 else 0
    return int(header.bytes_per_pixel * header.width * header.height / scale**2) + header.fixed_bytes + copied


_decoding = Budget()


def _cut_to_aspect(image: Image) -> Image:
    """The centre of an image that is more elongated than ``MAX_ASPECT``; others as they are."""
    height, width = image.shape[:2]
    keep = MAX_ASPECT * min(height, width)
    top, left = max(0, (height - keep) // 2), max(0, (width - keep) // 2)
    return image[top : height - top, left : width - left]
