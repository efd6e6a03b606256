"""Evidence → the probability that the named place is right, fitted on the gallery's own questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from placewise.openset.exam import Questions

SIMILARITY_ONLY = (True, False, False, False)
ALL_EVIDENCE = (True, True, True, True)

_RIDGE = 1.0
_WEIGHT_OF_A_PLACE = 4.0
"""Against the ridge: photos of a place repeat one another, so a place counts as four questions of each kind."""

_FOLDS = 10
_STEPS = 100


@dataclass(frozen=True, slots=True)
class Confidence:
    """A logistic model of the evidence: P(right) = 1 / (1 + exp(-(w · (evidence - centre) / scale + bias))).

    No weight is negative, so that the confidence never falls when photos of the named place are more similar, all else
    being equal. It is the probability where half of the queries are open-set ones.

    Attributes:
        weights: one for each column of `evidence.EVIDENCE` that there is, E of them.
        bias: the log-odds of average evidence.
        centre: the average evidence.
        scale: its standard deviation.
    """

    weights: tuple[float, ...]
    bias: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    def parts(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each number of the evidence ``(M, E)`` adds to the log-odds, ``(M, E)``."""
        parts: NDArray[np.float64] = np.array(self.weights) * (evidence - np.array(self.centre)) / np.array(self.scale)
        return parts

    def __call__(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probabilities ``(M,)`` for evidence ``(M, E)``."""
        return _sigmoid(self.parts(evidence).sum(axis=1) + self.bias)


def fit(known: Questions, open_set: Questions, use: tuple[bool, ...] = ALL_EVIDENCE) -> Confidence:
    """Fit the model by penalised maximum likelihood.

    Every place counts the same, and known questions as much as open-set ones. A known question whose named place is
    wrong is a failure like an open-set one.

    Args:
        known: questions whose place was in the gallery.
        open_set: questions whose place was not.
        use: which columns of the evidence may have a weight.
    """
    table = np.concatenate([known.evidence, open_set.evidence])
    right = np.concatenate([known.right, np.zeros(len(open_set), dtype=bool)])
    places = max(len(np.unique(known.groups)), len(np.unique(open_set.groups)))
    weight = np.concatenate([_balanced(known.groups), _balanced(open_set.groups)]) * places * _WEIGHT_OF_A_PLACE
    centre = np.average(table, axis=0, weights=weight)
    spread = np.sqrt(np.average((table - centre) ** 2, axis=0, weights=weight))
    scale = np.where(spread > 1e-9, spread, 1.0)
    columns = [column for column in range(table.shape[1]) if use[column] and spread[column] > 1e-9]
    standard = (table - centre) / scale
    weights = np.zeros(table.shape[1])
    while True:
        weights[:] = 0
        weights[columns], bias = _logistic(standard[:, columns], right, weight)
        if not columns or weights.min() >= 0:
            break
        columns.remove(int(weights.argmin()))
    return Confidence(tuple(weights.tolist()), bias, tuple(centre.tolist()), tuple(scale.tolist()))


def out_of_fold(
    known: Questions, open_set: Questions, use: tuple[bool, ...] = ALL_EVIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The confidences of all questions, each by a model that was fitted without its place: ``(N,)`` and ``(M,)``."""
    # Places with known questions first, so that few of them never share a fold.
    places = np.unique(known.groups)
    places = np.concatenate([places, np.setdiff1d(open_set.groups, places)])
    order = np.argsort(places)
    known_fold = order[np.searchsorted(places, known.groups, sorter=order)] % _FOLDS
    open_fold = order[np.searchsorted(places, open_set.groups, sorter=order)] % _FOLDS
    known_values, open_values = np.empty(len(known)), np.empty(len(open_set))
    for fold in range(_FOLDS):
        model = fit(known.take(known_fold != fold), open_set.take(open_fold != fold), use)
        known_values[known_fold == fold] = model(known.evidence[known_fold == fold])
        open_values[open_fold == fold] = model(open_set.evidence[open_fold == fold])
    return known_values, open_values


def _logistic(
    table: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Newton's method on the ridge-penalised log-likelihood; the bias is hardly penalised."""
    table = np.column_stack([table, np.ones(len(table))])
    ridge = np.full(table.shape[1], _RIDGE)
    ridge[-1] = 1e-3
    beta = np.zeros(table.shape[1])
    for _ in range(_STEPS):
        p = _sigmoid(table @ beta)
        gradient = table.T @ (weight * (p - right)) + ridge * beta
        step = np.linalg.solve((table.T * (weight * p * (1 - p))) @ table + np.diag(ridge), gradient)
        beta -= np.clip(step, -2, 2)  # far from the optimum a whole step would overshoot
        if np.abs(step).max() < 1e-10:
            break
    return beta[:-1], float(beta[-1])


def _balanced(groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """A weight for each question, so that all groups weigh the same and everything together weighs 1."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / (sizes[group] * max(1, len(sizes)))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1 / (1 + np.exp(np.clip(-x, None, 700)))  # beyond that, 0 to all digits
    return values
