"""One photo: its file is read and decoded once, and little is kept of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.core import Finding, Photo, Position, Source
from placewise.doctor.kinds import finding
from placewise.errors import ImageError
from placewise.outlines import SIDE, is_blank, outline


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What the doctor saw of one photo; what it could not see is 0, empty or None.

    Attributes:
        photo: the row.
        fault: the kind of finding for a photo that does not decode; empty for one that does.
        format: ``JPEG``, ``PNG``, …, by the content.
        size_bytes: the size of the file.
        width: pixels of the upright photo.
        height: likewise.
        orientation: of EXIF, 1 to 8; from 2 on the file is stored turned or mirrored.
        position: of EXIF, whatever the row says.
        has_gps: whether EXIF or XMP tells a place, even one that is no position.
        taken: the time of EXIF as it is written there.
        digest: the SHA-256 of the file of a photo that decodes.
        blank: whether it shows nothing or nearly nothing.
    """

    photo: Photo
    fault: str = ""
    format: str = ""
    size_bytes: int = 0
    width: int = 0
    height: int = 0
    orientation: int = 1
    position: Position | None = None
    has_gps: bool = False
    taken: str = ""
    digest: bytes | None = None
    blank: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of a photo while others are looked at.

    Attributes:
        facts: what stays.
        finding: what is wrong with it alone.
        outline: ``(64, 64)`` uint8, of a picture that is not blank.
    """

    facts: PhotoFacts
    finding: Finding | None = None
    outline: NDArray[np.uint8] | None = None


def look(source: Source, min_side: int, photo: Photo) -> Look:
    """Read, decode and judge one photo. Reduced decoding reads the whole stream too, so that a cut file shows."""
    size_bytes = 0
    try:
        with images.opened(source.file(photo)) as data:
            size_bytes = len(data)
            said, image = images.read(data, at_least=2 * SIDE)
            digest = hashlib.sha256(data).digest()
            shown = outline(image)
    except ImageError as error:
        broken = PhotoFacts(photo, fault=error.kind, size_bytes=size_bytes)
        return Look(broken, finding(error.kind, [photo], str(error)))
    width, height = said.upright
    facts = PhotoFacts(
        photo,
        format=said.format,
        size_bytes=size_bytes,
        width=width,
        height=height,
        orientation=said.orientation,
        position=said.position,
        has_gps=said.has_gps,
        taken=said.taken,
        digest=digest,
        blank=is_blank(shown),
    )
    return Look(facts, _too_small(facts, min_side), None if facts.blank else shown)


def _too_small(facts: PhotoFacts, min_side: int) -> Finding | None:
    shorter = min(facts.width, facts.height)
    if shorter >= min_side:
        return None
    detail = f"the shorter side must have at least {min_side} pixels, got {shorter}; replace it by a larger photo"
    return finding("too_small", [facts.photo], detail)
