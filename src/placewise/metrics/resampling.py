"""Intervals by resampling places: photos of one place are not independent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """What a statistic may be; NaN where it was undefined in every draw.

    Attributes:
        low: the lower limit.
        high: the upper limit.
        share_above_zero: the share of draws in which it was positive; of ties one half.
    """

    low: float
    high: float
    share_above_zero: float


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic over draws of whole groups with replacement (Efron, 1979).

    For two models on the same queries, let the statistic be the difference of their metrics: the bootstrap is then
    paired.

    Args:
        statistic: takes ``(M,)`` row numbers, some of them repeated, and returns a number; NaN where it has none.
        groups: ``(N,)`` the place of each row.
        draws: how many.
        level: the share of draws that the interval holds.
        seed: chooses the draws.

    Raises:
        OptionError: if there are fewer than two groups or no draws, or level is not between 0 and 1.

    >>> bootstrap(lambda rows: float(rows.size), [0, 1, 1, 2, 2]).high
    6.0
    """
    if draws < 1 or not 0 < level < 1:
        message = f"draws must be at least 1 and level between 0 and 1, got {draws} and {level}"
        raise OptionError(message)
    _, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        message = f"a bootstrap over places needs two or more, got {len(sizes)}"
        raise OptionError(message)
    rows_of = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(np.concatenate([rows_of[number] for number in rng.integers(0, len(sizes), len(sizes))]))
            for _ in range(draws)
        ]
    )
    values = values[~np.isnan(values)]
    if not values.size:
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), float(np.mean(values > 0) + np.mean(values == 0) / 2))
