"""Intervals by resampling places: photos of one place are not independent.

A draw takes as many groups (places, sequences) as there are, with replacement, each with all its queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError
from placewise.metrics.intervals import Interval, Method, check_options, interval_of, of_equal_draws

_AT_ONCE = 1_000_000
"""How many numbers a block of draws may hold."""


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

    def of(numbers: NDArray[np.int64]) -> float:
        return statistic(np.concatenate([rows_of[number] for number in numbers]))

    everything = np.arange(len(sizes))
    values = np.array([of(rng.integers(0, len(sizes), len(sizes))) for _ in range(draws)])
    if method != "bca":
        return interval_of(values, len(sizes), level=level, method=method)
    left_out = np.array([of(np.delete(everything, number)) for number in everything])
    return interval_of(values, len(sizes), level=level, method=method, estimate=of(everything), left_out=left_out)


def bootstrap_means(
    values: ArrayLike,
    groups: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "bca",
) -> Interval:
    """The interval of the mean of one value a query, from 0 to 1: Recall@K of hits, mAP of average precisions.

    A draw's mean is a ratio of two sums over its groups, so groups may be of any size. Groups without an evaluated
    query are not drawn; with fewer than two others there is nothing to resample and the limits are NaN.

    Where all queries have one value, draws cannot differ: the interval is then that of `of_equal_draws`, unless the
    method is ``percentile``.

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

    >>> interval = bootstrap_means([1, 1, 0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3], method="percentile")
    >>> interval.low, interval.high
    (0.5, 1.0)
    >>> round(bootstrap_means([1.0] * 40, np.arange(40) // 2).low, 3)
    0.832
    """
    check_options(draws, level, method)
    array = np.asarray(values, dtype=np.float64)
    number_of = number_groups(groups, array.shape)
    evaluated = ~np.isnan(array)
    places = np.unique(number_of[evaluated]).size
    equal = of_equal_draws(array[evaluated], places, level=level) if method != "percentile" else None
    if equal is not None:
        return equal
    return _of_means(array, number_of, draws=draws, level=level, seed=seed, method=method)


def paired_bootstrap(  # noqa: PLR0913 - the pair, and the options of every bootstrap
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: Callable[[NDArray[np.float64]], float] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "bca",
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
    check_options(draws, level, method)
    number_of = number_groups(groups, a.shape if statistic is None else a.shape[:1])
    if statistic is None:
        return _of_means(b - a, number_of, draws=draws, level=level, seed=seed, method=method)

    def difference(rows: NDArray[np.int64]) -> float:
        return statistic(b[rows]) - statistic(a[rows])

    return bootstrap(difference, groups, draws=draws, level=level, seed=seed, method=method)


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
    block = max(1, _AT_ONCE // max(sum(strata), 1))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        yield np.hstack([np.zeros((count, 0), dtype=np.int64), *(_resample(rng, count, size) for size in strata)])


def _of_means(
    values: NDArray[np.float64], number_of: NDArray[np.int64], *, draws: int, level: float, seed: int, method: Method
) -> Interval:
    evaluated = ~np.isnan(values)
    kept, group, sizes = np.unique(number_of[evaluated], return_inverse=True, return_counts=True)
    if kept.size < 2:
        return Interval(math.nan, math.nan, math.nan)
    sums = np.bincount(group, values[evaluated])
    means = [(counts @ sums) / (counts @ sizes) for counts in resamples([kept.size], draws=draws, seed=seed)]
    return interval_of(
        np.concatenate(means),
        kept.size,
        level=level,
        method=method,
        estimate=float(sums.sum() / sizes.sum()),
        left_out=(sums.sum() - sums) / (sizes.sum() - sizes),
    )


def _resample(rng: np.random.Generator, draws: int, size: int) -> NDArray[np.int64]:
    drawn = rng.integers(0, size, (draws, size)) + size * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)


def _evaluated(values: NDArray[np.float64]) -> str:
    return f"{int(np.sum(~np.isnan(values)))} of shape {values.shape}"
