"""Intervals of the open-set metrics, by resampling the places of known and of open-set queries.

Where each place has only known or only open-set queries, as with place labels, the two kinds of places are drawn from
separately, so that each draw has as many of either as the set; where a group has both, all groups are drawn from
together. A draw weighs each query by how often its place was taken, so that one sort serves all draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError
from placewise.metrics.confidences import as_confidences, as_outcomes
from placewise.metrics.intervals import Interval, Method, check_options, interval_of, of_equal_draws
from placewise.metrics.resampling import number_groups, resamples

_AT_ONCE = 400_000
"""How many queries are weighed at once, those of all draws together."""

_Columns = dict[str, NDArray[np.float64]]

_PARTS = 200
"""In how many parts groups are left out for ``bca``: one by one up to here; the cubes of larger parts add up alike."""

_OF_KNOWN = ("false_reject_rate", "known_accepted_right", "wrong_place_rate")
_OF_OPEN_SET = ("unknown_recall", "false_accept_rate")


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The answers of one model, a row a query.

    Attributes:
        confidence: ``(N,)``.
        correct: ``(N,)`` bool, whether the named place is right; never of an open-set query.
        open_set: ``(N,)`` bool, whether the query's place is not in the gallery.
        tau: below it an answer is UNKNOWN; without it, metrics that need one are left out.

    Raises:
        OptionError: if a confidence or tau is NaN, the rows are not as many, or an open-set query is correct.
    """

    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    open_set: NDArray[np.bool_]
    tau: float | None = None

    def __post_init__(self) -> None:
        confidence = as_confidences(self.confidence)
        correct, open_set = as_outcomes(self.correct, confidence.size), as_outcomes(self.open_set, confidence.size)
        if (correct & open_set).any():
            message = f"an open-set query must not be correct, got {int(np.sum(correct & open_set))} that are"
            raise OptionError(message)
        if self.tau is not None and math.isnan(self.tau):
            message = "tau must be a number, got NaN"
            raise OptionError(message)
        for name, value in ("confidence", confidence), ("correct", correct), ("open_set", open_set):
            object.__setattr__(self, name, value)


def bootstrap_open_set(
    answered: Answered,
    groups: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "bca",
) -> dict[str, Interval]:
    """The intervals of all metrics of one confidence a query, by their names in the JSON of ``evaluate``.

    `auroc`, `fpr95`, `fpr95_open_set`, `oscr`, `gap`, `recall_at_100_precision`, `auc_pr` and ``aurc``; with a tau also
    ``unknown_precision``, ``unknown_recall``, ``unknown_f1``, ``false_accept_rate``, ``false_reject_rate``,
    ``wrong_place_rate`` and ``known_accepted_right``. Limits are NaN where a metric is undefined, or where the places
    that it depends on are fewer than two. A metric that is the same in all draws has the limits of `of_equal_draws`,
    with the groups that it depends on as trials, of two kinds the fewer; not by the method ``percentile``.

    Args:
        answered: the answers.
        groups: ``(N,)`` the place of each query.
        draws: how many.
        level: the share of draws that the plain interval holds.
        seed: chooses the draws.
        method: which percentiles are the limits.

    Raises:
        OptionError: if groups are not one for each query, there are no draws, level is not between 0 and 1, or method
            is none.

    >>> answered = Answered([0.9, 0.8, 0.3, 0.2], [True, True, False, False], [False, False, True, True])
    >>> round(bootstrap_open_set(answered, ["a", "b", "c", "d"])["auroc"].low, 3)
    0.158
    """
    check_options(draws, level, method)
    strata = _Strata.of(number_groups(groups, answered.confidence.shape), answered.open_set)
    return _intervals([_weighed(answered, strata, draws=draws, seed=seed, method=method)], strata, level, method)


def paired_bootstrap_open_set(  # noqa: PLR0913 - the pair, and the options of every bootstrap
    first: Answered,
    second: Answered,
    groups: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "bca",
) -> dict[str, Interval]:
    """The intervals of the second model's metrics minus the first's, on the same queries.

    Metrics at a tau are there if both have one, each its own.

    Args:
        first: the answers of one model.
        second: the answers of another to the same queries.
        groups: ``(N,)`` the place of each query.
        draws: how many.
        level: the share of draws that the plain interval holds.
        seed: chooses the draws.
        method: which percentiles are the limits.

    Raises:
        OptionError: if they do not have the same open-set queries, or an option is refused by `bootstrap_open_set`.

    >>> worse = Answered([0.9, 0.2, 0.3, 0.1], [True, True, False, False], [False, False, True, True])
    >>> better = Answered([0.9, 0.8, 0.3, 0.1], [True, True, False, False], [False, False, True, True])
    >>> paired_bootstrap_open_set(worse, better, ["a", "b", "c", "d"])["auroc"].low
    0.0
    """
    check_options(draws, level, method)
    if not np.array_equal(first.open_set, second.open_set):
        message = "both models must have answered the same queries, got other open-set ones"
        raise OptionError(message)
    strata = _Strata.of(number_groups(groups, first.confidence.shape), first.open_set)
    models = [_weighed(each, strata, draws=draws, seed=seed, method=method) for each in (first, second)]
    return _intervals(models, strata, level, method)


@dataclass(frozen=True, slots=True, eq=False)
class _Strata:
    """The kinds of groups that are drawn from separately; groups are numbered such that a kind stands together."""

    number_of: NDArray[np.int64]
    sizes: list[int]
    known: int
    open_set: int

    @classmethod
    def of(cls, group: NDArray[np.int64], open_set: NDArray[np.bool_]) -> _Strata:
        total = int(group.max(initial=-1)) + 1
        has_known = np.bincount(group, ~open_set, minlength=total) > 0
        has_open_set = np.bincount(group, open_set, minlength=total) > 0
        known, unknown = int(has_known.sum()), int(has_open_set.sum())
        if (has_known & has_open_set).any():
            return cls(group, [total], known, unknown)
        number = np.empty(total, dtype=np.int64)
        number[has_known], number[has_open_set] = np.arange(known), np.arange(known, total)
        return cls(number[group], [size for size in (known, unknown) if size], known, unknown)

    def groups(self, name: str) -> int:
        """How many groups speak for a metric: those of the kind that it depends on, of two kinds the fewer."""
        if name in _OF_KNOWN:
            return self.known
        if name in _OF_OPEN_SET:
            return self.open_set
        return min((size for size in (self.known, self.open_set) if size), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """What each distinct threshold accepts in each draw: ``(D, S + 1)``, from nothing and the most confident on."""

    known: NDArray[np.int64]
    right: NDArray[np.int64]
    open_set: NDArray[np.int64]


def _intervals(models: list[_Columns], strata: _Strata, level: float, method: Method) -> dict[str, Interval]:
    """The intervals of one model's columns, or of the second's minus the first's.

    A column holds a metric in all draws, then of all groups, then without each part of the groups.
    """
    found = {}
    for name in [name for name in models[-1] if name in models[0]]:
        column = models[0][name] if len(models) == 1 else models[1][name] - models[0][name]
        draws = column.size - (1 + min(sum(strata.sizes), _PARTS) if method == "bca" else 0)
        values, groups = column[:draws], strata.groups(name)
        single = len(models) == 1 and method != "percentile"
        equal = of_equal_draws(values, groups, level=level) if single else None
        found[name] = equal or interval_of(
            values,
            groups,
            level=level,
            method=method,
            estimate=float(column[draws]) if method == "bca" else math.nan,
            left_out=column[draws + 1 :] if method == "bca" else None,
        )
    return found


def _weighed(answered: Answered, strata: _Strata, *, draws: int, seed: int, method: Method) -> _Columns:
    """Every metric by name, in all draws, and for ``bca`` of all groups and without each part of them."""
    order = np.argsort(-answered.confidence, kind="stable")
    confidence, group = answered.confidence[order], strata.number_of[order]
    kinds = ~answered.open_set[order], answered.correct[order], answered.open_set[order]
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], np.ones(min(order.size, 1), dtype=bool)))
    accepted = None if answered.tau is None else int(np.sum(confidence[ends] >= answered.tau))
    block = max(1, _AT_ONCE // max(order.size, 1))
    parts = []
    for counts in _counts(strata.sizes, draws=draws, seed=seed, method=method):
        for start in range(0, len(counts), block):
            weights = counts[start : start + block, group]
            sums = (np.cumsum(weights * kind, axis=1)[:, ends] for kind in kinds)
            steps = _Steps(*(np.pad(each, ((0, 0), (1, 0))) for each in sums))
            parts.append(_of_all_thresholds(steps) | ({} if accepted is None else _at_threshold(steps, accepted)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _counts(sizes: list[int], *, draws: int, seed: int, method: Method) -> Iterator[NDArray[np.int64]]:
    """How often each group is taken, in blocks."""
    yield from resamples(sizes, draws=draws, seed=seed)
    if method == "bca":
        total = sum(sizes)
        yield np.ones((1, total), dtype=np.int64)
        parts = min(total, _PARTS)
        yield (np.arange(total) % max(parts, 1) != np.arange(parts)[:, None]).astype(np.int64)


def _of_all_thresholds(steps: _Steps) -> _Columns:
    """The metrics that need no tau, as their unweighted namesakes define them."""
    k, r, o = steps.known, steps.right, steps.open_set
    known, open_set, rows = k[:, -1], o[:, -1], np.arange(len(k))
    new_known, new_right, new = (np.diff(part, axis=1) for part in (k, r, k + o))
    outdone = open_set[:, None] - (o[:, 1:] + o[:, :-1]) / 2
    precision = np.divide(r, k + o, out=np.ones(k.shape), where=k + o > 0)
    first = np.argmax(100 * k >= 95 * known[:, None], axis=1)
    last = np.maximum(np.sum(100 * o[:, :-1] <= 5 * open_set[:, None], axis=1) - 1, 0)
    both = (known > 0) & (open_set > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "auroc": np.sum(new_known * outdone, axis=1) / (known * open_set),
            "fpr95": np.where(both, o[rows, first] / open_set, math.nan),
            "fpr95_open_set": np.where(both, 1 - k[rows, last] / known, math.nan),
            "oscr": np.sum(new_right * outdone, axis=1) / (known * open_set),
            "gap": np.sum(new_right * precision[:, 1:], axis=1) / known,
            "recall_at_100_precision": np.max(np.where(r == k + o, r, 0), axis=1) / known,
            "auc_pr": np.sum(new_right * (precision[:, 1:] + precision[:, :-1]), axis=1) / (2 * known),
            "aurc": np.sum(new * (1 - precision[:, 1:]), axis=1) / (known + open_set),
        }


def _at_threshold(steps: _Steps, accepted: int) -> _Columns:
    """The metrics at a tau that the first ``accepted`` distinct confidences reach."""
    known, open_set = steps.known[:, -1], steps.open_set[:, -1]
    known_in, right_in, open_set_in = (part[:, accepted] for part in (steps.known, steps.right, steps.open_set))
    rejected, detected = known - known_in, open_set - open_set_in
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "unknown_precision": detected / (detected + rejected),
            "unknown_recall": detected / open_set,
            "unknown_f1": 2 * detected / (2 * detected + rejected + open_set_in),
            "false_accept_rate": open_set_in / open_set,
            "false_reject_rate": rejected / known,
            "wrong_place_rate": (known_in - right_in) / known,
            "known_accepted_right": right_in / known,
        }
