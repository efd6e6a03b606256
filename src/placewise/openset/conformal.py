"""The threshold that keeps a stated false-accept rate, from the confidences of open-set questions.

Split conformal prediction (Vovk et al., 2005) sets a threshold so that a new open-set query is accepted with at most
the wanted probability: with n independent questions, the new one may be any of n + 1 in rank. Questions about one place
are not independent, so n is replaced by an effective number. A question counts 1 / (1 + (m - 1) ρ), where m questions
share its group and ρ is their intraclass correlation (Kish, 1965): m questions of a group count as one if they always
agree (ρ = 1), as m if they are independent (ρ = 0). The two ends are split conformal prediction over places and over
photos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise.errors import CalibrationError, OptionError
from placewise.openset.rule import check_rate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

STATED_SHARE = 0.90
"""The share of sets of new places whose rate lies in the printed interval."""

LEAST_NEW_PLACES = 5
"""The interval is for the photos of so many new places, or a third as many as have asked if that is more, and for
those of more places; of fewer, the rate may be anything."""

_COMPUTED_SHARE = 0.95
"""What the interval is computed for: ρ is itself only estimated, which costs some of it."""

_LEAST_CORRELATION = 0.2
"""Of the interval: an estimate from a dozen places may come out as 0, and photos of a place are never independent."""

_TAIL = (0.7, 0.8, 0.9)
"""Quantiles at whose exceedance the intraclass correlation is taken: what matters is the upper tail, and at one
quantile alone it is a noisy number."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what it promises.

    Attributes:
        tau: at or above it, an answer is KNOWN.
        expected_rate: the probability that a photo of a new place is accepted.
        interval: between these lies, in `STATED_SHARE` of cases, the share that is accepted of the photos of
            ``new_places`` or more new places.
        new_places: see there.
        effective_size: so many independent questions are these worth.
        intraclass: the correlation of the questions of one place.
    """

    tau: float
    expected_rate: float
    interval: tuple[float, float]
    new_places: int
    effective_size: float
    intraclass: float


def threshold(scores: ArrayLike, groups: ArrayLike, rate: float, *, left: float = 1.0) -> Threshold:
    """The lowest threshold that accepts a new open-set query with a probability of at most ``rate``.

    Where the questions are too few for this rate, it is just above all of them, and ``expected_rate`` says what that
    promises: it is then above ``rate``.

    Args:
        scores: confidences of N open-set questions, ``(N,)``.
        groups: ``(N,)`` what they show.
        rate: the wanted false-accept rate, between 0 and 1.
        left: the share of the places that was left for each question. A real query meets all of them, and the others
            may resemble it too: the rate grows by the factor 1 / left, which is made up for.

    Raises:
        CalibrationError: if there are fewer than two groups, or a score is not finite.
        OptionError: if the rate or ``left`` is no share.
    """
    check_rate(rate)
    if not 0 < left <= 1:
        message = f"left must be above 0 and at most 1, got {left}"
        raise OptionError(message)
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(groups)
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if values.shape != labels.shape or not np.isfinite(values).all():
        message = (
            f"open-set questions must have a finite confidence and a place each, got others, {values.shape}; check them"
        )
        raise CalibrationError(message)
    if len(sizes) < 2:
        message = f"open-set questions must come from two or more places, got {len(sizes)}; add photos of other places"
        raise CalibrationError(message)
    new_places = max(LEAST_NEW_PLACES, len(sizes) // 3)
    growth = 1 / left
    correlation = intraclass(values, labels)
    weights, size = _weights(group, sizes, correlation)
    order = np.argsort(-values, kind="stable")
    budget = rate / growth * (size + 1) - 1  # the new query counts 1, and may be the most confident of all
    refused = min(int(np.searchsorted(np.cumsum(weights[order]), budget + 1e-9, side="right")), len(values) - 1)
    highest_refused = values[order[refused]]
    accepted = float(weights[values > highest_refused].sum())
    expected = min(1.0, growth * (accepted + 1) / (size + 1))
    return Threshold(
        tau=float(np.nextafter(highest_refused, np.inf)),
        expected_rate=expected,
        interval=_interval(expected, new_places, group, sizes, max(correlation, _LEAST_CORRELATION)),
        new_places=new_places,
        effective_size=size,
        intraclass=correlation,
    )


def intraclass(scores: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """The intraclass correlation of exceeding a high quantile, ICC(1) by analysis of variance, averaged over three.

    1 for scores that are all the same, since nothing can be learned from them; 0 where each group has one score.

    >>> intraclass(np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 0, 1, 1]))
    1.0
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == len(scores):
        return 0.0
    return float(np.mean([_icc((scores > np.quantile(scores, q)).astype(np.float64), group, sizes) for q in _TAIL]))


def _icc(values: NDArray[np.float64], group: NDArray[np.int64], sizes: NDArray[np.int64]) -> float:
    """ICC(1), between 0 and 1 (Shrout and Fleiss, 1979), for groups of different sizes (Donner, 1986)."""
    number, total = len(sizes), len(values)
    means = np.bincount(group, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (number - 1)
    within = float(((values - means[group]) ** 2).sum()) / (total - number)
    if between + within <= 0:
        return 1.0
    usual_size = (total - float((sizes**2).sum()) / total) / (number - 1)
    return min(1.0, max(0.0, (between - within) / (between + (usual_size - 1) * within)))


def _weights(
    group: NDArray[np.int64], sizes: NDArray[np.int64], correlation: float
) -> tuple[NDArray[np.float64], float]:
    """What each question counts, ``(N,)``, and all of them together."""
    weight = 1 / (1 + (sizes - 1) * correlation)
    return weight[group], float((sizes * weight).sum())


def _interval(
    expected: float, new_places: int, group: NDArray[np.int64], sizes: NDArray[np.int64], correlation: float
) -> tuple[float, float]:
    """The beta-binomial interval of the share accepted of the photos of new places.

    Given n calibration questions of which the threshold accepts k - 1, the number accepted of m new ones is
    beta-binomial with parameters k and n + 1 - k (Angelopoulos and Bates, 2021, section 3.2, for the coverage).
    """
    _, size = _weights(group, sizes, correlation)
    photos = len(group) / len(sizes)
    new = max(1, round(new_places * photos / (1 + (photos - 1) * correlation)))
    alpha, beta = max(expected * (size + 1), 1e-9), max((1 - expected) * (size + 1), 1e-9)
    cumulative = np.cumsum([_beta_binomial(number, new, alpha, beta) for number in range(new + 1)])
    tail = (1 - _COMPUTED_SHARE) / 2
    low, high = np.searchsorted(cumulative, [tail, 1 - tail])
    return float(low) / new, float(min(high, new)) / new


def _beta_binomial(number: int, of: int, alpha: float, beta: float) -> float:
    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    log_ways = math.lgamma(of + 1) - math.lgamma(number + 1) - math.lgamma(of - number + 1)
    return math.exp(log_ways + log_beta(number + alpha, of - number + beta) - log_beta(alpha, beta))
