"""Intervals by resampling places: photos of one place are not independent.

A draw takes as many groups (places, sequences) as there are, with replacement, each with all its queries; the interval
holds the middle of the statistic's values over many draws (the percentile bootstrap, Efron, 1979). With few groups that
is too narrow, by the factor √((n - 1) / n) and by the normal quantile in place of Student's, so by default the
percentiles are those of Hesterberg (2015, "What teachers should know about the bootstrap", section 3.3), further out:
α' = Φ(-√(n / (n - 1)) t), t Student's quantile of n - 1 degrees of freedom. Above a hundred groups they hardly differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError

Method = Literal["expanded", "percentile"]
"""Which percentiles of the draws are the limits: those of Hesterberg (2015), or the plain ones."""

_AT_ONCE = 1_000_000
"""How many numbers a block of draws may hold."""


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
    method: Method = "expanded",
) -> Interval:
    """The percentile interval of any statistic over draws of whole groups with replacement.

    For two models on the same queries, let the statistic be the difference of their metrics: the bootstrap is then
    paired. For means `bootstrap_means` is far faster, for open-set metrics `bootstrap_open_set`.

    Args:
        statistic: takes ``(M,)`` row numbers, some of them repeated, and returns a number; NaN where it has none.
        groups: ``(N,)`` the place of each row.
        draws: how many.
        level: the share of draws that the plain interval holds.
        seed: chooses the draws.
        method: which percentiles are the limits.

    Raises:
        OptionError: if there are fewer than two groups or no draws, level is not between 0 and 1, or method is none.

    >>> bootstrap(lambda rows: float(rows.size), [0, 1, 1, 2, 2]).high
    6.0
    """
    check_options(draws, level, method)
    _, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        message = f"a bootstrap over places needs two or more, got {len(sizes)}"
        raise OptionError(message)
    rows_of = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([rows_of[number] for number in rng.integers(0, len(sizes), len(sizes))]))
        for _ in range(draws)
    ]
    return interval_of(np.array(values), len(sizes), level=level, method=method)


def bootstrap_means(
    values: ArrayLike,
    groups: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "expanded",
) -> Interval:
    """The interval of the mean of one value a query: Recall@K of hits, mAP of average precisions.

    A draw's mean is a ratio of two sums over its groups, so groups may be of any size. Groups without an evaluated
    query are not drawn; with fewer than two others there is nothing to resample and the limits are NaN.

    Args:
        values: ``(N,)``, NaN for a query that is not evaluated.
        groups: ``(N,)`` the place of each query.
        draws: how many.
        level: the share of draws that the plain interval holds.
        seed: chooses the draws.
        method: which percentiles are the limits.

    Raises:
        OptionError: if groups are not one for each value, there are no draws, level is not between 0 and 1, or method
            is none.

    >>> interval = bootstrap_means([1, 1, 0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3])
    >>> interval.low, interval.high
    (0.5, 1.0)
    """
    check_options(draws, level, method)
    array = np.asarray(values, dtype=np.float64)
    number_of = number_groups(groups, array.shape)
    evaluated = ~np.isnan(array)
    kept, group, sizes = np.unique(number_of[evaluated], return_inverse=True, return_counts=True)
    if kept.size < 2:
        return Interval(math.nan, math.nan, math.nan)
    sums = np.bincount(group, array[evaluated])
    means = [(counts @ sums) / (counts @ sizes) for counts in resamples([kept.size], draws=draws, seed=seed)]
    return interval_of(np.concatenate(means), kept.size, level=level, method=method)


def paired_bootstrap(  # noqa: PLR0913 - the pair, and the options of every bootstrap
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: Callable[[NDArray[np.float64]], float] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "expanded",
) -> Interval:
    """The interval of the second model's statistic minus the first's, on the same queries.

    Each draw takes the same queries of both, so what makes a query hard for both cancels out. ``share_above_zero`` is
    the share of draws in which the second has more.

    Args:
        first: ``(N,)`` one value a query, NaN for one that is not evaluated; with a statistic also ``(N, …)``.
        second: of the same shape, NaN at the same queries.
        groups: ``(N,)`` the place of each query.
        statistic: takes some rows of one model and returns a number; by default the mean of what is not NaN.
        draws: how many.
        level: the share of draws that the plain interval holds.
        seed: chooses the draws.
        method: which percentiles are the limits.

    Raises:
        OptionError: if the two do not cover the same queries, or an option is refused by `bootstrap_means`, with a
            statistic by `bootstrap`.

    >>> interval = paired_bootstrap([0.5, 0.7, 0.1, 0.4], [0.6, 0.8, 0.2, 0.5], [0, 1, 2, 3])
    >>> round(interval.low, 3), round(interval.high, 3), interval.share_above_zero
    (0.1, 0.1, 1.0)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        message = f"both models must be evaluated on the same queries, got {_evaluated(a)} and {_evaluated(b)}"
        raise OptionError(message)
    if statistic is None:
        return bootstrap_means(b - a, groups, draws=draws, level=level, seed=seed, method=method)

    def difference(rows: NDArray[np.int64]) -> float:
        return statistic(b[rows]) - statistic(a[rows])

    number_groups(groups, a.shape[:1])
    return bootstrap(difference, groups, draws=draws, level=level, seed=seed, method=method)


def check_options(draws: int, level: float, method: Method) -> None:
    """Refuse options without meaning.

    Raises:
        OptionError: if there are no draws, level is not between 0 and 1, or method is none.
    """
    if draws < 1 or not 0 < level < 1:
        message = f"draws must be at least 1 and level between 0 and 1, got {draws} and {level}"
        raise OptionError(message)
    if method not in get_args(Method):
        message = f"method must be one of {', '.join(get_args(Method))}, got {method!r}"
        raise OptionError(message)


def number_groups(groups: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The groups as numbers from 0 on, ``(N,)``.

    Raises:
        OptionError: if they are not one for each value.
    """
    names = np.asarray(groups)
    if len(shape) != 1 or names.shape != shape:
        message = f"groups must be one per value, shape {shape}, got shape {names.shape}"
        raise OptionError(message)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def resamples(strata: list[int], *, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each draw takes each group, in blocks ``(D, G)``; every stratum is drawn from on its own.

    Args:
        strata: how many groups each has, G in all; the groups of one stratum stand together.
        draws: the sum of all D.
        seed: chooses the draws.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _AT_ONCE // sum(strata))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        yield np.hstack([_resample(rng, count, size) for size in strata])


def interval_of(values: NDArray[np.float64], groups: int, *, level: float, method: Method) -> Interval:
    """The limits among the values of all draws that have one; NaN if none has, or the groups are fewer than two.

    Args:
        values: ``(D,)``, one a draw.
        groups: how many were drawn from; if two kinds were, the fewer.
        level: the share of draws that the plain interval holds.
        method: which percentiles are the limits.
    """
    values = values[~np.isnan(values)]
    if groups < 2 or not values.size:
        return Interval(math.nan, math.nan, math.nan)
    tail = (1 - level) / 2
    if method == "expanded":
        tail = NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * student_quantile(level, groups - 1))
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), float(np.mean(values > 0) + np.mean(values == 0) / 2))


def student_quantile(level: float, degrees: int) -> float:
    """The t between whose negative and itself Student's distribution holds the share ``level``.

    By bisection on the finite sums of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.

    >>> round(student_quantile(0.95, 19), 4)
    2.093
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        if _student_share(angle, degrees) < level:
            low = angle
        else:
            high = angle
    return math.sqrt(degrees) * math.tan(low)


def _student_share(angle: float, degrees: int) -> float:
    """The share of Student's distribution within ±t, by the angle whose tangent is t / √degrees."""
    odd = degrees % 2
    numbers = np.arange(2 if odd else 1, degrees - 1, 2)
    factors = numbers / (numbers + 1) * math.cos(angle) ** 2
    series = math.sin(angle) * (1 + float(np.sum(np.cumprod(factors))))
    if not odd:
        return series
    return 2 / math.pi * (angle + (series * math.cos(angle) if degrees > 1 else 0.0))


def _resample(rng: np.random.Generator, draws: int, size: int) -> NDArray[np.int64]:
    drawn = rng.integers(0, size, (draws, size)) + size * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)


def _evaluated(values: NDArray[np.float64]) -> str:
    return f"{int(np.sum(~np.isnan(values)))} of shape {values.shape}"
