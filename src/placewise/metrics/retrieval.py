"""Metrics of a ranking: did the positives come first?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
