"""Metrics of a confidence as a promise: what does accepting more cost, and does a probability come true?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError
from placewise.metrics.confidences import as_confidences, as_outcomes
from placewise.metrics.open_set import steps


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """The risk-coverage curve of selective prediction (Geifman and El-Yaniv, 2017); NaN area if empty.

    Attributes:
        coverage: ``(S,)`` share of all queries that are accepted at each distinct confidence, ascending.
        risk: ``(S,)`` share of those that are wrong: known ones with a wrong place, and all open-set ones.
        area: AURC (Geifman, Uziel and El-Yaniv, 2019), the mean risk over the N coverages 1/N, 2/N, …, 1; queries of
            one confidence are one step.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float


def risk_coverage(known: ArrayLike, correct: ArrayLike, open_set: ArrayLike) -> RiskCoverage:
    """What accepting more of the queries costs.

    Args:
        known: confidences of the known queries, ``(N,)``.
        correct: whether each one's place is right, ``(N,)`` bool.
        open_set: confidences of the open-set queries, ``(M,)``.

    >>> curve = risk_coverage([0.9, 0.5], [True, True], [0.7, 0.1])
    >>> curve.risk.round(3).tolist(), round(curve.area, 3)
    ([0.0, 0.5, 0.333, 0.5], 0.333)
    """
    accepted, right, sizes = steps(known, correct, open_set)
    total = int(sizes.sum())
    risk = 1 - right / accepted
    return RiskCoverage(accepted / max(total, 1), risk, float(np.sum(risk * sizes)) / total if total else math.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """A reliability diagram: predicted probability against what came true, in bins of equal width.

    Attributes:
        edges: ``(B + 1,)`` of the bins, from 0 to 1.
        count: ``(B,)`` predictions in each.
        confidence: ``(B,)`` their mean probability; NaN in an empty bin.
        accuracy: ``(B,)`` the share of them that came true; NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error, Σ_b (n_b / N) |accuracy_b - confidence_b| (Guo et al., 2017); NaN if empty."""
        if not self.count.sum():
            return math.nan
        return float(np.nansum(self.count * np.abs(self.accuracy - self.confidence)) / self.count.sum())


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10) -> Reliability:
    """How well probabilities agree with what came true.

    Args:
        probabilities: ``(N,)``, from 0 to 1.
        outcomes: ``(N,)`` bool.
        bins: how many.

    Raises:
        OptionError: if a probability is none, outcomes are not one for each, or bins is below 1.

    >>> round(reliability([0.9, 0.9, 0.1, 0.1], [True, True, False, True]).ece, 3)
    0.25
    """
    p, came_true = as_confidences(probabilities), as_outcomes(outcomes, np.size(probabilities))
    if bins < 1:
        message = f"bins must be at least 1, got {bins}"
        raise OptionError(message)
    if ((p < 0) | (p > 1)).any():
        message = f"probabilities must be between 0 and 1, got {p.min()} to {p.max()}"
        raise OptionError(message)
    edges = np.arange(bins + 1) / bins  # rounded once each, so that 0.3 is an edge; linspace has 0.30000000000000004
    bin_of = np.minimum(np.searchsorted(edges, p, side="right") - 1, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bin_of, p, minlength=bins) / count
        accuracy = np.bincount(bin_of, came_true, minlength=bins) / count
    return Reliability(edges, count, confidence, accuracy)
