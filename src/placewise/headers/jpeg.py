"""JPEG: segments up to the first scan.

A decoder gets JFIF's and Adobe's segments, which say what the channels are, and none of the other application data:
their readers are where hostile files aim at, and the pixels do not depend on them.

Source: ITU-T T.81, annex B; Exif 2.32, section 4.7.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from placewise.headers.header import BeyondLimitsError, Header

MAX_SCANS = 200
"""Scans of a progressive file. Encoders write about ten."""

MAX_SCANNED_PIXELS = 1_200_000_000
"""Scans times pixels: each scan walks over all of the picture, 60 megapixels in 0.1 s."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_END, _SCAN, _APP0, _APP1, _APP14, _APP15, _COMMENT = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""What starts a segment with a length, and the end."""
_EXIF, _XMP, _MPF = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0"


def read(data: bytes) -> Header:
    """Read the segments before the first scan."""
    view = memoryview(data)
    frame: tuple[int, int, bytes] | None = None
    exif = xmp = b""
    several = False
    lean: list[bytes | memoryview] = [b"\xff\xd8"]
    for marker, start, end in _segments(data):
        body = data[start + 4 : end] if marker in {_APP1, 0xE2} or marker in _FRAMES else b""
        if marker in _FRAMES:
            if frame:
                message = "two frame headers"
                raise ValueError(message)
            frame = (marker, start, body)
        elif marker == _SCAN:
            lean.append(view[start:])
            break
        if marker == _APP1 and not exif and body.startswith(_EXIF):
            exif = body
        elif marker == _APP1 and not xmp and body.startswith(_XMP):
            xmp = body
        several = several or body.startswith(_MPF)
        if marker in {_APP0, _APP14} or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            lean.append(view[start:end])
    if frame is None or marker != _SCAN:
        message = "no picture in it"
        raise ValueError(message)
    height, width, fixed = _frame(frame[0], frame[2], data, start)
    return Header("JPEG", width, height, tuple(lean), 7, fixed, exif, xmp, animated=several)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment, up to the first scan; junk between them is skipped as decoders do."""
    place = 2
    while found := _MARKER.search(data, place):
        place, marker = found.start(), data[found.start() + 1]
        if marker == _END:
            return
        (length,) = struct.unpack_from(">H", data, place + 2)
        if length < 2 or place + 2 + length > len(data):
            message = "a segment leads beyond the end"
            raise EOFError(message)
        yield marker, place, place + 2 + length
        if marker == _SCAN:
            return
        place += 2 + length


def _frame(marker: int, body: bytes, data: bytes, scan: int) -> tuple[int, int, int]:
    """Height, width, and the bytes of coefficients that are kept while several scans complete them."""
    _, height, width, channels = struct.unpack_from(">BHHB", body)
    if marker not in _PROGRESSIVE and data[scan + 4] >= channels:
        return height, width, 0
    scans = data.count(b"\xff\xda", scan)
    if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
        message = f"{scans} scans, at most {MAX_SCANS} of at most {MAX_SCANNED_PIXELS} pixels together are read"
        raise BeyondLimitsError(message)
    sampling = [body[7 + 3 * channel] for channel in range(channels)]
    most = max(factor >> 4 for factor in sampling) * max(factor & 15 for factor in sampling)
    share = sum((factor >> 4) * (factor & 15) for factor in sampling) / most
    return height, width, int(2 * share * (width + 16) * (height + 16))
