"""What a header says: the value that every reader of this package returns."""

from __future__ import annotations

from dataclasses import dataclass


class BeyondLimitsError(Exception):
    """A file takes more work or memory than its reader is willing to spend."""


class UnreadCodingError(Exception):
    """A sound file whose pixels are coded in a way that is not read."""


class Parts:
    """Counts the parts of one file that are walked over, whatever takes no bytes among them included."""

    def __init__(self, most: int) -> None:
        """Allow so many of them."""
        self._most = self._left = most

    def count(self, number: int = 1) -> None:
        """Count some more; the law of this package ends where there are too many."""
        self._left -= number
        if self._left < 0:
            message = f"more than {self._most} parts"
            raise BeyondLimitsError(message)


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


def check_end(coded: bytes) -> None:
    """Refuse coded pixels that end in zeros, an eighth of them or more: space that a copy took and never filled.

    It is for arithmetic codes (VP8, AV1, HEVC): flat pictures end in zeros there too, but in a twentieth at most.
    """
    tail = max(512, len(coded) // 8)
    if len(coded) > tail and coded.endswith(bytes(tail)):
        message = f"zeros in the last {tail} bytes"
        raise EOFError(message)
