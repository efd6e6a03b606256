"""What a header says: the value that every reader of this package returns."""

from __future__ import annotations

from dataclasses import dataclass


class BeyondLimitsError(Exception):
    """A file takes more work or memory than its reader is willing to spend."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of the picture in it.

    Attributes:
        format: its name, as in ``Facts``.
        width: pixels as stored.
        height: likewise.
        lean: the parts of the file that its decoder gets, in order: all that make pixels, and nothing else.
        bytes_per_pixel: memory that decoding takes at most, without the file itself.
        fixed_bytes: memory that it takes however much it is reduced.
        exif: EXIF data; empty where there are none.
        xmp: an XMP packet; likewise.
        orientation: 1 to 8 where the format has its own way to say it, and EXIF does not count.
        animated: whether more pictures follow.
    """

    format: str
    width: int
    height: int
    lean: tuple[bytes | memoryview, ...]
    bytes_per_pixel: float
    fixed_bytes: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    orientation: int | None = None
    animated: bool = False
