"""Metrics against naive references, under ties, with empty and single-class input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import metrics
from placewise.errors import OptionError

# Few distinct values, so that ties are the rule and not the exception.
confidences = st.lists(st.sampled_from([-0.25, 0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12)
rankings = st.lists(st.booleans(), min_size=1, max_size=30)


def ranks_of(relevant: list[bool]) -> NDArray[np.int64]:
    """1-based ranks of the relevant items."""
    return np.flatnonzero(np.array(relevant)) + 1


def naive_average_precision(relevant: list[bool]) -> float:
    """Mean of precision-at-rank over the ranks of positives, as the definition reads."""
    precisions = [sum(relevant[: i + 1]) / (i + 1) for i, hit in enumerate(relevant) if hit]
    return sum(precisions) / len(precisions)


@given(st.lists(rankings, min_size=1, max_size=8), st.integers(1, 40))
def test_recall_at_k_is_the_share_of_queries_with_a_positive_in_the_first_k(queries: list[list[bool]], k: int) -> None:
    """Recall@K equals the naive count for every k, also beyond the gallery; a query without positives is a miss."""
    expected = sum(any(relevant[:k]) for relevant in queries) / len(queries)

    assert metrics.recall_at_k([ranks_of(relevant) for relevant in queries], k) == pytest.approx(expected, abs=1e-12)


@given(rankings.filter(any))
def test_average_precision_is_the_mean_precision_at_positives(relevant: list[bool]) -> None:
    """AP from ranks equals AP from the definition."""
    assert metrics.average_precision(ranks_of(relevant)) == pytest.approx(naive_average_precision(relevant), abs=1e-12)


def test_average_precision_of_the_worked_example() -> None:
    """Positives at ranks 1 and 3 give (1/1 + 2/3) / 2; with a third at rank 1000 nearly a third less."""
    assert metrics.average_precision(np.array([1, 3])) == pytest.approx(5 / 6)
    assert metrics.average_precision(np.array([1, 3, 1000])) == pytest.approx((1 + 2 / 3 + 3 / 1000) / 3)


def test_map_leaves_out_queries_without_positives() -> None:
    """The mAP is the mean over queries that have a positive; with none it is NaN."""
    empty = np.array([], dtype=int)

    assert metrics.mean_average_precision([np.array([1]), empty, np.array([4])]) == pytest.approx(0.625)
    assert math.isnan(metrics.mean_average_precision([empty]))
    assert math.isnan(metrics.average_precision(empty))


@given(confidences, confidences, st.sampled_from([-1.0, 0.0, 0.25, 0.3, 1.0]))
def test_open_set_counts_equal_a_naive_loop(known: list[float], open_set: list[float], tau: float) -> None:
    """Below tau is UNKNOWN, at tau is KNOWN; precision, recall, F1 and rates follow from the counts."""
    counts = metrics.open_set_counts(known, open_set, tau)
    tp = sum(1 for value in open_set if value < tau)
    fp = sum(1 for value in known if value < tau)

    assert (counts.true_positives, counts.false_positives) == (tp, fp)
    assert (counts.false_negatives, counts.true_negatives) == (len(open_set) - tp, len(known) - fp)
    assert counts.unknown_recall == pytest.approx(tp / len(open_set))
    assert counts.false_accept_rate == pytest.approx(1 - tp / len(open_set))
    assert counts.false_reject_rate == pytest.approx(fp / len(known))
    if tp + fp:
        precision, recall = tp / (tp + fp), tp / len(open_set)
        assert counts.unknown_precision == pytest.approx(precision)
        f1 = 2 * precision * recall / (precision + recall) if tp else 0.0
        assert counts.unknown_f1 == pytest.approx(f1)
    else:
        assert math.isnan(counts.unknown_precision)


@given(confidences, confidences)
def test_auroc_is_the_share_of_won_pairs(known: list[float], open_set: list[float]) -> None:
    """AUROC equals the share of (known, open-set) pairs in the right order, ties one half."""
    pairs = [1.0 if k > o else 0.5 if k == o else 0.0 for k, o in itertools.product(known, open_set)]

    assert metrics.auroc(known, open_set) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(confidences, confidences)
def test_fpr95_is_the_least_false_accept_rate_that_accepts_95_percent(
    known: list[float], open_set: list[float]
) -> None:
    """FPR95 equals a search over all thresholds for the strictest one that accepts 95 % of the known queries."""
    rates = [
        sum(value >= tau for value in open_set) / len(open_set)
        for tau in known
        if 100 * sum(value >= tau for value in known) >= 95 * len(known)
    ]

    assert metrics.fpr95(known, open_set) == pytest.approx(min(rates), abs=1e-12)


@given(st.data())
def test_oscr_is_the_area_under_the_curve_through_all_thresholds(data: st.DataObject) -> None:
    """OSCR equals the trapezoid area of the curve drawn point by point, ties included."""
    known, open_set = data.draw(confidences), data.draw(confidences)
    correct = data.draw(st.lists(st.booleans(), min_size=len(known), max_size=len(known)))
    points = [(0.0, 0.0)]
    for tau in sorted({*known, *open_set}, reverse=True):
        right = sum(k >= tau and c for k, c in zip(known, correct, strict=True)) / len(known)
        points.append((sum(value >= tau for value in open_set) / len(open_set), right))
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points))

    assert metrics.oscr(known, correct, open_set) == pytest.approx(area, abs=1e-12)


def test_perfect_separation_gives_one() -> None:
    """Three against three, perfectly separated: AUROC and OSCR are exactly 1, FPR95 exactly 0."""
    known, open_set = [0.7, 0.8, 0.9], [0.1, 0.2, 0.3]

    assert metrics.auroc(known, open_set) == 1
    assert metrics.oscr(known, [True, True, True], open_set) == 1
    assert metrics.fpr95(known, open_set) == 0


def test_fpr95_counts_in_whole_queries() -> None:
    """Of 20 known queries exactly 19 must be accepted: 0.95 * 20 is not rounded up to 20."""
    known = [0.1, *[0.9] * 19]

    assert metrics.fpr95(known, [0.5]) == 0


@given(confidences, confidences)
def test_wrong_place_rate_counts_accepted_mistakes(known: list[float], values: list[float]) -> None:
    """The wrong-place rate is the share of known queries that are accepted and wrong."""
    correct = [value > 0 for value in itertools.islice(itertools.cycle(values), len(known))]
    expected = sum(k >= 0.25 and not c for k, c in zip(known, correct, strict=True)) / len(known)

    assert metrics.wrong_place_rate(known, correct, 0.25) == pytest.approx(expected)


def test_what_is_undefined_is_nan() -> None:
    """Without queries, or with one class only, metrics are NaN and never a silent 0 or 1."""
    assert math.isnan(metrics.recall_at_k([], 1))
    assert math.isnan(metrics.mean_average_precision([]))
    for known, open_set in ([], [0.5]), ([0.5], []):
        assert math.isnan(metrics.auroc(known, open_set))
        assert math.isnan(metrics.fpr95(known, open_set))
        assert math.isnan(metrics.oscr(known, [True] * len(known), open_set))
    nothing = metrics.open_set_counts([], [], 0.5)
    assert math.isnan(nothing.unknown_f1)
    assert math.isnan(nothing.unknown_recall)
    assert math.isnan(metrics.wrong_place_rate([], [], 0.5))


def test_nan_is_refused() -> None:
    """A NaN confidence or tau is an error, since every comparison with it would silently be false."""
    with pytest.raises(OptionError, match=r"^confidences must be one-dimensional without NaN, got shape \(2,\)$"):
        metrics.auroc([math.nan, 0.5], [0.5])
    with pytest.raises(OptionError, match=r"^tau must be a number, got NaN$"):
        metrics.open_set_counts([0.5], [0.5], math.nan)
    with pytest.raises(OptionError, match=r"^k must be at least 1, got 0$"):
        metrics.recall_at_k([], 0)
