"""GIF: its first frame.

A decoder gets the colours, what makes one of them transparent, and the first frame; comments, and all frames beyond
the first, are never looked at.

Source: Graphics Interchange Format, version 89a.
"""

from __future__ import annotations

import struct

from placewise.headers.header import BeyondLimitsError, Header

MAX_BLOCKS = 1_000_000
"""Blocks, of 255 bytes at most, that are walked over."""

_EXTENSION, _FRAME, _GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9


def read(data: bytes) -> Header:
    """Read the canvas and the first frame; a frame that is cut off is passed on as far as it goes."""
    view = memoryview(data)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _colours(flags)
    lean: list[bytes | memoryview] = [view[:place]]
    blocks = 0
    while data[place] != _FRAME:
        if data[place] != _EXTENSION:
            message = "no picture in it"
            raise ValueError(message)
        end, blocks = _after_blocks(data, place + 2, blocks)
        if data[place + 1] == _GRAPHIC_CONTROL:
            lean[1:] = [view[place:end]]
        place = end
    left, top, across, down, flags = struct.unpack_from("<HHHHB", data, place + 1)
    end, _ = _after_blocks(data, place + 11 + _colours(flags), blocks)
    lean.append(view[place:end])
    animated = data[end : end + 1] not in {b"", b";"}
    if not animated and end <= len(data):
        lean.append(b";")
    return Header("GIF", max(width, left + across), max(height, top + down), tuple(lean), 7, animated=animated)


def _colours(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int, blocks: int) -> tuple[int, int]:
    """Where a chain of blocks ends, and how many have been walked over."""
    while place < len(data) and (length := data[place]):
        place, blocks = place + 1 + length, blocks + 1
        if blocks > MAX_BLOCKS:
            message = f"more than {MAX_BLOCKS} blocks"
            raise BeyondLimitsError(message)
    return place + 1, blocks
