"""The size of pictures in an HEVC stream.

Source: ITU-T H.265, sections 7.3.1 and 7.3.2; ISO/IEC 14496-15, section 8.3, for the configuration before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from placewise.headers.bits import Bits
from placewise.headers.header import BeyondLimitsError

_PARAMETERS = 33
"""The type of the unit that holds the size."""
_LONGEST = 256
_MOST_UNITS = 4_096


def pixels(config: bytes, stream: bytes) -> int:
    """The pixels of the largest picture that the stream or its configuration declares."""
    sizes = [_size(unit) for unit in (*_configured(config), *_units(stream)) if unit[0] >> 1 & 63 == _PARAMETERS]
    return max(sizes, default=0)


def _configured(config: bytes) -> Iterator[bytes]:
    place = 23
    for _ in range(config[22] if len(config) > 22 else 0):
        (count,) = struct.unpack_from(">H", config, place + 1)
        place += 3
        for _ in range(min(count, _MOST_UNITS)):
            (length,) = struct.unpack_from(">H", config, place)
            yield config[place + 2 : place + 2 + length] or b"\0"
            place += 2 + length


def _units(stream: bytes) -> Iterator[bytes]:
    place = 0
    for _ in range(_MOST_UNITS):
        if place + 5 > len(stream):
            return
        (length,) = struct.unpack_from(">I", stream, place)
        yield stream[place + 4 : place + 4 + min(length, _LONGEST)] or b"\0"
        place += 4 + length
    message = f"more than {_MOST_UNITS} units in a stream"
    raise BeyondLimitsError(message)


def _size(unit: bytes) -> int:
    """Width times height of a set of parameters."""
    bits = Bits(unit[2:_LONGEST].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + 88 + 8)
    if layers:
        present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
        bits.read(2 * (8 - layers))
        for profile, level in present:
            bits.read(88 * profile + 8 * level)
    bits.golomb()
    if bits.golomb() == 3:
        bits.read(1)
    return bits.golomb() * bits.golomb()
