"""TIFF: its first directory.

A decoder gets the file with a directory of our own at its end, which holds the tags that make pixels and no other: no
further directories, no EXIF data, no profiles. Values stay where they are.

Source: TIFF 6.0, sections 2 and 8; the BigTIFF design of the libtiff project.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from placewise.headers.header import BeyondLimitsError, Header

MAX_TAG_BYTES = 8 * 2**20
"""Bytes of all values of a directory: a strip for each of 65,535 rows needs 2 MiB at most."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 256, 257, 258, 259, 277, 278
_ACROSS, _DOWN, _XMP = 322, 323, 700
_PIXELS = frozenset({
    254, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, 262, 266, 273, _SAMPLES, _ROWS, 279, 284, 292, 293, 317, 320,
    _ACROSS, _DOWN, 324, 325, 332, 338, 339, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532,
})  # fmt: skip
_CODINGS = frozenset({*range(1, 9), 32_773, 32_946, 34_925, 50_000})
"""Plain, fax, LZW, JPEG, deflate, runs, LZMA and Zstandard."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class _Layout:
    """The shape of a directory: classic, or of a BigTIFF."""

    order: str
    head: int
    number: str
    count: str
    entry: str
    inline: int


def read(data: bytes) -> Header:
    """Read the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[:4] in {b"II+\0", b"MM\0+"}
    layout = _Layout(order, 16, "Q", "Q", "HHQ8s", 8) if big else _Layout(order, 8, "I", "H", "HHI4s", 4)
    (offset,) = struct.unpack_from(order + layout.number, data, layout.head - struct.calcsize(order + layout.number))
    entries, following = _directory(data, layout, offset)
    width, height = (_first(data, layout, entries, tag, 0) for tag in (_WIDTH, _HEIGHT))
    _check(data, layout, entries, width, height)
    # A compressed tile or strip is held beside the picture.
    across, down = _first(data, layout, entries, _ACROSS, 0), _first(data, layout, entries, _DOWN, 0)
    rows = min(_first(data, layout, entries, _ROWS, height), height)
    bits = _first(data, layout, entries, _BITS, 1) * _first(data, layout, entries, _SAMPLES, 1)
    packed = _first(data, layout, entries, _COMPRESSION, 1) != 1
    fixed = packed * bits * (across * down if across else width * rows) // 8
    xmp = _raw(data, layout, entries[_XMP])[:MAX_TAG_BYTES] if _XMP in entries else b""
    lean = _lean(data, layout, entries)
    return Header("TIFF", width, height, lean, 7, fixed, data, xmp, animated=following != 0)


def _directory(data: bytes, layout: _Layout, offset: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
    """Tag → (type, number of values, value or its place); and where the next directory is."""
    (count,) = struct.unpack_from(layout.order + layout.count, data, offset)
    first, size = offset + struct.calcsize(layout.order + layout.count), struct.calcsize(layout.order + layout.entry)
    if count > 4096 or first + count * size > len(data):
        message = f"a directory of {count} tags"
        raise EOFError(message)
    rows = struct.iter_unpack(layout.order + layout.entry, data[first : first + count * size])
    entries = {tag: (kind, length, value) for tag, kind, length, value in rows}
    after = data[first + count * size : first + count * size + layout.inline]
    return entries, int.from_bytes(after, "little" if layout.order == "<" else "big")


def _raw(data: bytes, layout: _Layout, entry: tuple[int, int, bytes]) -> bytes:
    kind, length, value = entry
    size = length * _SIZES.get(kind, 1)
    if size <= layout.inline:
        return value[:size]
    (start,) = struct.unpack(layout.order + layout.number, value)
    return data[start : start + size]


def _first(data: bytes, layout: _Layout, entries: dict[int, tuple[int, int, bytes]], tag: int, otherwise: int) -> int:
    """The first value of a tag of whole numbers."""
    if tag not in entries:
        return otherwise
    kind, _, value = entries[tag]
    raw = _raw(data, layout, (kind, 1, value)) if entries[tag][1] == 1 else _raw(data, layout, entries[tag])
    return int.from_bytes(raw[: _SIZES.get(kind, 1)], "little" if layout.order == "<" else "big")


def _check(data: bytes, layout: _Layout, entries: dict[int, tuple[int, int, bytes]], width: int, height: int) -> None:
    """Refuse values that take more memory than the picture can."""
    held = sum(length * _SIZES.get(kind, 1) for tag, (kind, length, _) in entries.items() if tag in _PIXELS)
    across, down = _first(data, layout, entries, _ACROSS, 0), _first(data, layout, entries, _DOWN, 0)
    if held > MAX_TAG_BYTES:
        message = f"tags of {held} bytes, at most {MAX_TAG_BYTES} are read"
        raise BeyondLimitsError(message)
    if across > width + 1024 or down > height + 1024:
        message = f"tiles of {across} x {down} pixels in a picture of {width} x {height}"
        raise BeyondLimitsError(message)
    if (coding := _first(data, layout, entries, _COMPRESSION, 1)) not in _CODINGS:
        message = f"pixels in the coding {coding}"
        raise ValueError(message)
    samples = _first(data, layout, entries, _SAMPLES, 1)
    if samples > 8:
        message = f"{samples} channels"
        raise ValueError(message)


def _lean(data: bytes, layout: _Layout, entries: dict[int, tuple[int, int, bytes]]) -> tuple[bytes | memoryview, ...]:
    """The file with the new directory behind it."""
    kept = [(tag, *entry) for tag, entry in sorted(entries.items()) if tag in _PIXELS]
    end = len(data) + len(data) % 2
    head = data[: layout.head - layout.inline] + struct.pack(layout.order + layout.number, end)
    directory = struct.pack(layout.order + layout.count, len(kept))
    directory += b"".join(struct.pack(layout.order + layout.entry, *entry) for entry in kept)
    return (
        head,
        memoryview(data)[layout.head :],
        bytes(len(data) % 2) + directory + bytes(layout.inline),
    )
