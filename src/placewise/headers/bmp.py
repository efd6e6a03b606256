"""BMP: its header.

Source: the structures BITMAPFILEHEADER, BITMAPCOREHEADER and BITMAPINFOHEADER of the Windows API.
"""

from __future__ import annotations

import struct

from placewise.headers.header import BeyondLimitsError, Header

MAX_RUNS = 2**20
"""Bytes of a file with run-length coding, which Pillow decodes slowly, in Python."""

_RLE8, _RLE4 = 1, 2


def read(data: bytes) -> Header:
    """Read the size; a negative height means that the rows go down."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header("BMP", width, height, (data,), 7)
    width, height = struct.unpack_from("<ii", data, 18)
    (coding,) = struct.unpack_from("<I", data, 30)
    if coding in {_RLE8, _RLE4} and max(len(data), width * abs(height)) > MAX_RUNS:
        message = f"run-length coding in more than {MAX_RUNS} bytes or pixels"
        raise BeyondLimitsError(message)
    return Header("BMP", width, abs(height), (data,), 7)
