"""Metrics of one answer a query against naive loops over thresholds and over queries."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise import metrics
from placewise.errors import OptionError

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from(["right", "wrong", "open-set"])), max_size=14
)
"""Queries in the order of their ids: confidence and outcome; few distinct confidences, so that most are tied."""
Rows = list[tuple[float, str]]


def parts(drawn: Rows) -> tuple[list[float], list[bool], list[float]]:
    """Confidences of known queries, whether they are right, confidences of open-set ones."""
    known = [(confidence, outcome == "right") for confidence, outcome in drawn if outcome != "open-set"]
    return (
        [confidence for confidence, _ in known],
        [right for _, right in known],
        [confidence for confidence, outcome in drawn if outcome == "open-set"],
    )


def naive_curve(drawn: Rows, positives: int) -> list[tuple[float, float]]:
    """Recall and precision at each distinct confidence, from the highest on, beginning at (0, 1)."""
    points = [(0.0, 1.0)]
    for tau in sorted({confidence for confidence, _ in drawn}, reverse=True):
        accepted = [outcome for confidence, outcome in drawn if confidence >= tau]
        points.append((accepted.count("right") / positives, accepted.count("right") / len(accepted)))
    return points


@given(rows, st.integers(0, 3), st.booleans())
def test_gap_in_order_takes_queries_one_by_one(drawn: Rows, unanswered: int, ignore: bool) -> None:  # noqa: FBT001
    """It equals a walk down the list sorted by confidence, then by id, over all queries that have a known place."""
    total = sum(outcome != "open-set" for _, outcome in drawn) + unanswered
    walk = sorted(enumerate(drawn), key=lambda item: (-item[1][0], item[0]))
    right, seen, score = 0, 0, 0.0
    for _, (_, outcome) in walk:
        if ignore and outcome == "open-set":
            continue
        seen += 1
        if outcome == "right":
            right += 1
            score += right / seen
    value = metrics.gap_in_order(
        [confidence for confidence, _ in drawn],
        [outcome == "right" for _, outcome in drawn],
        [outcome == "open-set" for _, outcome in drawn],
        positives=total,
        ignore_open_set=ignore,
    )

    assert value == pytest.approx(score / total, abs=1e-12) if total else math.isnan(value)


@given(rows)
def test_both_gaps_agree_without_ties(drawn: Rows) -> None:
    """With distinct confidences the order given has no say: the two numbers are the same."""
    distinct = [(confidence + i / 1000, outcome) for i, (confidence, outcome) in enumerate(drawn)]
    in_order = metrics.gap_in_order(
        [confidence for confidence, _ in distinct],
        [outcome == "right" for _, outcome in distinct],
        [outcome == "open-set" for _, outcome in distinct],
    )

    assert in_order == pytest.approx(metrics.gap(*parts(distinct)), abs=1e-12, nan_ok=True)


def test_gap_in_order_depends_on_the_order_of_tied_queries_and_gap_does_not() -> None:
    """A right and a wrong answer of one confidence: 1/2 or 1/4 by their order, 1/4 for the step that holds both."""
    known = [False, False]

    assert metrics.gap_in_order([0.5, 0.5], [True, False], known) == 0.5
    assert metrics.gap_in_order([0.5, 0.5], [False, True], known) == 0.25
    assert metrics.gap([0.5, 0.5], [True, False], []) == metrics.gap([0.5, 0.5], [False, True], []) == 0.25


@given(rows, st.integers(0, 3))
def test_recall_at_100_precision_is_the_largest_recall_before_a_mistake(drawn: Rows, unanswered: int) -> None:
    """It equals a search over all distinct thresholds for precision 1; 0 if even the strictest accepts a mistake."""
    known, correct, open_set = parts(drawn)
    total = len(known) + unanswered
    value = metrics.recall_at_100_precision(known, correct, open_set, positives=total)

    if total:
        recalls = [recall for recall, precision in naive_curve(drawn, total) if precision == 1]
        assert value == pytest.approx(max(recalls), abs=1e-12)
    else:
        assert math.isnan(value)


def test_a_wrong_answer_as_confident_as_the_best_leaves_no_recall_at_100_precision() -> None:
    """Tied at the top, a right and a wrong answer are accepted together; an open-set one counts as wrong."""
    assert metrics.recall_at_100_precision([0.9, 0.9, 0.5], [True, False, True]) == 0
    assert metrics.recall_at_100_precision([0.9, 0.8], [True, True], [0.9]) == 0
    assert metrics.recall_at_100_precision([0.9, 0.8], [True, True], [0.8]) == 0.5
    assert metrics.recall_at_100_precision([0.9, 0.8], [True, True], [0.1]) == 1


@given(rows, st.integers(0, 3))
def test_auc_pr_is_the_trapezoid_through_all_thresholds(drawn: Rows, unanswered: int) -> None:
    """The area equals one drawn point by point from recall 0 and precision 1 on."""
    known, correct, open_set = parts(drawn)
    total = len(known) + unanswered
    value = metrics.auc_pr(known, correct, open_set, positives=total)

    if total:
        pairs = itertools.pairwise(naive_curve(drawn, total))
        area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairs)
        assert value == pytest.approx(area, abs=1e-12)
    else:
        assert math.isnan(value)


@given(rows, st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 3), Fraction(1, 2), Fraction(1)]))
def test_ccr_at_fpr_is_the_best_of_all_taus_that_keep_the_rate(drawn: Rows, fpr: Fraction) -> None:
    """It equals a search over all thresholds, counted in whole queries."""
    known, correct, open_set = parts(drawn)
    value = metrics.ccr_at_fpr(known, correct, open_set, float(fpr))

    if known and open_set:
        shares = [
            sum(c >= tau and right for c, right in zip(known, correct, strict=True)) / len(known)
            for tau in [*known, *open_set, math.inf]
            if Fraction(sum(c >= tau for c in open_set), len(open_set)) <= fpr
        ]
        assert value == pytest.approx(max(shares), abs=1e-12)
    else:
        assert math.isnan(value)


def test_ccr_at_fpr_counts_as_shares_are_written() -> None:
    """At 0.29 of 100 open-set queries 29 may be accepted, although 0.29 * 100 is less in floats."""
    open_set = np.arange(100) / 100  # 29 of them are at 0.71 and above

    assert metrics.ccr_at_fpr([0.705], [True], open_set, 0.29) == 1
    assert metrics.ccr_at_fpr([0.705], [True], open_set, 0.28) == 0


def openood_fpr95(known: list[float], open_set: list[float]) -> float:
    """OpenOOD's number: the first corner of the ROC curve with open-set queries as positives that detects 95 %."""
    values = sorted({*known, *open_set})
    curve = [(0, 0), *((sum(k <= v for k in known), sum(o <= v for o in open_set)) for v in values)]
    corners = [
        here
        for before, here, after in zip([None, *curve[:-1]], curve, [*curve[1:], None], strict=True)
        if before is None
        or after is None
        or (here[0] - before[0], here[1] - before[1]) != (after[0] - here[0], after[1] - here[1])
    ]
    return next(fp / len(known) for fp, tp in corners if tp / len(open_set) >= 0.95)


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60), min_size=1))
def test_fpr95_open_set_is_the_number_of_openood_where_the_kinds_are_not_tied(known: set[int], other: set[int]) -> None:
    """Without a known and an open-set query of one confidence, leaving out points between corners changes nothing."""
    open_set = [value + 0.5 for value in other]
    expected = openood_fpr95([*map(float, known)], open_set)

    assert metrics.fpr95_open_set([*known], open_set) == pytest.approx(expected, abs=1e-12)


def test_fpr95_open_set_is_exact_where_openood_skips_points_of_a_slope() -> None:
    """Twenty ties of one known and one open-set query make a straight curve: the exact number is 0.95, theirs 1."""
    values = [float(value) for value in range(20)]

    assert metrics.fpr95_open_set(values, values) == 0.95
    assert openood_fpr95(values, values) == 1


def test_refusals_say_what_must_hold() -> None:
    """A correct open-set query, fewer positives than queries, and a rate that is no share are one line each."""
    with pytest.raises(OptionError, match=r"^an open-set query must not be correct, got 1 that are$"):
        metrics.gap_in_order([0.5, 0.4], [True, False], [True, False])
    for metric in metrics.recall_at_100_precision, metrics.auc_pr:
        with pytest.raises(
            OptionError, match=r"^positives must be at least as many as the known queries given, 2, got"
        ):
            metric([0.5, 0.4], [True, False], positives=1)
    with pytest.raises(OptionError, match=r"^fpr must be between 0 and 1, got 1.5$"):
        metrics.ccr_at_fpr([0.5], [True], [0.1], 1.5)
    with pytest.raises(OptionError, match=r"^fpr must be between 0 and 1, got nan$"):
        metrics.ccr_at_fpr([0.5], [True], [0.1], math.nan)
