"""PPM and its kin: a few numbers in text.

Source: the manual pages pbm(5), pgm(5) and ppm(5) of Netpbm; pfm(5) for real numbers.
"""

from __future__ import annotations

import re

from placewise.headers.header import BeyondLimitsError, Header

MAX_SLOW = 2**20
"""Bytes and pixels of what Pillow decodes slowly, in Python: numbers in text, and a white other than 255 or 65535."""

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEAD = re.compile(rb"P([1-6fy])" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})(?:" + _GAP + rb"(\d{1,10}))?\s")
_LONGEST = 4096
"""Bytes in which the numbers must be, comments included."""


def read(data: bytes) -> Header:
    """Read the numbers."""
    found = _HEAD.match(data[:_LONGEST])
    if not found:
        message = "no size in it"
        raise ValueError(message)
    kind, width, height, white = found[1], int(found[2]), int(found[3]), int(found[4] or 1)
    slow = kind in b"123" or (kind in b"56" and white not in {255, 65535})
    if slow and max(len(data), width * height) > MAX_SLOW:
        message = f"numbers in text, or a white other than 255 or 65535, in more than {MAX_SLOW} bytes or pixels"
        raise BeyondLimitsError(message)
    return Header("PPM", width, height, (data,), 7)
