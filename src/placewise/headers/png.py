"""PNG: its chunks.

A decoder gets the chunks that make pixels. Texts, profiles and animations are left out: compressed ones are bombs
where a decoder unpacks them, and the pixels do not depend on them.

Source: Portable Network Graphics (third edition), chapters 5 and 11.
"""

from __future__ import annotations

import struct

from placewise.headers.header import BeyondLimitsError, Header

MAX_CHUNKS = 200_000
"""Chunks that are walked over; 8 KiB each is usual."""

_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"


def read(data: bytes) -> Header:
    """Read the chunks; a file that is cut off is passed on as far as it goes."""
    view = memoryview(data)
    lean: list[bytes | memoryview] = [view[:8]]
    exif = xmp = b""
    animated = False
    place, count = 8, 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        start, end = place + 8, place + 12 + length
        if name in _PIXELS:
            lean.append(view[place:end])
        elif name == b"eXIf" and not exif:
            exif = data[start : start + length]
        elif name == b"iTXt" and data.startswith(_XMP, start) and not xmp:
            xmp = data[start : start + length]
        animated = animated or name == b"acTL"
        place, count = end, count + 1
        if name == b"IEND":
            break
        if count > MAX_CHUNKS:
            message = f"more than {MAX_CHUNKS} chunks"
            raise BeyondLimitsError(message)
    width, height = struct.unpack_from(">II", data, 16)
    return Header("PNG", width, height, tuple(lean), 7, exif=exif, xmp=xmp, animated=animated)
