"""Predictions and the truth → scores: every metric of the protocol, its interval, and what came of each query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placewise import metrics
from placewise.metrics import Answered, Interval, OpenSetCounts
from placewise.scoring.predictions import Prediction, ranks_among
from placewise.scoring.truth import Groups, Protocol, Truth

RECALLS = (1, 5, 10)
_AT_TAU = ("known_accepted_right", "wrong_place_rate")
"""Metrics of the confidence that are undefined where nothing is decided."""

LARGE_RECALLS = (20, 100)
"""Reported where the gallery has as many photos."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What came of Q queries: all that metrics need, so that two models can be compared without their predictions.

    Attributes:
        queries: their paths.
        places: their labels; None where they have none.
        groups: which depend on one another.
        positives: ``(Q,)`` how many gallery photos are right; -1 where that is not known.
        evaluated: ``(Q,)`` bool, whether retrieval metrics count it.
        open_set: ``(Q,)`` bool, whether it has no positives.
        first_rank: ``(Q,)`` the rank of the first positive after junk is removed; 0 where none is ranked.
        confidence: ``(Q,)``; -inf where there is no prediction, NaN where predictions are bare ranks.
        correct: ``(Q,)`` bool, whether the photo that names the answer is a positive.
        values: metric → ``(Q,)`` its value of each query, NaN where a query is not evaluated; its mean is the metric.
    """

    queries: tuple[str, ...]
    places: tuple[str | None, ...]
    groups: Groups
    positives: NDArray[np.int64]
    evaluated: NDArray[np.bool_]
    open_set: NDArray[np.bool_]
    first_rank: NDArray[np.int64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def by_name(self) -> NDArray[np.intp]:
        """``(Q,)`` where each query comes in the order of their names."""
        return np.argsort(np.argsort(np.array(self.queries, dtype=object), kind="stable"))

    @property
    def has_confidence(self) -> bool:
        """Whether there is something to tell right answers from wrong ones by; predictions may be bare ranks."""
        return not np.isnan(self.confidence).any()

    @property
    def decided(self) -> NDArray[np.int64]:
        """The rows of which it is known what is right, so that a confidence can be judged."""
        return np.flatnonzero(self.positives >= 0)

    @property
    def group_counts(self) -> dict[str, int]:
        """How many groups intervals rest on: those with a judged query in all, with known, and with open-set ones."""
        codes, judged = self.groups.codes, self.positives >= 0
        kinds = {"count": judged, "known": judged & ~self.open_set, "open_set": self.open_set}
        return {name: len(np.unique(codes[rows])) for name, rows in kinds.items()}

    def answered(self, tau: float) -> Answered:
        """Those queries' answers; one without a positive can only be accepted wrongly."""
        rows = self.decided
        return Answered(
            self.confidence[rows],
            self.correct[rows],
            self.open_set[rows],
            tau=None if math.isnan(tau) else tau,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Everything that predictions score by one protocol.

    Attributes:
        protocol: what counts as right.
        tau: the threshold of the decisions; NaN where nothing is decided.
        counts: photos of the gallery, queries in all, and those evaluated, excluded, without positives, open-set, and
            evaluated without a prediction.
        retrieval: Recall@K and what the protocol reports beside it.
        open_set: metrics of the confidence.
        decisions: what tau decides; None where nothing is decided.
        intervals: of both, by name; empty where none were asked for.
        outcomes: what came of each query.
    """

    protocol: Protocol
    tau: float
    counts: dict[str, int]
    retrieval: dict[str, float]
    open_set: dict[str, float]
    decisions: OpenSetCounts | None
    intervals: dict[str, Interval]
    outcomes: Outcomes

    @property
    def values(self) -> dict[str, float]:
        """Every metric by its name; those of decisions only where there are any."""
        if self.decisions:
            return {**self.retrieval, **rates_of(self.decisions), **self.open_set}
        return {**self.retrieval, **{name: value for name, value in self.open_set.items() if name not in _AT_TAU}}


def score(
    predictions: Sequence[Prediction | None],
    truth: Truth,
    protocol: Protocol,
    *,
    tau: float = math.nan,
    intervals: bool = True,
) -> Scores:
    """Score the predictions for a truth's queries.

    Args:
        predictions: one for each query; None where there is none, which counts as a miss.
        truth: what is right.
        protocol: which metrics to report.
        tau: below it an answer is UNKNOWN; NaN decides nothing.
        intervals: whether to resample for the intervals.
    """
    outcomes = _outcomes(predictions, truth, protocol)
    open_set = confidence_metrics(outcomes, tau) if outcomes.has_confidence else {}
    if open_set and "gap_in_order" in protocol.metrics:
        open_set["gap_in_order"] = gap_in_order(outcomes)
    return Scores(
        protocol=protocol,
        tau=tau,
        counts={
            "gallery": len(truth.gallery),
            "queries": len(truth.queries),
            **truth.counts,
            "without_prediction": sum(
                prediction is None and bool(counts)
                for prediction, counts in zip(predictions, truth.evaluated, strict=True)
            ),
        },
        retrieval={name: mean(values) for name, values in outcomes.values.items()},
        open_set=open_set,
        decisions=decisions_at(outcomes, tau) if open_set else None,
        intervals=intervals_of(outcomes, tau, open_set) if intervals else {},
        outcomes=outcomes,
    )


def mean(values: NDArray[np.float64]) -> float:
    """Over the queries that are evaluated; NaN where none is."""
    evaluated = values[~np.isnan(values)]
    return float(np.mean(evaluated)) if evaluated.size else math.nan


def confidence_metrics(outcomes: Outcomes, tau: float) -> dict[str, float]:
    """The metrics of one confidence a query, by name; those at tau where there is one."""
    answered = outcomes.answered(tau)
    known = answered.confidence[~answered.open_set]
    correct = answered.correct[~answered.open_set]
    unknown = answered.confidence[answered.open_set]
    return _at(answered, tau) | {
        "auroc": metrics.auroc(known, unknown),
        "fpr95": metrics.fpr95(known, unknown),
        "fpr95_open_set": metrics.fpr95_open_set(known, unknown),
        "oscr": metrics.oscr(known, correct, unknown),
        "gap": metrics.gap(known, correct, unknown),
        "recall_at_100_precision": metrics.recall_at_100_precision(known, correct, unknown),
        "auc_pr": metrics.auc_pr(known, correct, unknown),
        "aurc": metrics.risk_coverage(known, correct, unknown).area,
    }


def _at(answered: Answered, tau: float) -> dict[str, float]:
    """What is accepted of the known queries at tau, with the right and with a wrong place."""
    if math.isnan(tau):
        return dict.fromkeys(_AT_TAU, math.nan)
    known, correct = answered.confidence[~answered.open_set], answered.correct[~answered.open_set]
    right = float(np.mean((known >= tau) & correct)) if known.size else math.nan
    return {"known_accepted_right": right, "wrong_place_rate": metrics.wrong_place_rate(known, correct, tau)}


def decisions_at(outcomes: Outcomes, tau: float) -> OpenSetCounts | None:
    """What tau decides; None where it is NaN."""
    if math.isnan(tau):
        return None
    answered = outcomes.answered(tau)
    return metrics.open_set_counts(answered.confidence[~answered.open_set], answered.confidence[answered.open_set], tau)


def rates_of(counts: OpenSetCounts) -> dict[str, float]:
    """The metrics of decisions, by name."""
    names = ("unknown_precision", "unknown_recall", "unknown_f1", "false_accept_rate", "false_reject_rate")
    return {name: getattr(counts, name) for name in names}


def gap_in_order(outcomes: Outcomes, rows: NDArray[np.int64] | None = None) -> float:
    """The GAP of Google Landmarks' own code, which breaks ties by the queries' ids; of some rows, or of all."""
    rows = outcomes.decided if rows is None else rows
    rows = rows[np.argsort(outcomes.by_name[rows], kind="stable")]
    return metrics.gap_in_order(outcomes.confidence[rows], outcomes.correct[rows], outcomes.open_set[rows])


def intervals_of(outcomes: Outcomes, tau: float, wanted: Mapping[str, float]) -> dict[str, Interval]:
    """The interval of every mean, of the confidence's metrics that are wanted, and of decisions at tau."""
    codes, rows = outcomes.groups.codes, outcomes.decided
    found = {name: metrics.bootstrap_means(values, codes) for name, values in outcomes.values.items()}
    if not (rows.size and wanted):
        return found
    found |= metrics.bootstrap_open_set(outcomes.answered(tau), codes[rows])
    if "gap_in_order" in wanted and len(np.unique(codes[rows])) > 1:
        interval = metrics.bootstrap(lambda drawn: gap_in_order(outcomes, rows[drawn]), codes[rows])
        found["gap_in_order"] = interval if interval.high > interval.low else found["gap"]  # draws of one value
    return found


def _outcomes(predictions: Sequence[Prediction | None], truth: Truth, protocol: Protocol) -> Outcomes:
    count = len(truth.queries)
    known = truth.evaluated | truth.open_set
    listed = [_NONE if prediction is None else prediction for prediction in predictions]
    ranks = [ranks_among(one, rows) for one, rows in zip(listed, truth.positives, strict=True)]
    junk = [ranks_among(one, rows) for one, rows in zip(listed, truth.junk, strict=True)]
    first = [
        int(of[0] - np.searchsorted(before, of[0])) if of.size else 0 for of, before in zip(ranks, junk, strict=True)
    ]
    first_rank = np.array(first, dtype=np.int64)
    positives = np.array([len(rows) for rows in truth.positives], dtype=np.int64)
    return Outcomes(
        queries=tuple(str(photo.path) for photo in truth.queries),
        places=tuple(photo.place for photo in truth.queries),
        groups=truth.groups,
        positives=np.where(known, positives, -1),
        evaluated=truth.evaluated,
        open_set=truth.open_set,
        first_rank=first_rank,
        confidence=np.array([one.confidence for one in listed], dtype=np.float64).reshape(count),
        correct=np.array([one.is_right(rows) for one, rows in zip(listed, truth.positives, strict=True)], dtype=bool),
        values={
            **recalls(first_rank, truth.evaluated, len(truth.gallery)),
            **_precisions(listed, truth, protocol, ranks),
        },
    )


_NONE = Prediction(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), -math.inf, -1
)
"""What stands for a prediction that there is not."""


def recalls(
    first_rank: NDArray[np.int64], evaluated: NDArray[np.bool_], gallery: int
) -> dict[str, NDArray[np.float64]]:
    """Whether each query has a positive among its first K hits, for each K that is reported."""
    ks = (*RECALLS, *(k for k in LARGE_RECALLS if k <= gallery))
    hit = [((first_rank >= 1) & (first_rank <= k)).astype(np.float64) for k in ks]
    return {f"recall@{k}": np.where(evaluated, values, np.nan) for k, values in zip(ks, hit, strict=True)}


def _precisions(
    predictions: Sequence[Prediction], truth: Truth, protocol: Protocol, ranks: Sequence[NDArray[np.int64]]
) -> dict[str, NDArray[np.float64]]:
    """The average precision of each query, in each of the protocol's conventions."""
    if truth.setups:
        return {name: values for name, values in _graded(predictions, truth).items() if name in protocol.metrics}
    pairs = [(of, len(rows)) for of, rows in zip(ranks, truth.positives, strict=True)]
    found = {
        "map": [metrics.average_precision(of, positives=n) for of, n in pairs],
        "map@100": [metrics.average_precision_at_k(of, 100, positives=n) for of, n in pairs],
        "map@r": [metrics.average_precision_at_r(of, positives=n) for of, n in pairs],
    }
    return {name: np.array(values, dtype=np.float64) for name, values in found.items() if name in protocol.metrics}


def _graded(predictions: Sequence[Prediction], truth: Truth) -> dict[str, NDArray[np.float64]]:
    """AP by trapezoids and precision of the first k, of each query in each setup."""
    found: dict[str, list[float]] = {}
    for setup, rows in truth.setups.items():
        for one, (right, junk) in zip(predictions, rows, strict=True):
            of, without = ranks_among(one, right), ranks_among(one, junk)
            average = metrics.revisited_average_precision(of, without, positives=len(right))
            found.setdefault(f"map_revisited_{setup}", []).append(average)
            for k in RECALLS:
                precision = metrics.revisited_precision_at_k(of, without, k, positives=len(right))
                found.setdefault(f"mp_revisited_{setup}@{k}", []).append(precision)
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}
