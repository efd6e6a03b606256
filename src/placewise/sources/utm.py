"""UTM coordinates, in tables and in the file names of the VPR datasets."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from placewise.core import Photo, Position

_ZONE = re.compile(r"(\d{1,2})\s*([C-HJ-NP-X])", re.IGNORECASE)


def position_of(east: str, north: str, zone: str) -> Position:
    """The WGS84 position of UTM coordinates.

    Args:
        east: metres.
        north: metres.
        zone: the number and the letter of the latitude band, as in ``33U``; letters from N on are the northern half.

    Raises:
        ValueError: if they are none.
    """
    found = _ZONE.fullmatch(zone.strip())
    try:
        metres = float(east), float(north)
    except ValueError:
        metres = (math.nan, math.nan)
    if not found or not 1 <= int(found[1]) <= 60 or not all(map(math.isfinite, metres)):
        message = f"utm_east and utm_north must be metres and utm_zone like 33U, got {east!r}, {north!r}, {zone!r}"
        raise ValueError(message)
    lon, lat = _to_wgs84(int(found[1]), found[2].upper() >= "N")(*metres)
    if not (math.isfinite(lat) and math.isfinite(lon)):
        message = f"utm_east and utm_north must lie in their zone, got {east!r}, {north!r}, {zone!r}"
        raise ValueError(message)
    return Position(lat, lon)


@functools.lru_cache(maxsize=120)
def _to_wgs84(zone: int, northern: bool) -> Callable[[float, float], tuple[float, float]]:  # noqa: FBT001
    import pyproj

    # Knows the zones by itself: nothing is looked up on the network.
    transformer = pyproj.Transformer.from_crs(f"EPSG:{(32600 if northern else 32700) + zone}", 4326, always_xy=True)
    transform: Callable[[float, float], tuple[float, float]] = transformer.transform
    return transform


def metres_of(photos: Sequence[Photo]) -> NDArray[np.float64]:
    """UTM easting and northing ``(N, 2)`` in metres, NaN where a photo has no position.

    All are in one zone, that of the median position, so that a border between zones tears nothing apart. Where each
    photo's name holds its UTM metres, as the VPR datasets' names do, they are taken as they stand.
    """
    if photos and all(is_named(photo.path.name) for photo in photos):
        return np.array([photo.path.name.split("@")[1:3] for photo in photos], dtype=np.float64)
    metres = np.full((len(photos), 2), np.nan)
    rows = [row for row, photo in enumerate(photos) if photo.position]
    if rows:
        lat, lon = np.array([(p.position.lat, p.position.lon) for p in photos if p.position]).T
        lon = lon[0] + (lon - lon[0] + 180) % 360 - 180  # across the 180th meridian
        zone = int((float(np.median(lon)) + 180) % 360 // 6) + 1
        metres[rows] = np.stack(_to_utm(zone, float(np.median(lat)) >= 0)(lon, lat), axis=1)
    return metres


@functools.lru_cache(maxsize=120)
def _to_utm(zone: int, northern: bool) -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]:  # noqa: FBT001
    import pyproj

    transformer = pyproj.Transformer.from_crs(4326, f"EPSG:{(32600 if northern else 32700) + zone}", always_xy=True)
    transform: Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]] = transformer.transform
    return transform


def named_position(name: str) -> Position | None:
    """The position in a name like ``@UTM east@north@zone@letter@lat@lon@…@heading@…@.jpg``; None where it holds none.

    The fields of the VPR datasets' names: east, north, zone number, latitude band, latitude, longitude, panorama, tile,
    heading, and others; any of them may be empty.

    Raises:
        ValueError: if the fields are there but are no position.
    """
    fields = name.split("@")[1:]
    east, north, number, letter, lat, lon, _, _, heading, *_ = [*fields, *[""] * 9]
    if lat and lon:
        where = Position(_number(lat), _number(lon))
    elif east and north and number and letter:
        where = position_of(east, north, number + letter)
    else:
        return None
    return Position(where.lat, where.lon, _number(heading) % 360) if heading else where


def is_named(name: str) -> bool:
    """Whether a file's name has the form of the VPR datasets: an at sign, then two coordinates."""
    return re.match(r"@-?\d*\.?\d+@-?\d*\.?\d+@", name) is not None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = f"a coordinate in the file's name must be a number, got {text!r}"
        raise ValueError(message) from None
