"""AVIF and HEIC: the boxes of the primary picture.

Both have rotation and mirroring of their own, beside which EXIF's orientation does not count. The size is that of the
primary picture; what its streams say they are made of is added up and refused where it is out of proportion to it, as
decoders look at that only after they took the memory.

Source: ISO/IEC 14496-12, section 8.11, for items; ISO/IEC 23008-12, sections 6.5 and 6.6, for pictures.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from placewise.headers import av1, hevc
from placewise.headers.header import BeyondLimitsError, Header

MAX_ITEMS = 4_096
"""Boxes on one level, items, and tiles of a grid."""

_EXIF = b"Exif"

_BYTES_PER_PIXEL = {"AVIF": 16, "HEIC": 9}
"""Measured: 10 for AVIF of 8 bits without transparency, 8 for HEIC, whose decoder leaves no copies behind."""

_SPARE_PIXELS = 4_000_000
"""Coded pixels that may be out of proportion: a small picture may be the corner of a large tile."""

_ORIENTATION = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip
"""Quarter turns to the left, then the axis of mirroring → EXIF's orientation."""


@dataclass(slots=True)
class _Items:
    """What the box ``meta`` says of the items in the file."""

    primary: int = -1
    kinds: dict[int, bytes] = field(default_factory=dict)
    exif_names: set[int] = field(default_factory=set)
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    refers: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    has: dict[int, list[int]] = field(default_factory=dict)

    def of(self, item: int) -> list[tuple[bytes, bytes]]:
        """The properties of an item, (name, content)."""
        return [self.properties[number - 1] for number in self.has.get(item, []) if 0 < number <= len(self.properties)]


def read(data: bytes) -> Header:
    """Read the primary picture's size, turns and EXIF data."""
    items = _Items()
    meta = next((span for name, span in _boxes(data, (0, len(data))) if name == b"meta"), None)
    if meta is None:
        message = "no picture in it"
        raise ValueError(message)
    _read_meta(data, (meta[0] + 4, meta[1]), items)
    found = dict(items.of(items.primary))
    width, height = struct.unpack_from(">II", found[b"ispe"], 4)
    turned = found[b"irot"][0] & 3 if b"irot" in found else 0
    mirrored = found[b"imir"][0] & 1 if b"imir" in found else None
    coded = _coded_pixels(data, items, items.primary, 0)
    if coded > 2 * width * height + _SPARE_PIXELS:
        message = f"streams of {coded} pixels for a picture of {width} x {height}"
        raise BeyondLimitsError(message)
    raw = next((_content(data, items, item) for item, kind in items.kinds.items() if kind == _EXIF), b"")
    exif = raw[4 + int.from_bytes(raw[:4]) :]
    name = "AVIF" if b"av01" in items.kinds.values() else "HEIC"
    animated = any(kind == b"moov" for kind, _ in _boxes(data, (0, len(data))))
    orientation = _ORIENTATION[turned, mirrored]
    lean = _lean(data, items)
    return Header(
        name, width, height, lean, _BYTES_PER_PIXEL[name], exif=exif, orientation=orientation, animated=animated
    )


def _lean(data: bytes, items: _Items) -> tuple[bytes | memoryview, ...]:
    """The file with EXIF items renamed, so that no decoder reads them."""
    if not items.exif_names:
        return (data,)
    view, lean, place = memoryview(data), list[bytes | memoryview](), 0
    for start in sorted(items.exif_names):
        lean += [view[place:start], b"none"]
        place = start + 4
    return (*lean, view[place:])


def _boxes(data: bytes, span: tuple[int, int]) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """(name, (start, end) of the content) of each box in a span."""
    place, end = span
    for _ in range(MAX_ITEMS):
        if place + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        length = length or end - place
        if length < head:
            message = "a box that is shorter than its head"
            raise ValueError(message)
        yield name, (place + head, min(place + length, end))
        place += length
    message = f"more than {MAX_ITEMS} boxes"
    raise BeyondLimitsError(message)


def _read_meta(data: bytes, span: tuple[int, int], items: _Items) -> None:
    found = dict(_boxes(data, span))
    start, _ = found[b"pitm"]
    items.primary = struct.unpack_from(">I" if data[start] else ">H", data, start + 4)[0]
    _read_kinds(data, found[b"iinf"], items)
    _read_properties(data, found[b"iprp"], items)
    start, end = found[b"iloc"]
    _read_places(data[start:end], found.get(b"idat", (0, 0)), items)
    if b"iref" in found:
        start, end = found[b"iref"]
        for kind, (first, _) in _boxes(data, (start + 4, end)):
            items.refers.append(_reference(data, kind, first, wide=data[start] != 0))


def _read_kinds(data: bytes, span: tuple[int, int], items: _Items) -> None:
    start, end = span
    for kind, (first, _) in _boxes(data, (start + (8 if data[start] else 6), end)):
        if kind == b"infe" and data[first] >= 2:
            shape = ">HH4s" if data[first] == 2 else ">IH4s"
            item, _, what = struct.unpack_from(shape, data, first + 4)
            items.kinds[item] = what
            if what == _EXIF:
                items.exif_names.add(first + struct.calcsize(shape))


def _reference(data: bytes, kind: bytes, first: int, *, wide: bool) -> tuple[bytes, int, list[int]]:
    letter = "I" if wide else "H"
    source, count = struct.unpack_from(f">{letter}H", data, first)
    if count > MAX_ITEMS:
        message = f"a picture made of {count} others"
        raise BeyondLimitsError(message)
    return kind, source, list(struct.unpack_from(f">{count}{letter}", data, first + (6 if wide else 4)))


def _read_properties(data: bytes, span: tuple[int, int], items: _Items) -> None:
    for name, (start, end) in _boxes(data, span):
        if name == b"ipco":
            items.properties = [(kind, data[first:last]) for kind, (first, last) in _boxes(data, (start, end))]
        elif name == b"ipma":
            version, wide = data[start], data[start + 3] & 1
            (count,) = struct.unpack_from(">I", data, start + 4)
            place = start + 8
            for _ in range(min(count, MAX_ITEMS)):
                (item,) = struct.unpack_from(">I" if version else ">H", data, place)
                place += 4 if version else 2
                number = data[place]
                numbers = struct.unpack_from(f">{number}{'H' if wide else 'B'}", data, place + 1)
                items.has.setdefault(item, [one & (0x7FFF if wide else 0x7F) for one in numbers])
                place += 1 + number * (2 if wide else 1)


def _read_places(box: bytes, inner: tuple[int, int], items: _Items) -> None:
    """Where the bytes of each item are."""
    version = box[0]
    sizes = (box[4] >> 4, box[4] & 15, box[5] >> 4, box[5] & 15 if version else 0)
    place = 6

    def number(size: int) -> int:
        nonlocal place
        if size and place + size > len(box):
            message = "a table of places that is cut off"
            raise EOFError(message)
        place += size
        return int.from_bytes(box[place - size : place])

    for _ in range(min(number(4 if version == 2 else 2), MAX_ITEMS)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(sizes[2])
        extents: list[tuple[int, int]] = []
        for _ in range(min(number(2), MAX_ITEMS)):
            number(sizes[3])
            start, length = base + number(sizes[0]), number(sizes[1])
            extents.append((start + inner[0], length) if method == 1 else (start, length))
        items.places[item] = extents


def _content(data: bytes, items: _Items, item: int) -> bytes:
    """The bytes of an item; no more than the file has."""
    parts: list[bytes] = []
    left = len(data)
    for start, length in items.places.get(item, []):
        parts.append(data[start : start + (min(length, left) or left)])
        left -= len(parts[-1])
    return b"".join(parts)


def _coded_pixels(data: bytes, items: _Items, item: int, depth: int) -> int:
    """The pixels in the streams that a picture is made of, each as often as it is used."""
    if depth > 3:
        message = "pictures made of pictures too deeply"
        raise ValueError(message)
    kind = items.kinds.get(item, b"")
    if kind == b"av01":
        return av1.pixels(_content(data, items, item))
    if kind in {b"hvc1", b"hev1"}:
        config = dict(items.of(item)).get(b"hvcC", b"")
        return hevc.pixels(config, _content(data, items, item))
    total = 0
    known: dict[int, int] = {}
    for relation, source, targets in items.refers:
        if relation != b"dimg" or source != item:
            continue
        for target in targets:
            if target not in known:
                known[target] = _coded_pixels(data, items, target, depth + 1)
            total += known[target]
    return total
