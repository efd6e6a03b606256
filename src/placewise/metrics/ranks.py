"""Where a query's positives are in the ranking of the gallery."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from placewise.errors import OptionError

Ranks = NDArray[np.integer]
"""The 1-based ranks of all positives of one query, ascending, ``(P,)``."""


def ranks_of(positives: Iterable[Hashable], predicted: Iterable[Hashable]) -> Ranks:
    """The 1-based positions at which positives first occur in a list of predictions, ascending.

    A photo predicted twice takes up a position each time and counts once, as in the retrieval metric of Google
    Landmarks and in mapillary_sls.

    >>> ranks_of(["a", "b"], ["a", "x", "a", "b"]).tolist()
    [1, 4]
    """
    wanted, ranks = set(positives), []
    for rank, photo in enumerate(predicted, start=1):
        if photo in wanted:
            wanted.remove(photo)
            ranks.append(rank)
    return np.array(ranks, dtype=np.int64)


def count_positives(ranks: Ranks, positives: int | None) -> int:
    """How many positives a query has: as many as are ranked, unless its ranking was cut and more are known of.

    Raises:
        OptionError: if fewer are known of than are ranked.
    """
    if positives is None:
        return ranks.size
    if positives < ranks.size:
        message = f"positives must be at least as many as are ranked, {ranks.size}, got {positives}"
        raise OptionError(message)
    return int(positives)


def check_k(k: int) -> None:
    """Refuse a k that takes no photo.

    Raises:
        OptionError: if k is below 1.
    """
    if k < 1:
        message = f"k must be at least 1, got {k}"
        raise OptionError(message)


def mean_of_evaluated(values: Iterable[float]) -> float:
    """The mean of what is not NaN; NaN if all is."""
    evaluated = [value for value in values if not math.isnan(value)]
    return float(np.mean(evaluated)) if evaluated else math.nan
