"""A finished evaluation → the curves, histograms, places and positions that explain it. Formulas are in `metrics`.

`placewise.report` draws them, ``placewise evaluate --json`` lists them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise import metrics
from placewise.evaluation import to_json
from placewise.figures.disagreements import Disagreement, disagreements_of
from placewise.figures.ground import Ground, ground_of
from placewise.figures.histograms import Histogram, histogram_of
from placewise.figures.offsets import Offsets, offsets_of
from placewise.figures.outcomes import MISTAKES, Outcome, outcome
from placewise.figures.panels import Panel, Shown, hits_shown, panels_of
from placewise.figures.places import Confusion, Matrix, PlaceRow, confusions_of, matrix_of, place_rows
from placewise.metrics import Curve

if TYPE_CHECKING:
    from placewise.core import Source
    from placewise.evaluation import Evaluation

__all__ = [
    "MISTAKES",
    "Confusion",
    "Disagreement",
    "Figures",
    "Ground",
    "Histogram",
    "Matrix",
    "Offsets",
    "Outcome",
    "Panel",
    "PlaceRow",
    "Shown",
    "disagreements_of",
    "evaluation_json",
    "figures_json",
    "figures_of",
    "hits_shown",
    "outcome",
    "panels_of",
]

LAST_K = 25
"""The largest K of the recall curve."""

_TOLERANCE = 0.001
"""How far a thinned curve may be from the exact one: less than a pixel of any plot, and curves stay short."""


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What is drawn and listed of an evaluation. A curve without points is one that is not defined.

    Attributes:
        recall: Recall@K against K, of the queries that are evaluated.
        roc: known queries accepted against open-set queries accepted.
        oscr: known queries accepted with their place against open-set queries accepted.
        answers: precision against recall of the accepted answers.
        unknown: precision against recall of UNKNOWN.
        risk: the share of accepted answers that are wrong against the share of queries accepted.
        confidence: of known queries whose place would be right, of others, and of open-set ones.
        similarity: likewise, of the best hit, where there is one; the plain one where a fixed tau decides.
        places: one a place of a query, those of the gallery first, the worst first; none where queries have no labels.
        confusions: what was answered instead of the right thing, the most frequent first; none where labels do not say
            what is right, or nothing is decided.
        matrix: what was answered to the queries of each place; None there, and where it would be too large to read.
        ground: where photos were taken and where answers point; None where that is not known.
        offsets: how far off the best hits are; None where that is not known.
    """

    recall: Curve
    roc: Curve
    oscr: Curve
    answers: Curve
    unknown: Curve
    risk: Curve
    confidence: Histogram
    similarity: Histogram
    places: tuple[PlaceRow, ...]
    confusions: tuple[Confusion, ...]
    matrix: Matrix | None
    ground: Ground | None
    offsets: Offsets | None


def figures_of(evaluation: Evaluation, source: Source) -> Figures:
    """Everything that explains an evaluation.

    Args:
        evaluation: what `placewise.evaluate.evaluate_source` returned.
        source: its photos, for the positions of the gallery.
    """
    results, tau, outcomes = evaluation.results, evaluation.tau, evaluation.scores.outcomes
    first = outcomes.first_rank[outcomes.evaluated].tolist()  # junk is out of the way there
    ranks = [np.array([rank] if rank else [], dtype=np.int64) for rank in first]
    decided = evaluation.scores.protocol.labelled and not math.isnan(tau)
    known = [result for result in results if result.open_set is False]
    confidences = [result.confidence for result in known]
    correct = [result.correct for result in known]
    open_set = [result.confidence for result in results if result.open_set]
    return Figures(
        recall=metrics.recall_curve(ranks, max(1, min(LAST_K, evaluation.gallery))),
        roc=metrics.roc_curve(confidences, open_set).thinned(_TOLERANCE),
        oscr=metrics.oscr_curve(confidences, correct, open_set).thinned(_TOLERANCE),
        answers=metrics.answer_curve(confidences, correct, open_set).thinned(_TOLERANCE),
        unknown=metrics.unknown_curve(confidences, open_set).thinned(_TOLERANCE),
        risk=Curve(evaluation.risk.coverage, evaluation.risk.risk).thinned(_TOLERANCE),
        confidence=histogram_of(
            results, lambda result: result.confidence, limits=(0.0, 1.0) if evaluation.reliability else None
        ),
        similarity=histogram_of(
            [result for result in results if result.hits],
            # a similarity that tau is compared with is the one to show beside tau
            lambda result: result.similarity if evaluation.reliability or math.isnan(tau) else result.confidence,
        ),
        places=place_rows(results, tau),
        confusions=confusions_of(results, tau) if decided else (),
        matrix=matrix_of(results, tau) if decided else None,
        ground=ground_of(results, tau, source),
        offsets=offsets_of(results),
    )


def evaluation_json(evaluation: Evaluation, source: Source) -> dict[str, object]:
    """The evaluation as one JSON document, with the numbers that a report draws; what is undefined is null."""
    return {**to_json(evaluation), **figures_json(figures_of(evaluation, source))}


def figures_json(figures: Figures) -> dict[str, object]:
    """The numbers that are drawn, for the JSON document of an evaluation; what is undefined is null."""
    return {
        "curves": {
            "recall": _curve_json(figures.recall, "k", "recall"),
            "roc": _curve_json(figures.roc, "open_set_accepted", "known_accepted"),
            "oscr": _curve_json(figures.oscr, "open_set_accepted", "known_accepted_right"),
            "answers": _curve_json(figures.answers, "recall", "precision"),
            "unknown": _curve_json(figures.unknown, "recall", "precision"),
            "risk": _curve_json(figures.risk, "coverage", "risk"),
        },
        "histograms": {
            "confidence": _histogram_json(figures.confidence),
            "similarity": _histogram_json(figures.similarity),
        },
        "places": [_place_json(row) for row in figures.places],
        "confusions": [
            {"place": pair.place, "answered": pair.answered, "open_set": pair.open_set, "queries": pair.queries}
            for pair in figures.confusions
        ],
        "metres_off": None if figures.offsets is None else _offsets_json(figures.offsets),
    }


def _offsets_json(offsets: Offsets) -> dict[str, object]:
    return {
        "queries": offsets.queries,
        "median": offsets.median_m,
        "within": [{"metres": reach, "share": share} for reach, share in offsets.within],
    }


def _place_json(row: PlaceRow) -> dict[str, object]:
    return {
        "place": row.place,
        "open_set": row.open_set,
        "queries": row.queries,
        "recall@1": None if math.isnan(row.recall_at_1) else row.recall_at_1,
        "map": None if math.isnan(row.map) else row.map,
        "accepted": row.accepted,
        "accepted_right": row.accepted_right,
        "confused_with": row.confused_with,
        "confused": row.confused,
    }


def _curve_json(curve: Curve, x: str, y: str) -> dict[str, list[float]]:
    return {x: curve.x.round(6).tolist(), y: curve.y.round(6).tolist()}


def _histogram_json(histogram: Histogram) -> dict[str, list[float]]:
    return {
        "edges": histogram.edges.round(6).tolist(),
        "right": histogram.right.tolist(),
        "wrong": histogram.wrong.tolist(),
        "open_set": histogram.open_set.tolist(),
    }
