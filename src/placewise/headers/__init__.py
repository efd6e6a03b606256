"""What photos' files say of themselves, read by ourselves: no decoder sees a file before its header was judged.

The law of this package: reading a header takes time and memory in proportion to the file at most, whatever is in it;
what it returns is checked against the bytes that are there, never against what they promise.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from placewise.errors import ImageError
from placewise.headers import bmp, boxes, gif, jpeg, png, ppm, tiff, webp
from placewise.headers.header import BeyondLimitsError, Header

__all__ = ["FORMATS", "Header", "read"]

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF or HEIC"
"""The formats that are read, in words."""

_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Header]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), jpeg.read),  # of a multi-picture file (MPO) the first picture
    (re.compile(rb"\x89PNG\r\n\x1a\n"), png.read),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), webp.read),
    (re.compile(rb"GIF8[79]a"), gif.read),
    (re.compile(rb"BM"), bmp.read),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.read),
    (re.compile(rb"P[1-6fy]"), ppm.read),
    (re.compile(rb"....ftyp(avi[fs]|he[iv][cxms]|mif1|msf1)", re.DOTALL), boxes.read),
)


def read(data: bytes) -> Header:
    """Read the header of a file in one of ``FORMATS``.

    Raises:
        ImageError: ``unreadable``, ``truncated``, or ``too_large`` where a limit is exceeded.
    """
    reader = next((reader for signature, reader in _READERS if signature.match(data)), None)
    if reader is None:
        what = f"a file that starts with {data[:8]!r}" if data else "an empty file"
        message = f"a photo must be a {FORMATS} image, got {what}; convert or replace it"
        raise ImageError(message, kind="unreadable")
    try:
        header = reader(data)
    except BeyondLimitsError as error:
        message = f"a photo must be within the limits of what is decoded, got {error}; save it anew"
        raise ImageError(message, kind="too_large") from error
    except (EOFError, IndexError, OverflowError, struct.error) as error:
        message = "the photo's file is cut off or its header is damaged; copy it again from where it came"
        raise ImageError(message, kind="truncated") from error
    except Exception as error:  # whatever else it is, it is damage
        message = f"the photo's header is damaged or hostile ({error}); replace the file"
        raise ImageError(message, kind="unreadable") from error
    if header.width < 1 or header.height < 1:
        message = f"a photo must have pixels, got {header.width} x {header.height}; replace the file"
        raise ImageError(message, kind="unreadable")
    return header
