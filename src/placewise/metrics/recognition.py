"""Metrics of one answer a query: with how much confidence is the named place the right one?

An open-set query has no right answer, so whatever it is answered lowers the precision. Recall is over the known
queries, those that have a positive.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from placewise.errors import OptionError
from placewise.metrics.confidences import as_confidences, as_outcomes
from placewise.metrics.open_set import steps


def gap(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike) -> float:
    """Global average precision, or micro-AP, of the Google Landmarks recognition challenges, exact under ties.

    One prediction a query, all queries in one list by descending confidence: GAP = (1/N) Σ_i P(i) · correct(i), where
    P(i) is the precision of the first i predictions and N the number of known queries. An open-set query is never
    right, so it lowers P(i). Queries of one confidence are one step: each has the precision at the step's end, and
    their order does not matter; `gap_in_order` is the number of the cited code, which takes them one by one.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's place is right, ``(N,)`` bool.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> round(gap([0.9, 0.5], [True, True], [0.7]), 4)
    0.8333
    """
    known = as_confidences(known)
    if not known.size:
        return math.nan
    accepted, right, _ = steps(known, correct, open_set)
    return float(np.sum(right / accepted * np.diff(right, prepend=0))) / known.size


def gap_in_order(
    confidences: ArrayLike,
    correct: ArrayLike,
    open_set: ArrayLike,
    *,
    positives: int | None = None,
    ignore_open_set: bool = False,
) -> float:
    """The `gap` of delf ``google_landmarks_dataset/metrics.py``, GlobalAveragePrecision: ties in the order given.

    Queries of one confidence are taken one by one in the order of the rows; there they are sorted by query id first.
    Without ties it equals `gap`. NaN without known queries.

    Args:
        confidences: of the queries that have a prediction, known and open-set ones in the order of their ids, ``(N,)``.
        correct: whether each one's place is right, ``(N,)`` bool.
        open_set: whether each is an open-set query, ``(N,)`` bool.
        positives: how many known queries there are, also those without a prediction; by default those given.
        ignore_open_set: leave open-set queries out, the option ``ignore_non_gt_test_images``.

    Raises:
        OptionError: if an open-set query is correct, or positives are fewer than the known queries given.

    >>> gap_in_order([0.5, 0.5], [False, True], [True, False]), gap_in_order([0.5, 0.5], [True, False], [False, True])
    (0.5, 1.0)
    """
    confidence = as_confidences(confidences)
    right, unknown = as_outcomes(correct, confidence.size), as_outcomes(open_set, confidence.size)
    total = _count_known(int(np.sum(~unknown)), positives)
    if (right & unknown).any():
        message = f"an open-set query must not be correct, got {int(np.sum(right & unknown))} that are"
        raise OptionError(message)
    if not total:
        return math.nan
    if ignore_open_set:
        confidence, right = confidence[~unknown], right[~unknown]
    hits = right[np.argsort(-confidence, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    return float(np.sum(precision[hits])) / total


def recall_at_100_precision(
    known: ArrayLike, correct: ArrayLike, open_set: ArrayLike = (), *, positives: int | None = None
) -> float:
    """The largest recall at precision 1 of the best hits (R@100P): how much is right before anything is wrong.

    Thresholds are the distinct confidences, so a right and a wrong answer of one confidence are accepted together, and
    it is 0 if the most confident answers hold a wrong one. stschubert/VPR_Tutorial ``evaluation/metrics.py`` tries 100
    evenly spaced thresholds and finds at most this number. NaN without known queries.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's best hit is a positive, ``(N,)`` bool.
        open_set: confidences of the queries that have no positive, ``(M,)``.
        positives: how many known queries there are, also those without an answer; by default N.

    Raises:
        OptionError: if positives are fewer than N.

    >>> recall_at_100_precision([0.9, 0.8, 0.6, 0.5], [True, True, False, True]), recall_at_100_precision(
    ...     [0.9, 0.9], [True, False]
    ... )
    (0.5, 0.0)
    """
    known = as_confidences(known)
    total = _count_known(known.size, positives)
    accepted, right, _ = steps(known, correct, open_set)
    return int(np.max(right[right == accepted], initial=0)) / total if total else math.nan


def auc_pr(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike = (), *, positives: int | None = None) -> float:
    """Area under the precision-recall curve of the best hits, by trapezoids from recall 0 and precision 1 on.

    One point a distinct confidence; the area ends at the recall of accepting everything. The integration is that of
    stschubert/VPR_Tutorial ``demo.py``, which has 100 evenly spaced thresholds. `gap` sums the same curve in steps, as
    an average precision. NaN without known queries.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's best hit is a positive, ``(N,)`` bool.
        open_set: confidences of the queries that have no positive, ``(M,)``.
        positives: how many known queries there are, also those without an answer; by default N.

    Raises:
        OptionError: if positives are fewer than N.

    >>> auc_pr([0.9, 0.5], [True, True], [0.7])
    0.7916666666666666
    """
    known = as_confidences(known)
    total = _count_known(known.size, positives)
    if not total:
        return math.nan
    accepted, right, _ = steps(known, correct, open_set)
    precision = np.concatenate([[1.0], right / accepted])
    return float(np.sum(np.diff(right, prepend=0) * (precision[1:] + precision[:-1]))) / (2 * total)


def _count_known(given: int, positives: int | None) -> int:
    if positives is not None and positives < given:
        message = f"positives must be at least as many as the known queries given, {given}, got {positives}"
        raise OptionError(message)
    return given if positives is None else positives
