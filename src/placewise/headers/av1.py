"""The size of pictures in an AV1 stream.

Source: AV1 bitstream and decoding process specification, sections 5.3 and 5.5.
"""

from __future__ import annotations

from placewise.headers.bits import Bits
from placewise.headers.header import BeyondLimitsError

_PARAMETERS = 1
"""The type of the unit that holds the size."""
_LONGEST = 256
_MOST_UNITS = 4_096


def pixels(stream: bytes) -> int:
    """The pixels of the largest picture that the stream declares."""
    largest = place = 0
    for _ in range(_MOST_UNITS):
        if place + 2 > len(stream):
            return largest
        head = stream[place]
        place += 2 if head & 4 else 1
        length, place = _length(stream, place) if head & 2 else (len(stream) - place, place)
        if head >> 3 & 15 == _PARAMETERS:
            largest = max(largest, _size(Bits(stream[place : place + min(length, _LONGEST)])))
        place += length
    message = f"more than {_MOST_UNITS} units in a stream"
    raise BeyondLimitsError(message)


def _length(stream: bytes, place: int) -> tuple[int, int]:
    """A number in seven bits a byte, and where it ends."""
    length = 0
    for number in range(8):
        length |= (stream[place + number] & 127) << 7 * number
        if stream[place + number] < 128:
            return length, place + number + 1
    return length, place + 8


def _size(bits: Bits) -> int:
    """Width times height of a set of parameters."""
    bits.read(4)
    if bits.read(1):  # of a still picture
        bits.read(5)
    else:
        _skip_timing(bits)
    across, down = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(across) + 1) * (bits.read(down) + 1)


def _skip_timing(bits: Bits) -> None:
    model = delay = 0
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            bits.golomb()
        if model := bits.read(1):
            delay = bits.read(5) + 1
            bits.read(42)
    display = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if model and bits.read(1):
            bits.read(2 * delay + 1)
        if display and bits.read(1):
            bits.read(4)
