"""What an evaluation found: every answer, the numbers behind the report, and both as JSON. Computes nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from placewise.files import write_atomically
from placewise.openset import calibration_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from placewise.core import Hit, ModelCard, Photo
    from placewise.embed import Failure
    from placewise.metrics import Interval, OpenSetCounts, Reliability, RiskCoverage
    from placewise.openset import Calibration


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What was answered to one query: enough to score it and to show it.

    Attributes:
        query: the query photo.
        open_set: whether its place is missing from the gallery; None where it has no place label.
        hits: the first `HITS` gallery photos, best first.
        positive_ranks: the 1-based ranks of all its positives, ascending.
        confidence: what tau is compared with; -1, below every tau, where no hit has a place.
        place: what would be answered: the place of the best hit that has one.
        reason: why it was accepted or not, in one line.
    """

    query: Photo
    open_set: bool | None
    hits: tuple[Hit, ...]
    positive_ranks: NDArray[np.int64]
    confidence: float
    place: str | None
    reason: str

    @property
    def similarity(self) -> float:
        """The best hit's."""
        return self.hits[0].similarity

    @property
    def correct(self) -> bool:
        """Whether the place that would be answered is the query's."""
        return self.query.place is not None and self.place == self.query.place


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A scored run: what was measured, on what, with which model, and every answer behind the numbers.

    Attributes:
        records: usable photos of the source.
        gallery: embedded gallery photos.
        card: the model.
        tau: the threshold of ``counts`` and ``wrong_place_rate``.
        calibration: how the gallery calibrated itself; None where a fixed tau was asked for.
        results: one per embedded query, in manifest order.
        retrieval: ``recall@1``, ``recall@5``, ``recall@10``, ``map``.
        counts: decisions at tau.
        open_set: ``wrong_place_rate`` and ``known_accepted_right`` at tau, and the metrics that need no threshold.
        sweep: decisions at other thresholds of the best similarity.
        choices: (wanted false-accept rate, decisions at its tau, known queries accepted and right) of each rate that
            the calibration has a tau for.
        risk: what accepting more of the queries costs.
        reliability: how well the confidence is calibrated; None where it is no probability.
        seconds: wall time of each stage.
        computed: photos the network was run for; the others came from the cache.
        failures: photos that could not be embedded.
        protocol: what counts as right, in one line.
        intervals: what each metric may be, by the name that the metric has in ``retrieval`` and ``open_set``.
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
    protocol: str = "place"
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def open_set_queries(self) -> int:
        """Queries whose place is not in the gallery."""
        return sum(result.open_set is True for result in self.results)

    @property
    def unlabelled_queries(self) -> int:
        """Queries without a place label: answered, not scored."""
        return sum(result.open_set is None for result in self.results)


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
        **_counts_json(evaluation.counts),
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
        "protocol": evaluation.protocol,
        "retrieval": evaluation.retrieval,
        "open_set": open_set,
        "calibration": None if calibration is None else calibration_json(calibration),
        "tau_sweep": [{"tau": tau, **_counts_json(at_tau)} for tau, at_tau in evaluation.sweep],
        "rate_sweep": [
            {"wanted": rate, **_counts_json(at_tau), "known_accepted_right": right}
            for rate, at_tau, right in evaluation.choices
        ],
        "reliability": None if evaluation.reliability is None else _reliability_json(evaluation.reliability),
        "embedded": evaluation.computed,
        "seconds": evaluation.seconds,
    }
    return {key: _without_nan(part) for key, part in document.items()}


def calibration_json(calibration: Calibration) -> dict[str, object]:
    """A calibration as the command line and the service show it: all but the numbers of its model."""
    document = json.loads(calibration_to_json(calibration))
    del document["confidence"], document["cohort"]
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


def _counts_json(counts: OpenSetCounts) -> dict[str, float]:
    return {
        "unknown_precision": counts.unknown_precision,
        "unknown_recall": counts.unknown_recall,
        "unknown_f1": counts.unknown_f1,
        "false_accept_rate": counts.false_accept_rate,
        "false_reject_rate": counts.false_reject_rate,
        **dataclasses.asdict(counts),
    }


def _without_nan(value: object) -> object:
    """The same document with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
