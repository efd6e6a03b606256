"""Every kind of finding as data: what it means, how bad it is, and what to do.

The law of severities: an error makes results wrong or cannot be used at all; a warning may do so, and somebody has to
look; an info is worth knowing, and sound data may well have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from placewise.core import Finding, Photo, Position, Severity
from placewise.sources.files import listed

__all__ = ["BY_NAME", "KINDS", "TABLE", "Kind", "counted", "finding", "is_null", "listed"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: what findings carry.
        severity: how bad it is, unless a finding says that here it is not.
        means: what was found.
        todo: what to do about it.
    """

    name: str
    severity: Severity
    means: str
    todo: str


TABLE = (
    Kind("bad_row", "error", "a row of the source that cannot be used", "correct or remove the row"),
    Kind("skipped", "warning", "pictures in the folder are no part of the source", "move or convert them"),
    Kind("missing", "error", "the photo's file does not exist", "correct the path, or drop the row (--fix)"),
    Kind("unreadable", "error", "the file is no photo, or cannot be read", "replace the file, or drop the row (--fix)"),
    Kind("truncated", "error", "the file is cut off or damaged", "copy it again, or drop the row (--fix)"),
    Kind("too_large", "error", "the photo is too large to decode", "save it smaller, or drop the row (--fix)"),
    Kind("too_small", "warning", "the photo has few pixels", "replace it by a larger one"),
    Kind("extreme_aspect", "warning", "the photo is very wide or very tall", "cut it to what shows the place"),
    Kind("blank", "warning", "the photo shows nothing or nearly nothing", "look at it and remove it"),
    Kind("wrong_extension", "info", "the name says another format than the content", "rename it for other tools"),
    Kind(
        "exif_rotation", "info", "the photo is stored turned, with a note in EXIF", "nothing; turn it for other tools"
    ),
    Kind("mixed_resolutions", "info", "photos differ much in size", "nothing, or bring them to one size"),
    Kind("gps_present", "info", "the files tell where they were taken", "remove EXIF data before you share them"),
    Kind("duplicate", "warning", "several photos of one split are the same file", "keep one of them (--fix)"),
    Kind("cross_split_duplicate", "error", "the same file is in gallery and query", "keep it on one side (--fix)"),
    Kind(
        "near_duplicate", "warning", "photos of one split are nearly the same", "look, and keep one if they are copies"
    ),
    Kind(
        "cross_split_near_duplicate",
        "warning",
        "photos in gallery and query are nearly the same",
        "keep copies on one side (--fix)",
    ),
    Kind("place_conflict", "error", "copies of one picture carry different places", "correct the places"),
    Kind("unlabelled", "info", "photos carry no place though others do", "label them, or leave them as they are"),
    Kind("single_photo_place", "info", "places have one photo only", "add photos; calibrate cannot learn from them"),
    Kind("split_imbalance", "warning", "gallery and query, or places, are out of proportion", "divide anew: split"),
    Kind("query_without_positives", "info", "nothing in the gallery shows what a query shows", "nothing, if meant so"),
    Kind("bad_position", "warning", "a position is none, or far from the rest of its place", "correct the position"),
    Kind("position_conflict", "warning", "positions contradict places or EXIF data", "correct place or position"),
)
"""In the order in which they are reported."""

KINDS = tuple(kind.name for kind in TABLE)
"""Their names."""

BY_NAME = {kind.name: kind for kind in TABLE}
"""The same, by name."""


def finding(kind: str, photos: Iterable[Photo], detail: str, severity: Severity | None = None) -> Finding:
    """A finding about photos, as severe as its kind unless said otherwise."""
    return Finding(kind, severity or BY_NAME[kind].severity, tuple(str(photo.path) for photo in photos), detail)


def counted(count: int) -> str:
    """A number of photos in words."""
    return f"{count} {'photo' if count == 1 else 'photos'}"


def is_null(where: Position | None) -> bool:
    """Whether a position is latitude 0 and longitude 0, which receivers without a fix report."""
    return where is not None and where.lat == where.lon == 0
