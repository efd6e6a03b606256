"""Metrics against naive references, under ties, with empty and single-class input."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise import metrics
from placewise.errors import OptionError

# Few distinct values, so that ties are the rule and not the exception.
confidences = st.lists(st.sampled_from([-0.25, 0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12)
answers = st.tuples(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=10),
    st.lists(st.sampled_from([-0.25, 0.25, 0.5, 1.0]), max_size=8),
)
"""Known queries, each a confidence and whether its place is right, and the confidences of open-set ones."""


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


def naive_steps(known: list[tuple[float, bool]], open_set: list[float]) -> list[tuple[int, float, int, int]]:
    """For each query: how many are as confident or more, its confidence, how many of those are right, and is it."""
    queries = [*known, *((confidence, False) for confidence in open_set)]
    return [
        (
            sum(other >= confidence for other, _ in queries),
            confidence,
            sum(right for other, right in queries if other >= confidence),
            int(right_here),
        )
        for confidence, right_here in queries
    ]


@given(answers)
def test_gap_is_the_precision_at_each_right_answer_over_the_known_queries(
    drawn: tuple[list[tuple[float, bool]], list[float]],
) -> None:
    """GAP equals a loop over queries in which a tied group has the precision at its end; NaN without known ones."""
    known, open_set = drawn
    value = metrics.gap([c for c, _ in known], [right for _, right in known], open_set)
    terms = [right / accepted for accepted, _, right, here in naive_steps(known, open_set) if here]

    if known:
        assert value == pytest.approx(sum(terms) / len(known), abs=1e-12)
    else:
        assert math.isnan(value)


@given(answers, st.randoms(use_true_random=False))
def test_gap_and_risk_do_not_depend_on_the_order_of_queries(
    drawn: tuple[list[tuple[float, bool]], list[float]], random: Random
) -> None:
    """Shuffled queries give the very same floats, although most confidences are tied."""
    known, open_set = drawn
    mixed, mixed_open = random.sample(known, len(known)), random.sample(open_set, len(open_set))
    first = [c for c, _ in known], [right for _, right in known], open_set
    second = [c for c, _ in mixed], [right for _, right in mixed], mixed_open

    np.testing.assert_array_equal(metrics.gap(*first), metrics.gap(*second))
    for name in "coverage", "risk", "area":
        np.testing.assert_array_equal(
            getattr(metrics.risk_coverage(*first), name), getattr(metrics.risk_coverage(*second), name)
        )


def test_gap_without_ties_walks_down_the_list() -> None:
    """Right, open-set, right, wrong: (1/1 + 2/3) over three known queries; the open-set one costs 1/9."""
    known, correct = [0.9, 0.7, 0.6], [True, True, False]

    assert metrics.gap(known, correct, [0.8]) == pytest.approx((1 + 2 / 3) / 3)
    assert metrics.gap(known, correct, []) == pytest.approx((1 + 1) / 3)


@given(answers)
def test_risk_coverage_equals_a_loop_over_thresholds(drawn: tuple[list[tuple[float, bool]], list[float]]) -> None:
    """One point per distinct confidence, and an area that is the mean over queries of the risk at their step's end."""
    known, open_set = drawn
    curve = metrics.risk_coverage([c for c, _ in known], [right for _, right in known], open_set)
    steps = naive_steps(known, open_set)
    points = sorted({(accepted, 1 - right / accepted) for accepted, _, right, _ in steps})

    assert curve.coverage.tolist() == pytest.approx([accepted / len(steps) for accepted, _ in points])
    assert curve.risk.tolist() == pytest.approx([risk for _, risk in points], abs=1e-12)
    if steps:
        mean = sum(1 - right / accepted for accepted, _, right, _ in steps) / len(steps)
        assert curve.area == pytest.approx(mean, abs=1e-12)
    else:
        assert math.isnan(curve.area)


@given(confidences, confidences)
def test_fpr95_open_set_is_the_least_false_alarm_rate_that_flags_95_percent(
    known: list[float], open_set: list[float]
) -> None:
    """It equals a search over all taus just above a value for the smallest that flags 95 % of the open-set queries."""
    rates = [
        sum(k < tau for k in known) / len(known)
        for tau in (math.nextafter(value, math.inf) for value in {*known, *open_set})
        if 100 * sum(value < tau for value in open_set) >= 95 * len(open_set)
    ]

    assert metrics.fpr95_open_set(known, open_set) == pytest.approx(min(rates), abs=1e-12)


def test_fpr95_open_set_counts_in_whole_queries_and_is_another_number_than_fpr95() -> None:
    """Of 20 open-set queries 19 are enough, of 21 it takes 20; and the two conventions differ on the same data."""
    assert metrics.fpr95_open_set([0.5], [0.9, *[0.1] * 19]) == 0
    assert metrics.fpr95_open_set([0.5], [0.9, 0.9, *[0.1] * 19]) == 1
    assert metrics.fpr95([0.9, 0.1], [0.5]) == 1
    assert metrics.fpr95_open_set([0.9, 0.1], [0.5]) == 0.5


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30), st.sampled_from([1, 2, 4, 8]))
def test_reliability_equals_a_loop_over_bins(drawn: list[tuple[float, bool]], bins: int) -> None:
    """Counts, means and ECE per bin [low, high), the last one closed, as the definition reads."""
    diagram = metrics.reliability([p for p, _ in drawn], [right for _, right in drawn], bins=bins)
    error = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(p, right) for p, right in drawn if low <= p < high or (number == bins - 1 and p == 1)]
        assert diagram.count[number] == len(inside)
        if inside:
            mean, share = (sum(column) / len(inside) for column in zip(*inside, strict=True))
            assert diagram.confidence[number] == pytest.approx(mean, abs=1e-12)
            assert diagram.accuracy[number] == pytest.approx(share)
            error += len(inside) / len(drawn) * abs(share - mean)
        else:
            assert math.isnan(diagram.confidence[number])
            assert math.isnan(diagram.accuracy[number])

    assert diagram.edges.tolist() == [number / bins for number in range(bins + 1)]
    assert diagram.ece == pytest.approx(error, abs=1e-12) if drawn else math.isnan(diagram.ece)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_reliability_refuses_what_is_no_probability(value: float) -> None:
    """Probabilities outside 0 to 1 and NaN are errors."""
    with pytest.raises(OptionError):
        metrics.reliability([0.5, value], [True, True])


def test_new_metrics_are_nan_where_undefined() -> None:
    """FPR95 needs both classes and GAP a known query; with open-set queries alone every accepted answer is wrong."""
    for known, open_set in ([], [0.5]), ([0.5], []):
        assert math.isnan(metrics.fpr95_open_set(known, open_set))
    assert math.isnan(metrics.gap([], [], [0.5]))
    assert metrics.risk_coverage([], [], [0.5, 0.4]).area == 1


def test_public_names_are_sorted_and_there() -> None:
    """Every name in ``__all__`` can be imported from the package, and they stand in order."""
    assert sorted(metrics.__all__) == metrics.__all__
    assert all(hasattr(metrics, name) for name in metrics.__all__)


def test_outcomes_must_be_one_for_each_confidence() -> None:
    """A list of another length is refused, also one of length 1, which numpy would stretch over all queries."""
    for metric in metrics.gap, metrics.oscr, metrics.risk_coverage:
        with pytest.raises(OptionError, match=r"one per confidence, shape \(2,\), got shape \(1,\)$"):
            metric([0.5, 0.6], [True], [0.1])
    with pytest.raises(OptionError, match="one per confidence"):
        metrics.wrong_place_rate([0.5, 0.6], [True], 0.1)
    with pytest.raises(OptionError, match="one per confidence"):
        metrics.reliability([0.5, 0.6], [True])


@given(st.integers(0, 100), st.sampled_from([3, 7, 10, 20, 100]))
def test_a_probability_lies_within_the_edges_of_its_bin(percent: int, bins: int) -> None:
    """Round probabilities such as 0.3 lie in the bin whose edges enclose them, and multiples of 1/bins begin one."""
    diagram = metrics.reliability([percent / 100], [True], bins=bins)
    number = int(np.flatnonzero(diagram.count)[0])

    assert number == min(percent * bins // 100, bins - 1)
    assert diagram.edges[number] <= percent / 100 <= diagram.edges[number + 1]


def test_reliability_refuses_fewer_than_one_bin() -> None:
    """No bins is an error in one line."""
    with pytest.raises(OptionError, match=r"^bins must be at least 1, got 0$"):
        metrics.reliability([0.5], [True], bins=0)
