"""What an evaluation found: every answer, the numbers behind the report, and both as JSON. Computes nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.core import Hit
from placewise.files import write_atomically
from placewise.openset import calibration_to_json
from placewise.scoring.predictions import NOTHING, Prediction, ranks_among
from placewise.scoring.scores import rates_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from placewise.core import ModelCard, Photo
    from placewise.doctor import Examination
    from placewise.embed import Failure
    from placewise.metrics import Interval, OpenSetCounts, Reliability, RiskCoverage
    from placewise.openset import Calibration
    from placewise.scoring.scores import Outcomes, Scores
    from placewise.scoring.truth import Truth


HITS = 10
"""Hits shown of each query: as many as Recall@10 and a reader of the report want to see."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What was answered to one query: enough to show it.

    Attributes:
        query: the query photo.
        open_set: whether UNKNOWN is right; None where nothing is known of it.
        hits: the first `HITS` gallery photos, best first.
        relevant: for each of them, whether it is right.
        positive_ranks: the 1-based ranks of all its positives, ascending.
        confidence: what tau is compared with; -1, below every tau, where there was nothing to compare.
        place: what would be answered: the place of the hit that answers.
        correct: whether that hit is right.
        reason: why it was accepted or not, in one line.
        first_right: the best hit that is right, at the first of the positive ranks; None where there is none.
        junk: for each of the hits, whether it counts neither for nor against.
        answered: the hit that answers, the best that has a place where places are asked for; None where there is none.
    """

    query: Photo
    open_set: bool | None
    hits: tuple[Hit, ...]
    relevant: tuple[bool, ...]
    positive_ranks: NDArray[np.int64]
    confidence: float
    place: str | None
    correct: bool
    reason: str
    first_right: Hit | None = None
    junk: tuple[bool, ...] = ()
    answered: Hit | None = None

    @property
    def similarity(self) -> float:
        """The best hit's; -1 where there is none."""
        return self.hits[0].similarity if self.hits else NOTHING


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A scored run: what was measured, on what, with which model, and every answer behind the numbers.

    Attributes:
        records: usable photos of the source.
        gallery: embedded gallery photos.
        card: the model.
        tau: the threshold of ``counts`` and ``wrong_place_rate``; NaN where nothing is decided.
        calibration: how the gallery calibrated itself; None where it did not.
        results: one per embedded query, in manifest order.
        retrieval: ``recall@1``, ``recall@5``, ``recall@10``, and what else the protocol reports.
        counts: decisions at tau.
        open_set: ``wrong_place_rate`` and ``known_accepted_right`` at tau, and the metrics that need no threshold.
        sweep: decisions at other thresholds of the plain similarity.
        choices: (wanted false-accept rate, decisions at its tau, known queries accepted and right) of each rate that
            the calibration has a tau for.
        risk: what accepting more of the queries costs.
        reliability: how well the confidence is calibrated; None where it is no probability.
        seconds: wall time of each stage.
        computed: photos the network was run for; the others came from the cache.
        failures: photos that could not be embedded.
        protocol: its spelling and what it counts as right, in one line.
        intervals: of each metric, by the name that the metric has in ``retrieval`` and ``open_set``.
        scores: where those numbers come from: counts, and what came of each query.
        examination: what the doctor found in the photos; None where it was not asked.
        ranking: how hits were ranked, in words.
        notes: steps of it that were left out, and why, a line each.
        uncalibrated: why the gallery could not calibrate itself, and what decides in its stead; empty where it could,
            or was not to.
    """

    records: int
    gallery: int
    card: ModelCard
    tau: float
    calibration: Calibration | None
    results: tuple[QueryResult, ...]
    retrieval: dict[str, float]
    counts: OpenSetCounts
    open_set: dict[str, float]
    sweep: tuple[tuple[float, OpenSetCounts], ...]
    choices: tuple[tuple[float, OpenSetCounts, float], ...]
    risk: RiskCoverage
    reliability: Reliability | None
    seconds: dict[str, float]
    computed: int
    failures: tuple[Failure, ...]
    protocol: str
    intervals: dict[str, Interval]
    scores: Scores
    examination: Examination | None = None
    ranking: str = "nothing"
    notes: tuple[str, ...] = ()
    uncalibrated: str = ""

    @property
    def values(self) -> dict[str, float]:
        """Every metric by its name; those of decisions only where there are any."""
        ece = {"ece": self.open_set["ece"]} if "ece" in self.open_set else {}
        return {**self.scores.values, **self.retrieval, **ece}

    @property
    def photos(self) -> int:
        """How many were embedded, or found in the cache; those of a sequence that asks its own past count once."""
        return self.gallery + sum(result.query.split == "query" for result in self.results)

    @property
    def open_set_queries(self) -> int:
        """Queries to which UNKNOWN is right."""
        return sum(result.open_set is True for result in self.results)

    @property
    def unlabelled_queries(self) -> int:
        """Queries of which nothing is known: answered, not scored."""
        return sum(result.open_set is None for result in self.results)


def results_of(predicted: Sequence[Prediction], truth: Truth) -> tuple[QueryResult, ...]:
    """The predictions with the photos that they name."""
    judged = truth.evaluated | truth.open_set
    return tuple(
        _result(truth, number, one, open_set=bool(truth.open_set[number]) if judged[number] else None)
        for number, one in enumerate(predicted)
    )


def _result(truth: Truth, number: int, one: Prediction, *, open_set: bool | None) -> QueryResult:
    shown, positives = one.rows[: one.hits(HITS)], truth.positives[number]
    inliers = [-1] * len(shown) if one.inliers is None else one.inliers[: len(shown)].tolist()
    hits = zip(shown.tolist(), one.similarities[: len(shown)].tolist(), inliers, strict=True)
    return QueryResult(
        query=truth.queries[number],
        open_set=open_set,
        hits=tuple(Hit(truth.gallery[row], near, count if count >= 0 else None) for row, near, count in hits),
        relevant=tuple(np.isin(shown, positives).tolist()),
        positive_ranks=ranks_among(one, positives),
        confidence=one.confidence,
        place=truth.gallery[one.answer].place if one.answer >= 0 else None,
        correct=one.is_right(positives),
        reason=one.reason,
        first_right=_first_right(truth, one, positives),
        junk=tuple(np.isin(shown, truth.junk[number]).tolist()),
        answered=_answered(truth, one),
    )


def _first_right(truth: Truth, one: Prediction, positives: NDArray[np.int64]) -> Hit | None:
    right = np.flatnonzero(np.isin(one.rows, positives))
    if not right.size:
        return None
    return Hit(truth.gallery[int(one.rows[right[0]])], float(one.similarities[right[0]]))


def _answered(truth: Truth, one: Prediction) -> Hit | None:
    """The hit that answers; its similarity is NaN where it is not among the hits kept."""
    if one.answer < 0:
        return None
    return Hit(truth.gallery[one.answer], float(max(one.similarities[one.rows == one.answer], default=math.nan)))


def save_answers(results: Sequence[QueryResult], path: Path) -> None:
    """Write one JSON object a line for each query, whole or not at all."""
    lines = [
        json.dumps(
            {
                "query": str(result.query.path),
                "place": result.query.place,
                "open_set": result.open_set,
                "confidence": result.confidence,
                "answer": result.place,
                "reason": result.reason,
                "hits": [hit_json(hit) for hit in result.hits],
                "positive_ranks": result.positive_ranks.tolist(),
            },
            ensure_ascii=False,
        )
        for result in results
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def hit_json(hit: Hit) -> dict[str, object]:
    """A hit as the command line and the service show it."""
    return {
        "path": str(hit.photo.path),
        "place": hit.photo.place,
        "similarity": hit.similarity,
        "inliers": hit.inliers,
    }


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """The evaluation as one JSON document; what is undefined is null."""
    calibration = evaluation.calibration
    open_set = {
        "tau": evaluation.tau,
        "confidence": "probability" if evaluation.reliability else "similarity",
        **decisions_json(evaluation),
        **evaluation.open_set,
    }
    document = {
        "dataset": {
            "records": evaluation.records,
            "gallery": evaluation.gallery,
            "queries": len(evaluation.results),
            "open_set_queries": evaluation.open_set_queries,
            "unlabelled_queries": evaluation.unlabelled_queries,
            "failed": [
                {"path": str(failure.photo.path), "kind": failure.kind, "reason": failure.reason}
                for failure in evaluation.failures
            ],
        },
        "model": {
            "name": evaluation.card.name,
            "dim": evaluation.card.dim,
            "fingerprint": evaluation.card.fingerprint,
        },
        "ranking": {"steps": evaluation.ranking, "notes": list(evaluation.notes)},
        **scores_json(evaluation.scores),
        "open_set": open_set,
        "calibration": None if calibration is None else calibration_json(calibration),
        "uncalibrated": evaluation.uncalibrated or None,
        "tau_sweep": [{"tau": tau, **counts_json(at_tau)} for tau, at_tau in evaluation.sweep],
        "rate_sweep": [
            {"wanted": rate, **counts_json(at_tau), "known_accepted_right": right}
            for rate, at_tau, right in evaluation.choices
        ],
        "reliability": None if evaluation.reliability is None else _reliability_json(evaluation.reliability),
        "findings": None if evaluation.examination is None else evaluation.examination.counts,
        "embedded": evaluation.computed,
        "seconds": evaluation.seconds,
    }
    return {key: _without_nan(part) for key, part in document.items()}


def scores_json(scores: Scores) -> dict[str, object]:
    """What any predictions score: what `evaluate` and `score` have in common, and all that `compare` needs."""
    outcomes = scores.outcomes
    document: dict[str, object] = {
        "protocol": scores.protocol.spelled,
        "right": scores.protocol.law,
        "counts": scores.counts,
        "groups": {"unit": outcomes.groups.unit, **outcomes.group_counts},
        "retrieval": scores.retrieval,
        "open_set": {
            "tau": scores.tau,
            **(counts_json(scores.decisions) if scores.decisions else {}),
            **scores.open_set,
        },
        "intervals": {name: [interval.low, interval.high] for name, interval in scores.intervals.items()},
        "queries": _outcomes_json(outcomes),
    }
    return {key: _without_nan(part) for key, part in document.items()}


def _outcomes_json(outcomes: Outcomes) -> list[dict[str, object]]:
    """One object a query; Recall@K follows from its first positive's rank, means from its values."""
    values = {name: column.tolist() for name, column in outcomes.values.items() if not name.startswith("recall@")}
    return [
        {
            "query": outcomes.queries[row],
            "place": outcomes.places[row],
            "group": int(outcomes.groups.codes[row]),
            "evaluated": bool(outcomes.evaluated[row]),
            "positives": positives if positives >= 0 else None,
            "open_set": bool(outcomes.open_set[row]) if positives >= 0 else None,
            "first_positive_rank": int(outcomes.first_rank[row]) or None,
            "confidence": float(outcomes.confidence[row]) if np.isfinite(outcomes.confidence[row]) else None,
            "correct": bool(outcomes.correct[row]),
            "values": {name: column[row] for name, column in values.items()},
        }
        for row, positives in enumerate(outcomes.positives.tolist())
    ]


def calibration_json(calibration: Calibration) -> dict[str, object]:
    """A calibration as the command line and the service show it: all but the numbers of its model."""
    document = json.loads(calibration_to_json(calibration))
    del document["confidence"], document["cohort"], document["ranking"]
    return {**document, "promise": calibration.promise, "notes": list(calibration.notes)}


def _reliability_json(reliability: Reliability) -> list[dict[str, object]]:
    return [
        {"from": low, "to": high, "count": count, "confidence": confidence, "accuracy": accuracy}
        for low, high, count, confidence, accuracy in zip(
            reliability.edges[:-1].tolist(),
            reliability.edges[1:].tolist(),
            reliability.count.tolist(),
            reliability.confidence.tolist(),
            reliability.accuracy.tolist(),
            strict=True,
        )
    ]


def decisions_json(evaluation: Evaluation) -> dict[str, float]:
    """Its decisions at tau; NaN where nothing is decided."""
    counts = counts_json(evaluation.counts)
    return dict.fromkeys(counts, math.nan) if math.isnan(evaluation.tau) else counts


def counts_json(counts: OpenSetCounts) -> dict[str, float]:
    """Decisions at one tau: counts and rates."""
    return {
        **rates_of(counts),
        **dataclasses.asdict(counts),
    }


def _without_nan(value: object) -> object:
    """The same document with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
