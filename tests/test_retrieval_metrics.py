"""Metrics of rankings against naive references on lists of predicted photos, cut and uncut, with repeated ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import metrics
from placewise.errors import OptionError

rankings = st.lists(st.booleans(), min_size=1, max_size=30)
cut = st.tuples(st.lists(st.booleans(), max_size=20), st.integers(0, 5))
"""A ranking that was cut, and how many positives come after the cut."""
predictions = st.tuples(st.lists(st.sampled_from("abcdefgh"), max_size=15), st.sets(st.sampled_from("abcdxyz")))
"""Predicted photos, some of them repeated, and the positives, some of them not predicted."""
NONE = np.array([], dtype=np.int64)


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


@given(st.lists(cut, max_size=8), st.integers(1, 25))
def test_recall_counts_tell_misses_from_queries_without_positives(
    queries: list[tuple[list[bool], int]], k: int
) -> None:
    """Both policies equal a count by hand; a query whose positives were cut off is a miss, not one without any."""
    ranks = [ranks_of(relevant) for relevant, _ in queries]
    numbers = [sum(relevant) + more for relevant, more in queries]
    found = sum(any(relevant[:k]) for relevant, _ in queries)
    with_positives = sum(number > 0 for number in numbers)
    counts = metrics.recall_counts(ranks, k, positives=numbers)

    assert counts == metrics.RecallCounts(found, with_positives - found, len(queries) - with_positives)
    for policy, total in ("miss", len(queries)), ("drop", with_positives):
        value = metrics.recall_at_k(ranks, k, without_positives=policy, positives=numbers)  # type: ignore[arg-type]
        assert value == pytest.approx(found / total, abs=1e-12) if total else math.isnan(value)


@given(cut)
def test_average_precision_of_a_cut_ranking_counts_what_was_cut_off(query: tuple[list[bool], int]) -> None:
    """Positives beyond the cut add nothing to the sum and count in its divisor."""
    relevant, more = query
    value = metrics.average_precision(ranks_of(relevant), positives=sum(relevant) + more)

    if sum(relevant) + more == 0:
        assert math.isnan(value)
    else:
        terms = [sum(relevant[: i + 1]) / (i + 1) for i, hit in enumerate(relevant) if hit]
        assert value == pytest.approx(sum(terms) / (sum(relevant) + more), abs=1e-12)


@given(predictions)
def test_ranks_of_are_the_places_where_positives_first_occur(drawn: tuple[list[str], set[str]]) -> None:
    """A repeated prediction counts once, where it comes first, and still takes up its positions."""
    predicted, positives = drawn
    expected = [i + 1 for i, photo in enumerate(predicted) if photo in positives and photo not in predicted[:i]]

    assert metrics.ranks_of(positives, predicted).tolist() == expected


@given(st.lists(predictions, max_size=6), st.integers(1, 12))
def test_map_at_k_follows_google_landmarks_with_repeated_and_missing_predictions(
    queries: list[tuple[list[str], set[str]]], k: int
) -> None:
    """For each position up to k a first-time hit adds its precision; divided by min(n, k), averaged over solutions."""
    scores = []
    for predicted, positives in queries:
        right, score = set(), 0.0
        for position, photo in enumerate(predicted[:k], start=1):
            if photo in positives and photo not in right:
                right.add(photo)
                score += len(right) / position
        if positives:
            scores.append(score / min(len(positives), k))
    value = metrics.mean_average_precision_at_k(
        [metrics.ranks_of(positives, predicted) for predicted, positives in queries],
        k,
        positives=[len(positives) for _, positives in queries],
    )

    assert value == pytest.approx(sum(scores) / len(scores), abs=1e-12) if scores else math.isnan(value)


@given(st.lists(cut, max_size=6))
def test_map_at_r_stops_at_as_many_photos_as_there_are_positives(queries: list[tuple[list[bool], int]]) -> None:
    """MAP@R sums precisions at positives among the first R, divides by R, and leaves out queries without positives."""
    scores = []
    for relevant, more in queries:
        r = sum(relevant) + more
        terms = [sum(relevant[: i + 1]) / (i + 1) for i in range(min(r, len(relevant))) if relevant[i]]
        if r:
            scores.append(sum(terms) / r)
    value = metrics.mean_average_precision_at_r(
        [ranks_of(relevant) for relevant, _ in queries], positives=[sum(relevant) + more for relevant, more in queries]
    )

    assert value == pytest.approx(sum(scores) / len(scores), abs=1e-12) if scores else math.isnan(value)


def test_four_conventions_of_average_precision_on_one_ranking() -> None:
    """Positives at ranks 1 and 3 of 3: finite sum 0.556, trapezoids 0.528, at k = 2 a half, at R = 3 0.556.

    A fourth positive at rank 5 tells at R from the finite sum.
    """
    ranks = np.array([1, 3])

    assert metrics.average_precision(ranks, positives=3) == pytest.approx((1 + 2 / 3) / 3)
    assert metrics.revisited_average_precision(ranks, NONE, positives=3) == pytest.approx((2 + 1 / 2 + 2 / 3) / 6)
    assert metrics.average_precision_at_k(ranks, 2, positives=3) == 0.5
    assert metrics.average_precision_at_r(ranks, positives=3) == pytest.approx((1 + 2 / 3) / 3)
    assert metrics.average_precision_at_r(np.array([1, 3, 5]), positives=4) == pytest.approx((1 + 2 / 3) / 4)
    assert metrics.average_precision(np.array([1, 3, 5]), positives=4) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_at_k_divides_by_no_more_than_can_be_found() -> None:
    """With 150 positives and all first 100 right AP@100 is 1; with 2 positives both found first it is 1 too."""
    assert metrics.average_precision_at_k(np.arange(1, 151)) == 1
    assert metrics.average_precision_at_k(np.array([1, 2])) == 1
    assert metrics.average_precision_at_k(np.array([101, 102])) == 0


def test_a_query_without_predictions_scores_zero_and_one_without_positives_is_left_out() -> None:
    """Nothing predicted for a query that has positives is 0, as in the cited code; without positives it is absent."""
    assert metrics.average_precision_at_k(NONE, 100, positives=3) == 0
    assert metrics.average_precision_at_r(NONE, positives=3) == 0
    assert metrics.average_precision(NONE, positives=3) == 0
    assert metrics.mean_average_precision_at_k([np.array([1]), NONE, NONE], 100, positives=[1, 2, 0]) == 0.5
    for metric in metrics.average_precision_at_k, metrics.average_precision_at_r:
        assert math.isnan(metric(NONE))
    assert math.isnan(metrics.mean_average_precision_at_k([]))
    assert math.isnan(metrics.mean_average_precision_at_r([NONE]))


def test_refusals_say_what_must_hold() -> None:
    """Fewer positives than ranks, counts that are not one a query, a k of 0 and another policy are one line each."""
    with pytest.raises(OptionError, match=r"^positives must be at least as many as are ranked, 2, got 1$"):
        metrics.average_precision(np.array([1, 2]), positives=1)
    with pytest.raises(OptionError, match=r"^positives must be one number per query, 1, got 2$"):
        metrics.mean_average_precision([np.array([1])], positives=[1, 2])
    for refused in (
        lambda: metrics.average_precision_at_k(np.array([1]), 0),
        lambda: metrics.revisited_precision_at_k(np.array([1]), NONE, 0),
        lambda: metrics.mean_average_precision_at_k([], 0),
        lambda: metrics.recall_counts([], 0),
    ):
        with pytest.raises(OptionError, match=r"^k must be at least 1, got 0$"):
            refused()
    with pytest.raises(OptionError, match=r'^without_positives must be "miss" or "drop", got \'hit\'$'):
        metrics.recall_at_k([], 1, without_positives="hit")  # type: ignore[arg-type]
