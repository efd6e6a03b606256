"""WebP: its chunks.

Source: RFC 9649, chapter 2; RFC 6386, section 9.1, for the size in lossy pictures.
"""

from __future__ import annotations

import struct

from placewise.headers.header import Header, Parts, check_end

MAX_CHUNKS = 20_000
"""Chunks that are walked over."""

_LOSSY, _LOSSLESS = 17, 18.5
"""Measured bytes a pixel: the decoder's picture, its copies, and ours."""


def read(data: bytes) -> Header:
    """Read the size, which the first chunk holds, and the chunks of EXIF data and XMP."""
    width, height = _size(data)
    found: dict[bytes, bytes] = {}
    frames, place, parts = 0, 12, Parts(MAX_CHUNKS)
    while place + 8 <= len(data):
        parts.count()
        name, length = struct.unpack_from("<4sI", data, place)
        if name in {b"EXIF", b"XMP ", b"VP8 "}:
            found.setdefault(name, data[place + 8 : place + 8 + length])
        frames += name == b"ANMF"
        place += 8 + length + length % 2
    check_end(found.get(b"VP8 ", b""))
    memory = _LOSSY if b"VP8 " in found else _LOSSLESS
    exif, xmp = found.get(b"EXIF", b""), found.get(b"XMP ", b"")
    return Header("WebP", width, height, (data,), memory, exif=exif, xmp=xmp, animated=frames > 1)


def _size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return _three(data, 24) + 1, _three(data, 27) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    message = "no picture in it"
    raise ValueError(message)


def _three(data: bytes, place: int) -> int:
    """A number of three bytes."""
    return struct.unpack_from("<I", data, place)[0] & 0xFFFFFF if len(data) > place + 3 else 0
