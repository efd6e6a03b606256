"""WebP: its chunks.

Source: RFC 9649, chapter 2; RFC 6386, section 9.1, for the size in lossy pictures.
"""

from __future__ import annotations

import struct

from placewise.headers.header import BeyondLimitsError, Header

MAX_CHUNKS = 20_000
"""Chunks that are walked over."""


def read(data: bytes) -> Header:
    """Read the size, which the first chunk holds, and the chunks of EXIF data and XMP."""
    width, height = _size(data)
    found: dict[bytes, bytes] = {}
    frames = place = count = 0
    place = 12
    while place + 8 <= len(data) and count <= MAX_CHUNKS:
        name, length = struct.unpack_from("<4sI", data, place)
        if name in {b"EXIF", b"XMP "}:
            found.setdefault(name, data[place + 8 : place + 8 + length])
        frames += name == b"ANMF"
        place, count = place + 8 + length + length % 2, count + 1
    if count > MAX_CHUNKS:
        message = f"more than {MAX_CHUNKS} chunks"
        raise BeyondLimitsError(message)
    exif, xmp = found.get(b"EXIF", b""), found.get(b"XMP ", b"")
    return Header("WebP", width, height, (data,), 18, exif=exif, xmp=xmp, animated=frames > 1)


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
