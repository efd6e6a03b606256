"""EXIF data and XMP → orientation, position and time, read by ourselves.

The law of this module: it never raises and never warns, it looks at no more than `_MOST_TAGS` tags of three
directories, and it copies no value but the few short ones that it wants. Offsets that lead outside or in circles
therefore do no harm: what cannot be read is as if it were absent.

Source: Exif 2.32, sections 4.5 and 4.6; `placewise.headers.tiff` for directories.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from placewise.core import Position
from placewise.errors import OptionError
from placewise.headers.tiff import Layout, layout_of

_MOST_TAGS = 1_000
_LONGEST = 64
"""Bytes of the longest value that is read; a time has 20."""
_LONGEST_XMP = 2**20

_ORIENTATION, _CHANGED, _DETAILS, _GPS, _TAKEN = 0x0112, 0x0132, 0x8769, 0x8825, 0x9003
_LAT_REF, _LAT, _LON_REF, _LON, _HEADING = 1, 2, 3, 4, 17

_CODES = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
"""TIFF's number of a type → `struct`'s letters."""

_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_XMP_DEGREES = re.compile(
    rb"exif:GPSL(?:at|ong)itude(?:=[\"']|>)(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])"
)
"""Degrees, minutes and perhaps seconds, and the side of the Earth (XMP, part 2, the type GPSCoordinate)."""


@dataclass(frozen=True, slots=True)
class Exif:
    """What is of use in EXIF data.

    Attributes:
        orientation: 1 to 8; 1 (upright) where it is absent or damaged.
        position: where the photo was taken; None where it is absent, damaged or not on Earth.
        has_gps: whether there are a latitude and a longitude, even such as are no position; (0, 0) and 0/0 are what
            receivers write that do not know it.
        taken: when it was taken, or else changed, as it is written there: ``2024:05:01 10:00:00``.
    """

    orientation: int = 1
    position: Position | None = None
    has_gps: bool = False
    taken: str = ""


def read(tiff: bytes, xmp: bytes = b"") -> Exif:
    """Read EXIF data, which are a TIFF file without a picture.

    Args:
        tiff: the data, with or without JPEG's prefix ``Exif``, or a whole TIFF or BigTIFF file.
        xmp: an XMP packet, which may hold the orientation and the position where the EXIF data do not.
    """
    tiff, xmp = tiff.removeprefix(b"Exif\0\0"), xmp[:_LONGEST_XMP]
    first: dict[int, Any] = {}
    details, gps = first, first
    if tiff[:2] in {b"II", b"MM"}:
        layout = layout_of(tiff)
        at = _number(tiff, layout, layout.head - layout.inline)
        first = _tags(tiff, layout, at, {_ORIENTATION, _CHANGED, _DETAILS, _GPS})
        details = _tags(tiff, layout, first.get(_DETAILS), {_TAKEN})
        gps = _tags(tiff, layout, first.get(_GPS), {_LAT_REF, _LAT, _LON_REF, _LON, _HEADING})
    orientation = first.get(_ORIENTATION)
    if orientation is None and (found := _XMP_ORIENTATION.search(xmp)):
        orientation = int(found[1])
    if not _tells_a_place(gps):
        gps = gps | _in_xmp(xmp)
    return Exif(
        orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        _position(gps),
        _tells_a_place(gps),
        next((text for text in (details.get(_TAKEN), first.get(_CHANGED)) if text and isinstance(text, str)), ""),
    )


def _number(tiff: bytes, layout: Layout, offset: int) -> int | None:
    shape = layout.order + layout.number
    return struct.unpack_from(shape, tiff, offset)[0] if len(tiff) >= offset + struct.calcsize(shape) else None


def _tags(tiff: bytes, layout: Layout, offset: Any, wanted: set[int]) -> dict[int, Any]:
    """The wanted tags of the directory at an offset; the first of each counts."""
    found: dict[int, Any] = {}
    head, size = (struct.calcsize(layout.order + shape) for shape in (layout.count, layout.entry))
    if not isinstance(offset, int) or offset < 8 or offset + head > len(tiff):
        return found
    (count,) = struct.unpack_from(layout.order + layout.count, tiff, offset)
    for number in range(min(count, _MOST_TAGS)):
        entry = offset + head + size * number
        if entry + size > len(tiff):
            break
        tag, kind, length, inline = struct.unpack_from(layout.order + layout.entry, tiff, entry)
        if tag in wanted and tag not in found and (value := _value(tiff, layout, inline, kind, length)) is not None:
            found[tag] = value
    return found


def _value(tiff: bytes, layout: Layout, inline: bytes, kind: int, length: int) -> Any:
    """Text, a number, or a tuple of numbers; None where it is too long, or lies outside, or is of another type."""
    order, letters = layout.order, _CODES.get(kind, "")
    size = length * struct.calcsize(f"{order}{letters}")
    if not 0 < size <= _LONGEST:
        return None
    start = 0 if size <= layout.inline else struct.unpack(order + layout.number, inline)[0]
    raw = tiff[start : start + size] if start else inline[:size]
    if len(raw) < size:
        return None
    if kind == 2:
        return raw.split(b"\0")[0].decode("latin-1").strip()
    numbers: tuple[float, ...] = struct.unpack(f"{order}{letters * length}", raw)
    if kind in {5, 10}:
        numbers = tuple(over / under if under else math.nan for over, under in zip(*[iter(numbers)] * 2, strict=True))
    return numbers[0] if length == 1 else numbers


def _position(gps: Mapping[int, Any]) -> Position | None:
    try:
        lat = _degrees(gps[_LAT]) * (-1 if str(gps[_LAT_REF]).upper().startswith("S") else 1)
        lon = _degrees(gps[_LON]) * (-1 if str(gps[_LON_REF]).upper().startswith("W") else 1)
        heading = gps.get(_HEADING)
        usable = isinstance(heading, int | float) and math.isfinite(heading) and abs(heading) <= 360
        return Position(lat, lon, heading if usable else None)
    except (KeyError, ValueError, TypeError, OptionError):
        return None


def _degrees(parts: tuple[float, ...]) -> float:
    degrees, minutes, seconds = parts
    return degrees + (minutes + seconds / 60) / 60


def _tells_a_place(gps: Mapping[int, Any]) -> bool:
    """Whether both are there, and are not what stands for no place."""
    values = [value if isinstance(value, tuple) else (value,) for tag, value in gps.items() if tag in {_LAT, _LON}]
    numbers = [number for value in values for number in value if isinstance(number, int | float)]
    return len(values) == 2 and all(map(math.isfinite, numbers)) and any(numbers)


def _in_xmp(xmp: bytes) -> dict[int, Any]:
    """The tags of a position in XMP; empty where it is not whole."""
    found: dict[int, Any] = {}
    for degrees, minutes, seconds, side in _XMP_DEGREES.findall(xmp):
        ref, value = (_LAT_REF, _LAT) if side in b"NS" else (_LON_REF, _LON)
        found[ref], found[value] = side.decode(), (float(degrees), float(minutes), float(seconds or 0))
    return found
