"""How far from a query its best hit was taken, in metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise.sources.utm import planes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placewise.evaluation import QueryResult

REACHES_M = (5, 10, 25, 50, 100, 250, 1000)


@dataclass(frozen=True, slots=True)
class Offsets:
    """Distances between queries and their best hits, whatever the answer.

    Attributes:
        queries: how many queries and best hits have positions.
        median_m: the median distance.
        within: (metres, share of those queries whose best hit was taken within so many).
    """

    queries: int
    median_m: float
    within: tuple[tuple[int, float], ...]


def offsets_of(results: Sequence[QueryResult]) -> Offsets | None:
    """The distances, in UTM metres as the radius protocol measures them; None where positions are not known.

    Args:
        results: the queries; those to which UNKNOWN is right, or of which nothing is known, do not count.
    """
    pairs = [(result.query, result.hits[0].photo) for result in results if result.open_set is False and result.hits]
    placed = [pair for pair in pairs if all(photo.position is not None for photo in pair)]
    if not placed:
        return None
    queries, hits = ([pair[side] for pair in placed] for side in (0, 1))
    apart = np.full(len(placed), np.inf)
    for plane in planes_of(queries, hits):
        apart[plane.rows] = np.hypot(*(plane.metres - plane.others[plane.rows]).T)
    apart[np.isnan(apart)] = np.inf  # beyond the plane
    within = tuple((reach, float(np.mean(apart <= reach + 1e-6))) for reach in REACHES_M)
    return Offsets(len(placed), float(np.median(apart)), within)
