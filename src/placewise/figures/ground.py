"""Where photos were taken, and where the answers to them point, in metres on a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.figures.outcomes import MISTAKES, outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placewise.core import Photo, Position, Source
    from placewise.evaluation import QueryResult
    from placewise.figures.outcomes import Outcome

_EARTH_M = 6_371_008.8
"""The mean radius of the Earth (IUGG)."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a query was taken.

    Attributes:
        query: the photo.
        at: (east, north) of the map's middle, in metres.
        outcome: what became of it.
        hit_at: where its best hit was taken, likewise, if the query is a mistake and its place would not be right;
            None where that is not known.
    """

    query: Photo
    at: tuple[float, float]
    outcome: Outcome
    hit_at: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A map.

    Attributes:
        gallery: ``(G, 2)`` float64, (east, north) of the middle in metres.
        spots: one a query whose position is known.
        missing: photos without a position.
    """

    gallery: NDArray[np.float64]
    spots: tuple[Spot, ...]
    missing: int


def ground_of(results: Sequence[QueryResult], tau: float, source: Source) -> Ground | None:
    """The map of an evaluation; None unless gallery photos and queries have positions.

    Latitudes and longitudes become metres by the equirectangular projection around the middle m of all positions:
    east = R (lon - lon_m) cos lat_m, north = R (lat - lat_m). Within a city that is true to a part in a thousand.

    Args:
        results: the queries.
        tau: below it an answer is UNKNOWN; NaN where nothing is decided.
        source: the photos of the gallery.
    """
    searched, asking = source.of("gallery"), tuple(result.query for result in results)
    photos = dict.fromkeys((*searched, *asking))  # a sequence that asks its own past has each photo on both sides
    placed = [(photo, photo.position) for photo in photos if photo.position is not None]
    if not all(any(photo.position for photo in side) for side in (searched, asking)):
        return None
    at = dict(zip((photo for photo, _ in placed), on_plane([position for _, position in placed]), strict=True))
    spots = [
        Spot(
            result.query,
            at[result.query],
            outcome(result, tau),
            at.get(result.hits[0].photo) if result.hits and _is_elsewhere(result, tau) else None,
        )
        for result in results
        if result.query in at
    ]
    gallery = [at[photo] for photo in searched if photo in at]
    return Ground(np.array(gallery, dtype=np.float64), tuple(spots), len(photos) - len(placed))


def _is_elsewhere(result: QueryResult, tau: float) -> bool:
    """Whether it is a mistake, and its place would not be right."""
    return outcome(result, tau) in MISTAKES and not result.correct


def on_plane(positions: Sequence[Position]) -> list[tuple[float, float]]:
    """(east, north) of the middle of all, in metres; positions on both sides of the 180th meridian are neighbours."""
    lat = np.radians([position.lat for position in positions])
    first = positions[0].lon
    lon = np.radians([(position.lon - first + 180) % 360 - 180 for position in positions])
    middle_lat, middle_lon = ((values.min() + values.max()) / 2 for values in (lat, lon))
    east = _EARTH_M * (lon - middle_lon) * np.cos(middle_lat)
    north = _EARTH_M * (lat - middle_lat)
    return list(zip(east.tolist(), north.tolist(), strict=True))
