"""Position, heading and time in photos' EXIF data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from placewise.core import Photo, Position, Split
from placewise.errors import ImageError


def photos(folder: Path, splits: Mapping[PurePosixPath, Split]) -> tuple[Photo, ...]:
    """The photos with their positions, in the order in which they were taken; empty if none has a position."""
    seen = [(*where_and_when(folder / file), file, split) for file, split in splits.items()]
    if not any(position for position, *_ in seen):
        return ()
    # Photos without a time keep their place among the names, before those that have one.
    seen.sort(key=lambda row: (row[3], row[1], row[2]))
    return tuple(Photo(file, split, position=position) for position, _, file, split in seen)


def where_and_when(path: Path) -> tuple[Position | None, str]:
    """The position and the time of one photo; None and an empty text where they are absent or damaged."""
    from placewise import images  # who reads a table needs no decoder

    try:
        facts = images.read_facts(path)
    except ImageError:  # the doctor will say what is wrong with it
        return None, ""
    return facts.position, facts.taken
