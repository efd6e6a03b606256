"""Metrics of a ranking: did the positives come first?

Every function takes the 1-based ranks of a query's positives in the ranking of the gallery. ``positives`` is the number
of positives in the gallery where the ranking was cut before it held them all; without it, all of them are ranked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from placewise.errors import OptionError
from placewise.metrics.ranks import Ranks, check_k, count_positives, mean_of_evaluated

WithoutPositives = Literal["miss", "drop"]
"""What becomes of a query without positives: a miss, or it is left out."""


@dataclass(frozen=True, slots=True)
class RecallCounts:
    """How many queries found a positive among the first k; the two conventions of Recall@K.

    Attributes:
        found: queries with a positive among the first k.
        missed: queries that have positives, but none among the first k.
        without_positives: queries that have none in the gallery.
    """

    found: int
    missed: int
    without_positives: int

    @property
    def counting_misses(self) -> float:
        """Recall@K where a query without positives is a miss (VPR-methods-evaluation); NaN without queries."""
        total = self.found + self.missed + self.without_positives
        return self.found / total if total else math.nan

    @property
    def dropping(self) -> float:
        """Recall@K over the queries that have positives (VPR_Tutorial); NaN when none has."""
        total = self.found + self.missed
        return self.found / total if total else math.nan


def recall_counts(positive_ranks: Sequence[Ranks], k: int, *, positives: Sequence[int] | None = None) -> RecallCounts:
    """Count the queries with at least one positive among the first ``k`` gallery photos.

    Args:
        positive_ranks: for each query the 1-based ranks of its positives, ascending.
        k: at least 1; it may exceed the gallery's size.
        positives: how many positives each query has, where rankings were cut.

    Raises:
        OptionError: if k is below 1, or positives are not one number for each query, at least the ranks given.

    >>> recall_counts([np.array([2, 5]), np.array([1]), np.array([], int)], 1)
    RecallCounts(found=1, missed=1, without_positives=1)
    """
    check_k(k)
    found = sum(ranks.size > 0 and bool(ranks[0] <= k) for ranks in positive_ranks)
    without = sum(count == 0 for count in _counts(positive_ranks, positives))
    return RecallCounts(found, len(positive_ranks) - found - without, without)


def recall_at_k(
    positive_ranks: Sequence[Ranks],
    k: int,
    *,
    without_positives: WithoutPositives = "miss",
    positives: Sequence[int] | None = None,
) -> float:
    """Share of queries with at least one positive among the first ``k`` gallery photos.

    This is the Recall@K of place recognition, which information retrieval calls hit rate. Open-set queries have no
    place here: exclude them.

    Args:
        positive_ranks: for each query the 1-based ranks of its positives, ascending.
        k: at least 1; it may exceed the gallery's size.
        without_positives: "miss" counts a query without positives as a miss, as gmberton/VPR-methods-evaluation
            ``main.py`` does; "drop" leaves it out, as stschubert/VPR_Tutorial ``evaluation/metrics.py`` does.
        positives: how many positives each query has, where rankings were cut.

    Raises:
        OptionError: if k is below 1, without_positives is neither, or positives do not fit.

    >>> queries = [np.array([2, 5]), np.array([1]), np.array([], int), np.array([], int)]
    >>> recall_at_k(queries, 1), recall_at_k(queries, 1, without_positives="drop")
    (0.25, 0.5)
    """
    counts = recall_counts(positive_ranks, k, positives=positives)
    if without_positives == "miss":
        return counts.counting_misses
    if without_positives == "drop":
        return counts.dropping
    message = f'without_positives must be "miss" or "drop", got {without_positives!r}'
    raise OptionError(message)


def average_precision(ranks: Ranks, *, positives: int | None = None) -> float:
    """Item-level average precision over all positives, AP = (1/n) Σ_i i / r_i.

    r_i is the rank of the i-th positive, so i / r_i is the precision at that rank (the finite sum of TREC, not the
    trapezoids of `revisited_average_precision`). NaN without positives.

    Args:
        ranks: the 1-based ranks of the positives of one query, ascending, ``(P,)``.
        positives: n, where the ranking was cut; a positive that is not ranked adds nothing.

    Raises:
        OptionError: if positives are fewer than the ranks.

    >>> round(average_precision(np.array([1, 3])), 3), round(average_precision(np.array([1, 3]), positives=3), 3)
    (0.833, 0.556)
    """
    count = count_positives(ranks, positives)
    return float(np.sum(np.arange(1, ranks.size + 1) / ranks)) / count if count else math.nan


def average_precision_at_k(ranks: Ranks, k: int = 100, *, positives: int | None = None) -> float:
    """Average precision of the first k, AP@k = Σ_{r_i ≤ k} i / r_i divided by min(n, k).

    The retrieval metric of Google Landmarks v2 (delf ``google_landmarks_dataset/metrics.py``, MeanAveragePrecision)
    with its k of 100, and of mapillary_sls ``utils/eval.py``. NaN without positives; there they are absent from the
    solution. `ranks_of` turns a list with repeated predictions into ranks as they do.

    Args:
        ranks: the 1-based ranks of the positives of one query, ascending, ``(P,)``.
        k: at least 1.
        positives: n, where the ranking was cut.

    Raises:
        OptionError: if k is below 1, or positives are fewer than the ranks.

    >>> average_precision_at_k(np.array([1, 4, 6]), 4)
    0.5
    """
    check_k(k)
    count = count_positives(ranks, positives)
    first = ranks[ranks <= k]
    return float(np.sum(np.arange(1, first.size + 1) / first)) / min(count, k) if count else math.nan


def average_precision_at_r(ranks: Ranks, *, positives: int | None = None) -> float:
    """Average precision of the first R, R the number of positives: (1/R) Σ_{r_i ≤ R} i / r_i.

    MAP@R of pytorch-metric-learning ``utils/accuracy_calculator.py`` (Musgrave et al., 2020). NaN without positives;
    there such queries are left out.

    Args:
        ranks: the 1-based ranks of the positives of one query, ascending, ``(P,)``.
        positives: R, where the ranking was cut.

    Raises:
        OptionError: if positives are fewer than the ranks.

    >>> round(average_precision_at_r(np.array([1, 3, 9]), positives=4), 3)
    0.417
    """
    count = count_positives(ranks, positives)
    return average_precision_at_k(ranks, count, positives=count) if count else math.nan


def mean_average_precision(positive_ranks: Sequence[Ranks], *, positives: Sequence[int] | None = None) -> float:
    """Mean of `average_precision` over the queries that have a positive.

    >>> mean_average_precision([np.array([1]), np.array([2]), np.array([], int)])
    0.75
    """
    return _mean(positive_ranks, positives, lambda ranks, count: average_precision(ranks, positives=count))


def mean_average_precision_at_k(
    positive_ranks: Sequence[Ranks], k: int = 100, *, positives: Sequence[int] | None = None
) -> float:
    """Mean of `average_precision_at_k` over the queries that have a positive.

    A query for which nothing was predicted counts as 0 if ``positives`` says that it has some.

    >>> mean_average_precision_at_k([np.array([1]), np.array([], int)], 100, positives=[1, 3])
    0.5
    """
    check_k(k)
    return _mean(positive_ranks, positives, lambda ranks, count: average_precision_at_k(ranks, k, positives=count))


def mean_average_precision_at_r(positive_ranks: Sequence[Ranks], *, positives: Sequence[int] | None = None) -> float:
    """Mean of `average_precision_at_r` over the queries that have a positive.

    >>> mean_average_precision_at_r([np.array([1, 3]), np.array([1]), np.array([], int)])
    0.75
    """
    return _mean(positive_ranks, positives, lambda ranks, count: average_precision_at_r(ranks, positives=count))


def _mean(
    positive_ranks: Sequence[Ranks], positives: Sequence[int] | None, metric: Callable[[Ranks, int], float]
) -> float:
    counts = _counts(positive_ranks, positives)
    return mean_of_evaluated(metric(ranks, count) for ranks, count in zip(positive_ranks, counts, strict=True))


def _counts(positive_ranks: Sequence[Ranks], positives: Sequence[int] | None) -> list[int]:
    if positives is None:
        return [ranks.size for ranks in positive_ranks]
    if len(positives) != len(positive_ranks):
        message = f"positives must be one number per query, {len(positive_ranks)}, got {len(positives)}"
        raise OptionError(message)
    return [count_positives(ranks, count) for ranks, count in zip(positive_ranks, positives, strict=True)]
