"""Position, heading and time in photos' EXIF data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from placewise.core import Photo, Position, Split
from placewise.errors import OptionError

_GPS, _DETAILS, _TAKEN, _CHANGED = 0x8825, 0x8769, 0x9003, 0x0132
_LAT_REF, _LAT, _LON_REF, _LON, _HEADING = 1, 2, 3, 4, 17


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
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            exif = image.getexif()
            gps, details = dict(exif.get_ifd(_GPS)), dict(exif.get_ifd(_DETAILS))
            taken = details.get(_TAKEN) or exif.get(_CHANGED) or ""
    except Exception:  # noqa: BLE001  # whatever is wrong with the file, the doctor will say it
        return None, ""
    return _position(gps), taken if isinstance(taken, str) else ""


def _position(gps: Mapping[int, Any]) -> Position | None:
    try:
        lat = _degrees(gps[_LAT]) * (-1 if str(gps[_LAT_REF]).upper().startswith("S") else 1)
        lon = _degrees(gps[_LON]) * (-1 if str(gps[_LON_REF]).upper().startswith("W") else 1)
        heading = float(gps[_HEADING]) if _HEADING in gps else None
        return Position(lat, lon, heading if heading is not None and math.isfinite(heading) else None)
    except (KeyError, ValueError, TypeError, ZeroDivisionError, OverflowError, OptionError):
        return None


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600
