"""The curves behind the areas: what every threshold, and every K, would have given.

A curve of a confidence has one point a distinct threshold, so it is exact under ties, and its area by trapezoids is
the metric of that name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError
from placewise.metrics.confidences import as_confidences, as_outcomes
from placewise.metrics.open_set import steps
from placewise.metrics.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A line through points.

    Attributes:
        x: ``(S,)`` float64, never falling.
        y: ``(S,)`` float64.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Below the line, by trapezoids; NaN where there is no line."""
        return float(np.trapezoid(self.y, self.x)) if self.x.size else math.nan

    def thinned(self, tolerance: float = 0.0) -> Curve:
        """The curve with fewer points: none that is left out is further than ``tolerance`` above or below the line.

        The first and the last point stay, and so does every point that matters by more than the tolerance
        (Ramer, 1972; Douglas and Peucker, 1973; by the vertical distance).

        >>> Curve(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0])).thinned().x.tolist()
        [0.0, 1.0]
        """
        keep = np.zeros(self.x.size, dtype=bool)
        keep[[0, -1] if self.x.size else []] = True
        pieces = [(0, self.x.size - 1)]
        while pieces:
            first, last = pieces.pop()
            if last - first < 2:
                continue
            off = _off(self.x[first : last + 1], self.y[first : last + 1])
            worst = int(np.argmax(off))
            if off[worst] > tolerance + 1e-12:
                keep[first + worst] = True
                pieces += [(first, first + worst), (first + worst, last)]
        return Curve(self.x[keep], self.y[keep])


def recall_curve(positive_ranks: Sequence[Ranks], last: int) -> Curve:
    """`recall_at_k` for each K from 1 to ``last``.

    Args:
        positive_ranks: for each query the 1-based ranks of its positives, ascending; empty for a miss.
        last: the largest K, at least 1.

    Raises:
        OptionError: if last is below 1.

    >>> recall_curve([np.array([2, 5]), np.array([1])], 3).y.tolist()
    [0.5, 1.0, 1.0]
    """
    if last < 1:
        message = f"last must be at least 1, got {last}"
        raise OptionError(message)
    if not positive_ranks:
        return _NO_CURVE
    first = np.array([ranks[0] for ranks in positive_ranks if ranks.size], dtype=np.int64)
    found = np.cumsum(np.bincount(first[first <= last], minlength=last + 1))[1:]
    return Curve(np.arange(1, last + 1, dtype=np.float64), found / len(positive_ranks))


def roc_curve(known: ArrayLike, open_set: ArrayLike) -> Curve:
    """The share of known queries accepted against that of open-set ones, from no threshold met to all; area `auroc`.

    Args:
        known: confidences of the known queries, ``(N,)``.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> curve = roc_curve([0.9, 0.5], [0.5, 0.1])
    >>> curve.x.tolist(), curve.y.tolist(), curve.area
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], 0.875)
    """
    known = as_confidences(known)
    return oscr_curve(known, np.ones(known.size, dtype=bool), open_set)


def oscr_curve(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike) -> Curve:
    """The share of known queries accepted with their place against that of open-set ones accepted; area `oscr`.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's place is right, ``(N,)`` bool.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> oscr_curve([0.9, 0.8, 0.7], [True, True, False], [0.3, 0.2, 0.1]).area
    0.6666666666666666
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
    right = known[as_outcomes(correct, known.size)]
    if not (known.size and open_set.size):
        return _NO_CURVE
    taus = np.unique(np.concatenate([known, open_set]))[::-1]
    accepted = _at_least(open_set, taus) / open_set.size
    return Curve(np.append(0.0, accepted), np.append(0.0, _at_least(right, taus) / known.size))


def answer_curve(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike) -> Curve:
    """Precision against recall of the accepted answers, one point a distinct threshold.

    The precision-recall curve of place recognition: recall is the share of known queries accepted with their place,
    precision the share of accepted queries whose place is right, an open-set query never being right.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's place is right, ``(N,)`` bool.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> curve = answer_curve([0.9, 0.5], [True, True], [0.7])
    >>> curve.x.tolist(), curve.y.round(3).tolist()
    ([0.5, 0.5, 1.0], [1.0, 0.5, 0.667])
    """
    accepted, right, _ = steps(known, correct, open_set)
    count = np.size(np.asarray(known))
    return Curve(right / count, right / accepted) if count else _NO_CURVE


def unknown_curve(known: ArrayLike, open_set: ArrayLike) -> Curve:
    """Precision against recall of UNKNOWN, one point a distinct threshold, the least confident flagged first.

    Args:
        known: confidences of the known queries, ``(N,)``.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> curve = unknown_curve([0.9, 0.5], [0.5, 0.1])
    >>> curve.x.tolist(), curve.y.round(3).tolist()
    ([0.5, 1.0, 1.0], [1.0, 0.667, 0.5])
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
    if not open_set.size:
        return _NO_CURVE
    taus = np.unique(np.concatenate([known, open_set]))
    detected, rejected = _at_least(-open_set, -taus), _at_least(-known, -taus)
    return Curve(detected / open_set.size, detected / (detected + rejected))


_NO_CURVE = Curve(np.empty(0), np.empty(0))


def _at_least(values: NDArray[np.float64], taus: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the values reach each tau, ``(S,)``."""
    return np.asarray(values.size - np.searchsorted(np.sort(values), taus, side="left"), dtype=np.int64)


def _off(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each point is from the line between the first and the last one, ``(S,)``."""
    if x[-1] > x[0]:
        straight = y[0] + (x - x[0]) / (x[-1] - x[0]) * (y[-1] - y[0])
        return np.asarray(np.abs(straight - y), dtype=np.float64)
    low, high = sorted((y[0], y[-1]))
    return np.asarray(np.maximum(np.maximum(low - y, y - high), 0.0), dtype=np.float64)
