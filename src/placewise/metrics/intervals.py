"""From the values of a statistic in many draws to the limits of its interval.

The limits are percentiles of the draws; which ones is the method:

* ``percentile``: the tails of the wanted level (Efron, 1979). Too narrow with few groups, by the factor √((n - 1) / n)
  and by the normal quantile in place of Student's.
* ``expanded``: further out by just that, Φ(±√(n / (n - 1)) t) with t of n - 1 degrees of freedom (Hesterberg, 2015,
  "What teachers should know about the bootstrap", The American Statistician 69).
* ``bca``: moved as well by the bias and the skewness that draws and left-out groups show (bias-corrected and
  accelerated, Efron, 1987), which a mean near 0 or 1 needs. For smooth statistics only, such as means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placewise.errors import OptionError

Method = Literal["percentile", "expanded", "bca"]
"""Which percentiles of the draws are the limits."""

_EQUAL = 1e-12
"""How much draws of one value differ by rounding."""


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


def interval_of(
    values: NDArray[np.float64],
    groups: int,
    *,
    level: float,
    method: Method,
    estimate: float = math.nan,
    left_out: NDArray[np.float64] | None = None,
) -> Interval:
    """The limits among the values of all draws that have one; NaN if none has, or the groups are fewer than two.

    Args:
        values: ``(D,)``, one a draw.
        groups: how many were drawn from; if two kinds were, the fewer.
        level: the share of draws that the plain interval holds.
        method: which percentiles are the limits.
        estimate: the statistic of all groups, for ``bca``.
        left_out: ``(G,)`` the statistic without each of the groups, for ``bca``.
    """
    values = values[~np.isnan(values)]
    if groups < 2 or not values.size:
        return Interval(math.nan, math.nan, math.nan)
    normal = NormalDist()
    reach = normal.inv_cdf((1 + level) / 2)
    if method != "percentile":
        reach = math.sqrt(groups / (groups - 1)) * student_quantile(level, groups - 1)
    tails = [-reach, reach]
    if method == "bca" and left_out is not None:
        bias, skewness = _bias(values, estimate), _acceleration(left_out)
        tails = [_moved(tail, bias, skewness) for tail in tails]
    low, high = np.quantile(values, [normal.cdf(tail) for tail in tails])
    return Interval(float(low), float(high), float(np.mean(values > 0) + np.mean(values == 0) / 2))


def of_equal_draws(values: NDArray[np.float64], groups: int, *, level: float) -> Interval | None:
    """The interval of a share from 0 to 1 that is the same in all draws; None where draws differ, or there is but one.

    Nothing is learnt from such draws. Where the share is 0 or 1 in all of n groups, the other limit is that of Clopper
    and Pearson (1934) with the groups as trials, ((1 - level) / 2)^(1/n) below 1 or as far above 0. Elsewhere, and with
    fewer than two groups, the limits are NaN.

    >>> round(of_equal_draws(np.ones(2), 20, level=0.95).low, 3)
    0.832
    """
    values = values[~np.isnan(values)]
    if values.size < 2 or float(np.ptp(values)) > _EQUAL:
        return None
    reach, value = ((1 - level) / 2) ** (1 / max(groups, 1)), float(values[0])
    if groups > 1 and abs(value - 1) <= _EQUAL:
        return Interval(reach, 1.0, 1.0)
    if groups > 1 and abs(value) <= _EQUAL:
        return Interval(0.0, 1 - reach, 0.5)
    return Interval(math.nan, math.nan, math.nan)


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


def _bias(values: NDArray[np.float64], estimate: float) -> float:
    """The normal quantile of the share of draws below the estimate, ties counting one half; 0 without an estimate."""
    if math.isnan(estimate):
        return 0.0
    tied = np.isclose(values, estimate, rtol=1e-12, atol=1e-12)
    share = float(np.mean((values < estimate) & ~tied) + np.mean(tied) / 2)
    return NormalDist().inv_cdf(min(max(share, 0.5 / values.size), 1 - 0.5 / values.size))


def _acceleration(left_out: NDArray[np.float64]) -> float:
    """A sixth of the skewness of what each group adds."""
    influence = np.nanmean(left_out) - left_out[~np.isnan(left_out)]
    squares = float(np.sum(influence**2))
    return float(np.sum(influence**3)) / (6 * squares**1.5) if squares else 0.0


def _moved(tail: float, bias: float, acceleration: float) -> float:
    """Efron's move of a normal quantile."""
    stretch = 1 - acceleration * (bias + tail)
    return bias + (bias + tail) / stretch if stretch > 0 else math.copysign(math.inf, tail)
