"""Metrics of a confidence: does it tell known queries from open-set ones?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError
from placewise.metrics.confidences import as_confidences, as_outcomes


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
    known, open_set = as_confidences(known), as_confidences(open_set)
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
    known = as_confidences(known)
    wrong = ~as_outcomes(correct, known.size)
    return float(np.mean((known >= tau) & wrong)) if known.size else math.nan


def auroc(known: ArrayLike, open_set: ArrayLike) -> float:
    """Area under the ROC curve of the confidence, known against open-set; ties count one half.

    The Mann-Whitney form: the probability that a random known query is more confident than a random open-set one.

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
    return _wins(known, open_set) / known.size if known.size and open_set.size else math.nan


def fpr95(known: ArrayLike, open_set: ArrayLike) -> float:
    """Share of open-set queries accepted at the largest tau that accepts at least 95 % of the known ones.

    Known is the positive class here. OpenOOD makes open-set the positive class, which is `fpr95_open_set`.

    >>> fpr95([0.9, 0.8, 0.7], [0.75, 0.7, 0.1])
    0.6666666666666666
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
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
    known, open_set = as_confidences(known), as_confidences(open_set)
    if not (known.size and open_set.size):
        return math.nan
    return _wins(known[as_outcomes(correct, known.size)], open_set) / known.size


def fpr95_open_set(known: ArrayLike, open_set: ArrayLike) -> float:
    """Share of known queries flagged as UNKNOWN at the smallest tau that flags at least 95 % of the open-set ones.

    The convention of OpenOOD: open-set is the positive class. `fpr95` is another number.

    >>> fpr95_open_set([0.9, 0.8, 0.7], [0.75, 0.7, 0.1])
    0.3333333333333333
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
    if not (known.size and open_set.size):
        return math.nan
    flagged = -(-95 * open_set.size // 100)
    return float(np.mean(known <= np.sort(open_set)[flagged - 1]))


def ccr_at_fpr(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike, fpr: float) -> float:
    """The correct-classification rate at a false-positive rate: the point of the OSCR curve (Dhamija et al., 2018).

    The largest share of the known queries that is accepted with the right place at a tau that accepts at most the share
    ``fpr`` of the open-set ones. OpenOOD's ``ccr_fpr`` allows one open-set query fewer where ``fpr`` is met exactly.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's best hit shows its place, ``(N,)`` bool.
        open_set: confidences of the open-set queries, ``(M,)``.
        fpr: from 0 to 1.

    Raises:
        OptionError: if fpr is no share.

    >>> ccr_at_fpr([0.9, 0.8, 0.6], [True, False, True], [0.7, 0.1], 0.0)
    0.3333333333333333
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
    right = known[as_outcomes(correct, known.size)]
    if not 0 <= fpr <= 1:
        message = f"fpr must be between 0 and 1, got {fpr}"
        raise OptionError(message)
    if not (known.size and open_set.size):
        return math.nan
    shares = np.arange(open_set.size + 1) / open_set.size  # compared as they are rounded, so that 29 of 100 is 0.29
    allowed = int(np.searchsorted(shares, fpr, side="right")) - 1
    if allowed == open_set.size:
        return right.size / known.size
    return int(np.sum(right > np.sort(open_set)[open_set.size - 1 - allowed])) / known.size


def steps(
    known: ArrayLike, correct: ArrayLike, open_set: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """What each distinct threshold accepts, from the most confident on.

    Returns:
        Three arrays ``(S,)``, one entry a distinct confidence: queries accepted, those of them that are right, and
        queries that have just this confidence.
    """
    known, open_set = as_confidences(known), as_confidences(open_set)
    values = np.concatenate([known, open_set])
    right = np.concatenate([as_outcomes(correct, known.size), np.zeros(open_set.size, dtype=bool)])
    _, step, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    rights = np.bincount(step, right, minlength=len(sizes)).astype(np.int64)
    return np.cumsum(sizes), np.cumsum(rights), sizes


def _wins(known: NDArray[np.float64], open_set: NDArray[np.float64]) -> float:
    """Σ over known of the share of open-set confidences below it, ties counting one half."""
    ordered = np.sort(open_set)
    below = np.searchsorted(ordered, known, side="left")
    not_above = np.searchsorted(ordered, known, side="right")
    return float(np.sum(below + not_above)) / (2 * open_set.size)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
