"""The curves, against their definitions, under ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise import metrics
from placewise.errors import OptionError

confidences = st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0]), max_size=12)
answered = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]), st.booleans()), max_size=12)


def points(curve: metrics.Curve) -> list[tuple[float, float]]:
    """The points of a curve."""
    return list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))


def split(rows: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    """Confidences, and whether each is right."""
    return [confidence for confidence, _ in rows], [right for _, right in rows]


@given(answered, confidences)
def test_every_threshold_is_a_point_of_the_oscr_curve(rows: list[tuple[float, bool]], open_set: list[float]) -> None:
    """Each distinct threshold gives the shares that counting gives, and the area is the metric's."""
    known, correct = split(rows)

    curve = metrics.oscr_curve(known, correct, open_set)

    if not (known and open_set):
        assert curve.x.size == 0
        assert math.isnan(curve.area)
        return
    taus = sorted({*known, *open_set}, reverse=True)
    assert points(curve) == [(0.0, 0.0)] + [
        (sum(c >= tau for c in open_set) / len(open_set), sum(c >= tau and right for c, right in rows) / len(rows))
        for tau in taus
    ]
    assert curve.area == pytest.approx(metrics.oscr(known, correct, open_set), abs=1e-12)


@given(confidences, confidences)
def test_the_area_below_the_roc_curve_is_the_auroc(known: list[float], open_set: list[float]) -> None:
    """Ties count one half in both; without known or open-set queries both are undefined."""
    assert metrics.roc_curve(known, open_set).area == pytest.approx(
        metrics.auroc(known, open_set), abs=1e-12, nan_ok=True
    )


@given(answered, confidences)
def test_the_answer_curve_equals_counting(rows: list[tuple[float, bool]], open_set: list[float]) -> None:
    """Precision and recall at each distinct threshold, the most confident first."""
    known, correct = split(rows)
    expected = []
    for tau in sorted({*known, *open_set}, reverse=True) if known else ():
        right = sum(confidence >= tau and outcome for confidence, outcome in rows)
        accepted = sum(confidence >= tau for confidence in (*known, *open_set))
        expected.append((right / len(rows), right / accepted))

    assert points(metrics.answer_curve(known, correct, open_set)) == expected


@given(confidences, confidences)
def test_the_unknown_curve_equals_counting(known: list[float], open_set: list[float]) -> None:
    """Precision and recall of UNKNOWN when all up to a confidence are flagged, the least confident first."""
    expected = []
    for value in sorted({*known, *open_set}) if open_set else ():
        detected = sum(confidence <= value for confidence in open_set)
        flagged = detected + sum(confidence <= value for confidence in known)
        expected.append((detected / len(open_set), detected / flagged))

    assert points(metrics.unknown_curve(known, open_set)) == expected


@given(st.lists(st.sets(st.integers(1, 9), max_size=3), max_size=8), st.integers(1, 9))
def test_the_recall_curve_is_recall_at_each_k(positives: list[set[int]], last: int) -> None:
    """Point K is `recall_at_k` of K; a query without positives is a miss, no query is no curve."""
    ranks = [np.array(sorted(found), dtype=np.int64) for found in positives]

    curve = metrics.recall_curve(ranks, last)

    assert points(curve) == ([(k, metrics.recall_at_k(ranks, k)) for k in range(1, last + 1)] if ranks else [])


def test_a_recall_curve_needs_a_k() -> None:
    """There is no Recall@0."""
    with pytest.raises(OptionError, match=r"^last must be at least 1, got 0$"):
        metrics.recall_curve([], 0)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40),
    st.sampled_from([0.0, 0.3, 1.0, 5.0]),
)
def test_a_thinned_curve_leaves_out_nothing_that_matters(steps: list[tuple[int, int]], tolerance: float) -> None:
    """Each point left out is within the tolerance of the line between its kept neighbours, the ends stay."""
    steps.sort(key=lambda point: point[0])
    x, y = (np.array([step[axis] for step in steps], dtype=np.float64) for axis in (0, 1))

    thin = metrics.Curve(x, y).thinned(tolerance)

    kept = points(thin)
    if steps:
        assert (kept[0], kept[-1]) == ((x[0], y[0]), (x[-1], y[-1]))
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        assert any(
            (x0 == x1 and min(y0, y1) - tolerance <= value <= max(y0, y1) + tolerance and at == x0)
            or (x0 < x1 and x0 <= at <= x1 and abs(y0 + (at - x0) / (x1 - x0) * (y1 - y0) - value) <= tolerance + 1e-9)
            for (x0, y0), (x1, y1) in zip(kept, kept[1:] or kept, strict=False)
        )


def test_a_staircase_is_thinned_exactly() -> None:
    """Without tolerance the corners stay and the points between them go: the area is the same."""
    rng = np.random.default_rng(0)
    curve = metrics.roc_curve(rng.normal(1, 1, 500), rng.normal(0, 1, 300))

    thin = curve.thinned()

    assert thin.x.size < curve.x.size / 2
    assert thin.area == pytest.approx(curve.area, abs=1e-12)
