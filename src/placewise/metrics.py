"""Retrieval and open-set metrics: arrays in, floats out.

The laws of this module:

* Similarity and confidence are higher-is-better; an answer is UNKNOWN when its confidence is below tau, so a
  confidence equal to tau is KNOWN.
* The positive class of every ``unknown_*`` metric is the open-set query.
* What is undefined (no queries, one class only, nothing predicted) is NaN, never a silent 0 or 1.
* Ranks count from 1. How ties are ranked is the ranking's business; threshold metrics are exact under ties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

Ranks = NDArray[np.integer]
"""The 1-based ranks of all positives of one query, ascending, ``(P,)``."""


def recall_at_k(positive_ranks: Sequence[Ranks], k: int) -> float:
    """Share of queries with at least one positive among the first ``k`` gallery photos.

    This is the Recall@K of place recognition, which information retrieval calls hit rate. Queries without positives
    have no place here: exclude them (open-set queries) or pass an empty array to count them as misses.

    Args:
        positive_ranks: for each query the 1-based ranks of its positives, ascending.
        k: at least 1; it may exceed the gallery's size.

    Raises:
        OptionError: if k is below 1.

    >>> recall_at_k([np.array([2, 5]), np.array([1])], 1)
    0.5
    """
    if k < 1:
        message = f"k must be at least 1, got {k}"
        raise OptionError(message)
    if not positive_ranks:
        return math.nan
    return float(np.mean([ranks.size > 0 and ranks[0] <= k for ranks in positive_ranks]))


def average_precision(ranks: Ranks) -> float:
    """Item-level average precision over all positives, AP = (1/P) Σ_i i / r_i.

    r_i is the rank of the i-th positive, so i / r_i is the precision at that rank (the finite sum of TREC, not the
    trapezoids of the revisited Oxford and Paris protocol).

    Args:
        ranks: the 1-based ranks of *all* positives of one query, ascending, ``(P,)``.

    >>> round(average_precision(np.array([1, 3])), 3)
    0.833
    """
    if ranks.size == 0:
        return math.nan
    return float(np.mean(np.arange(1, ranks.size + 1) / ranks))


def mean_average_precision(positive_ranks: Sequence[Ranks]) -> float:
    """Mean of `average_precision` over the queries that have a positive.

    >>> mean_average_precision([np.array([1]), np.array([2]), np.array([], int)])
    0.75
    """
    values = [average_precision(ranks) for ranks in positive_ranks if ranks.size]
    return float(np.mean(values)) if values else math.nan


@dataclass(frozen=True, slots=True)
class OpenSetCounts:
    """The confusion counts at one tau; "positive" is UNKNOWN.

    Attributes:
        true_positives: open-set queries answered UNKNOWN.
        false_positives: known queries answered UNKNOWN.
        false_negatives: open-set queries answered KNOWN.
        true_negatives: known queries answered KNOWN.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def unknown_precision(self) -> float:
        """Share of the UNKNOWN answers that are right; NaN when nothing was answered UNKNOWN."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def unknown_recall(self) -> float:
        """Share of the open-set queries answered UNKNOWN; NaN without open-set queries."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def unknown_f1(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN when there is neither an open-set query nor an UNKNOWN answer."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def false_accept_rate(self) -> float:
        """Share of the open-set queries answered KNOWN."""
        return _ratio(self.false_negatives, self.true_positives + self.false_negatives)

    @property
    def false_reject_rate(self) -> float:
        """Share of the known queries answered UNKNOWN."""
        return _ratio(self.false_positives, self.false_positives + self.true_negatives)


def open_set_counts(known: ArrayLike, open_set: ArrayLike, tau: float) -> OpenSetCounts:
    """Count the decisions at ``tau``.

    Args:
        known: confidences of the known queries, ``(N,)``.
        open_set: confidences of the open-set queries, ``(M,)``.
        tau: below it an answer is UNKNOWN.

    Raises:
        OptionError: if a confidence or tau is NaN.

    >>> counts = open_set_counts([0.9, 0.5, 0.4], [0.3, 0.5], 0.5)
    >>> counts.false_positives, counts.unknown_precision, counts.false_accept_rate
    (1, 0.5, 0.5)
    """
    known, open_set = _confidences(known), _confidences(open_set)
    if math.isnan(tau):
        message = "tau must be a number, got NaN"
        raise OptionError(message)
    rejected, detected = int(np.sum(known < tau)), int(np.sum(open_set < tau))
    return OpenSetCounts(detected, rejected, open_set.size - detected, known.size - rejected)


def wrong_place_rate(known: ArrayLike, correct: ArrayLike, tau: float) -> float:
    """Share of the known queries that are accepted with a wrong place.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's best hit shows its place, ``(N,)`` bool.
        tau: below it an answer is UNKNOWN.

    >>> wrong_place_rate([0.9, 0.8, 0.2, 0.7], [True, False, False, True], 0.5)
    0.25
    """
    known = _confidences(known)
    return float(np.mean((known >= tau) & ~np.asarray(correct, bool))) if known.size else math.nan


def auroc(known: ArrayLike, open_set: ArrayLike) -> float:
    """Area under the ROC curve of the confidence, known against open-set; ties count one half.

    The Mann-Whitney form: the probability that a random known query is more confident than a random open-set one.

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    known, open_set = _confidences(known), _confidences(open_set)
    return _wins(known, open_set) / known.size if known.size and open_set.size else math.nan


def fpr95(known: ArrayLike, open_set: ArrayLike) -> float:
    """Share of open-set queries accepted at the largest tau that accepts at least 95 % of the known ones.

    Known is the positive class here. OpenOOD makes open-set the positive class, which is another number.

    >>> fpr95([0.9, 0.8, 0.7], [0.75, 0.7, 0.1])
    0.6666666666666666
    """
    known, open_set = _confidences(known), _confidences(open_set)
    if not (known.size and open_set.size):
        return math.nan
    accepted = -(-95 * known.size // 100)  # the ceiling in integers: 0.95 * 20 is not 19 in floats
    tau = np.sort(known)[known.size - accepted]
    return float(np.mean(open_set >= tau))


def oscr(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike) -> float:
    """Area under the correct-classification rate against the false-positive rate, exact under ties.

    The correct-classification rate at a threshold is the share of all known queries that are accepted with the right
    place; the false-positive rate is the share of open-set queries accepted (Dhamija et al., 2018). Its area from 0
    to 1 equals Σ over correct known queries of their wins over open-set ones, a tie counting one half, divided by the
    number of pairs: the value of the trapezoid through tied thresholds.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's best hit shows its place, ``(N,)`` bool.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> oscr([0.9, 0.8, 0.7], [True, True, False], [0.3, 0.2, 0.1])
    0.6666666666666666
    """
    known, open_set = _confidences(known), _confidences(open_set)
    if not (known.size and open_set.size):
        return math.nan
    return _wins(known[np.asarray(correct, bool)], open_set) / known.size


def _wins(known: NDArray[np.float64], open_set: NDArray[np.float64]) -> float:
    """Σ over known of the share of open-set confidences below it, ties counting one half."""
    ordered = np.sort(open_set)
    below = np.searchsorted(ordered, known, side="left")
    not_above = np.searchsorted(ordered, known, side="right")
    return float(np.sum(below + not_above)) / (2 * open_set.size)


def _confidences(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any():
        message = f"confidences must be one-dimensional without NaN, got shape {array.shape}"
        raise OptionError(message)
    return array


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
