"""How many models would agree with so many matches by chance? Counts in, significance out; knows no geometry."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def significance(matches: int, agreeing: int, *, probability: float, determined_by: int, tries: float) -> float:
    """-log10 of the expected number of models that at least so many matches agree with by chance; 0 where that is 1.

    NFA = tries x P[Bin(matches - s, probability) >= agreeing - s], where s matches determine a model and so agree with
    it for free: L. Moisan and B. Stival, IJCV 2004.

    Args:
        matches: all that there are.
        agreeing: those that agree with the model.
        probability: that a wrong match agrees with it.
        determined_by: s.
        tries: the number of models that were or could have been tried.

    >>> round(significance(50, 12, probability=0.01, determined_by=1, tries=50), 2)
    9.99
    >>> significance(50, 3, probability=0.1, determined_by=1, tries=50)
    0.0
    """
    tail = log_binomial_tail(matches - determined_by, agreeing - determined_by, probability)
    return max(0.0, -(math.log(tries) + tail) / math.log(10))


def log_binomial_tail(trials: int, successes: int, probability: float) -> float:
    """The logarithm of P[Bin(trials, probability) >= successes], also where that is too small for a float64.

    >>> round(math.exp(log_binomial_tail(3, 2, 0.5)), 6)
    0.5
    """
    if successes <= 0:
        return 0.0
    if successes > trials or probability <= 0:
        return -math.inf
    if probability >= 1:
        return 0.0
    first = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    first += successes * math.log(probability) + (trials - successes) * math.log1p(-probability)
    counts = np.arange(successes, trials)  # each next term is the last one times (n - k) / (k + 1) times the odds
    odds = math.log(probability) - math.log1p(-probability)
    terms = first + np.concatenate(([0.0], np.cumsum(np.log((trials - counts) / (counts + 1)) + odds)))
    peak = float(terms.max())
    return min(0.0, peak + math.log(float(np.exp(terms - peak).sum())))


def agreement(errors: NDArray[np.float64], tolerance: float, *, wide: float, power: int) -> float:
    """The probability that a wrong match agrees with a model: the larger one of two estimates.

    One is the share of wrong matches within the tolerance; often that is none. The other is the share within a ``wide``
    tolerance, scaled down as if they lay evenly there: with the ``power`` 2 around a point, 1 along a line.

    Args:
        errors: of wrong matches; infinite ones agree at no tolerance.
        tolerance: up to what error a match agrees, at most ``wide``.
        wide: the tolerance at which they are counted.
        power: how their number grows with the tolerance.

    >>> agreement(np.array([1.0, 9.0, 9.0]), 5.0, wide=10.0, power=2)
    0.3333333333333333
    """
    total = errors.size + 1  # one more, so that the probability is never 0
    within = (float(np.count_nonzero(errors < wide)) + 1) / total
    return max(float(np.count_nonzero(errors < tolerance)) / errors.size, within * (tolerance / wide) ** power)
