"""Several models on the same split: their evaluations, how they differ, and every number as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from placewise.core import Source
from placewise.evaluation import Evaluation, decisions_json
from placewise.figures import evaluation_json
from placewise.scoring.comparing import Compared, Comparison, compare, comparison_json


@dataclass(frozen=True, slots=True)
class Contest:
    """Several models on the same split.

    Attributes:
        evaluations: one a model, in the order asked for.
        comparisons: each other model with the first, by a bootstrap that draws the same queries of both.
    """

    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...]


def contest_of(evaluations: Sequence[Evaluation]) -> Contest:
    """Compare the first of several evaluations of one set with each other one.

    Raises:
        EvaluationError: if photos could be read for one and not for another.
    """
    sides = [Compared.of(evaluation.card.name, evaluation.scores) for evaluation in evaluations]
    return Contest(tuple(evaluations), tuple(compare(sides[0], other) for other in sides[1:]))


def contest_json(contest: Contest, source: Source) -> dict[str, object]:
    """Several evaluations of a source and their differences as one JSON document."""
    return {
        "models": [evaluation_json(evaluation, source) for evaluation in contest.evaluations],
        "comparisons": [comparison_json(comparison) for comparison in contest.comparisons],
    }


def numbers_csv(evaluations: Sequence[Evaluation]) -> bytes:
    """Every number of some evaluations as CSV: ``model, protocol, metric, value, low, high``; empty if undefined."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "protocol", "metric", "value", "low", "high"))
    for evaluation in evaluations:
        scores = evaluation.scores
        values = {
            **scores.counts,
            "tau": evaluation.tau,
            **evaluation.retrieval,
            **decisions_json(evaluation),
            **evaluation.open_set,
        }
        for name, value in values.items():
            interval = evaluation.intervals.get(name)
            limits = (interval.low, interval.high) if interval else (math.nan, math.nan)
            cells = ["" if math.isnan(number) else number for number in (value, *limits)]
            writer.writerow((evaluation.card.name, scores.protocol.spelled, name, *cells))
    return text.getvalue().encode()
