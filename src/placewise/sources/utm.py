"""UTM coordinates, in tables and in the file names of the VPR datasets."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

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


class Plane(NamedTuple):
    """Photos and others on the plane of one UTM zone; metres are true to a part in a thousand around the first.

    Attributes:
        rows: ``(P,)`` which photos lie in the zone.
        metres: ``(P, 2)`` their easting and northing.
        others: ``(N, 2)`` those of all others, on the same plane; NaN where there is no position or it is too far away.
    """

    rows: NDArray[np.int64]
    metres: NDArray[np.float64]
    others: NDArray[np.float64]


def planes_of(photos: Sequence[Photo], others: Sequence[Photo]) -> Iterator[Plane]:
    """The planes in which distances from some photos to others are measured, in UTM metres.

    Each photo with a position is in its own zone, and the others are projected to that zone, so that a border between
    zones tears nothing apart and a place far away distorts nothing. Where each name of either side holds its UTM metres
    in one zone, as the VPR datasets' names do, they are taken as they stand.
    """
    named = _named_metres([*photos, *others])
    if named is not None:
        yield Plane(np.arange(len(photos)), named[: len(photos)], named[len(photos) :])
        return
    degrees, of_others = _degrees_of(photos), _degrees_of(others)
    zones = np.where(degrees[:, 0] >= 0, 1, -1) * ((degrees[:, 1] + 180) % 360 // 6 + 1)
    for zone in np.unique(zones[~np.isnan(zones)]).astype(int).tolist():
        rows = np.flatnonzero(zones == zone)
        yield Plane(rows, _on_plane(zone, degrees[rows]), _on_plane(zone, of_others))


def _named_metres(photos: Sequence[Photo]) -> NDArray[np.float64] | None:
    """The metres that the photos' names hold; None unless all do, in one zone."""
    if not photos or not all(is_named(photo.path.name) for photo in photos):
        return None
    fields = [photo.path.name.split("@")[1:] for photo in photos]
    zones = {(*[part.strip().upper() for part in each[2:4]],) for each in fields if _ZONE.fullmatch("".join(each[2:4]))}
    if len(zones) > 1 and all(photo.position for photo in photos):
        return None
    return np.array([each[:2] for each in fields], dtype=np.float64)


def _degrees_of(photos: Sequence[Photo]) -> NDArray[np.float64]:
    """Latitude and longitude ``(N, 2)``, NaN where there is none."""
    degrees = [(p.position.lat, p.position.lon) if p.position else (math.nan, math.nan) for p in photos]
    return np.array(degrees, dtype=np.float64).reshape(-1, 2)


def _on_plane(zone: int, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Easting and northing ``(N, 2)`` in a zone, which is negative in the southern half."""
    there = ~np.isnan(degrees).any(axis=1)
    metres = np.full(degrees.shape, np.nan)
    metres[there] = np.stack(_to_utm(abs(zone), zone > 0)(degrees[there, 1], degrees[there, 0]), axis=1)
    return np.where(np.isfinite(metres), metres, np.nan)


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
