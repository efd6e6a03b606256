"""How a value is spread over known queries that are right, known ones that are wrong, and open-set ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.evaluation import QueryResult

_WIDTHS = (0.01, 0.02, 0.05, 0.1)
_BINS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts in bins of equal width; a value on an edge is in the bin above it, one beyond the ends in the last one.

    Attributes:
        edges: ``(B + 1,)`` float64.
        right: ``(B,)`` known queries whose place would be right.
        wrong: ``(B,)`` other known queries.
        open_set: ``(B,)`` open-set queries.
    """

    edges: NDArray[np.float64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    open_set: NDArray[np.int64]


def histogram_of(
    results: Sequence[QueryResult],
    value: Callable[[QueryResult], float],
    *,
    limits: tuple[float, float] | None = None,
) -> Histogram:
    """Count a value of the scored queries.

    Args:
        results: the queries; those that are not scored do not count.
        value: what is counted, a cosine or a probability.
        limits: of the bins; around the values by default.
    """
    scored = [result for result in results if result.open_set is not None]
    edges = _edges(limits or _limits([value(result) for result in scored]))

    def count(wanted: Callable[[QueryResult], bool]) -> NDArray[np.int64]:
        values = np.array([value(result) for result in scored if wanted(result)], dtype=np.float64)
        bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        return np.bincount(bins, minlength=len(edges) - 1)

    return Histogram(
        edges,
        right=count(lambda result: result.open_set is False and result.correct),
        wrong=count(lambda result: result.open_set is False and not result.correct),
        open_set=count(lambda result: result.open_set is True),
    )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Around the values, rounded outwards to a twentieth; -1, which stands for nothing to compare, does not count."""
    comparable = [value for value in values if value > -1] or [0.0]
    low, high = math.floor(min(comparable) * 20) / 20, math.ceil(max(comparable) * 20) / 20
    return low, max(high, low + 0.05)


def _edges(limits: tuple[float, float]) -> NDArray[np.float64]:
    """The narrowest bins of a round width that are few enough, within the limits or a little beyond."""
    ends = {width: (math.floor(limits[0] / width + 1e-9), math.ceil(limits[1] / width - 1e-9)) for width in _WIDTHS}
    width = next((width for width, (first, last) in ends.items() if last - first <= _BINS), _WIDTHS[-1])
    first, last = ends[width]
    return np.asarray(np.arange(first, last + 1) * width, dtype=np.float64)
