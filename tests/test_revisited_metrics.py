"""The revisited protocol against a naive reference that strikes junk off a written-out ranking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import metrics
from placewise.errors import OptionError

graded = st.tuples(
    st.lists(st.sampled_from(["easy", "hard", "junk", "wrong"]), max_size=20), st.integers(0, 3), st.integers(0, 3)
)
"""The grade of each ranked photo, and how many easy and hard ones come after the cut."""
SETUPS: dict[metrics.Setup, tuple[set[str], set[str]]] = {
    "easy": ({"easy"}, {"junk", "hard"}),
    "medium": ({"easy", "hard"}, {"junk"}),
    "hard": ({"hard"}, {"junk", "easy"}),
}


def ranks_of(grades: list[str], grade: str) -> NDArray[np.int64]:
    """1-based ranks of one grade."""
    return np.array([i + 1 for i, each in enumerate(grades) if each == grade], dtype=np.int64)


def graded_ranks(grades: list[str], easy_more: int = 0, hard_more: int = 0) -> metrics.GradedRanks:
    """What the module takes for it."""
    easy, hard, junk = (ranks_of(grades, grade) for grade in ("easy", "hard", "junk"))
    return metrics.GradedRanks(easy, hard, junk, easy.size + easy_more, hard.size + hard_more)


def naive_scores(grades: list[str], setup: metrics.Setup, more: int, k: int) -> tuple[float, float]:
    """AP as the area under precision by recall from before to after each positive, and precision at k'."""
    ok, junk = SETUPS[setup]
    ranking = [grade in ok for grade in grades if grade not in junk]
    total = sum(ranking) + more
    if not total:
        return math.nan, math.nan
    area = 0.0
    for position, right in enumerate(ranking):
        if right:
            before = sum(ranking[:position]) / position if position else 1.0
            after = sum(ranking[: position + 1]) / (position + 1)
            area += (before + after) / 2 / total
    if not any(ranking):
        return 0.0, 0.0
    last = max(i for i, right in enumerate(ranking) if right) + 1
    first = ranking[: min(last, k)]
    return area, sum(first) / len(first)


@given(st.lists(graded, max_size=6), st.sampled_from(sorted(SETUPS)), st.integers(1, 12))
def test_each_setup_equals_trapezoids_on_the_ranking_without_junk(
    queries: list[tuple[list[str], int, int]], setup: metrics.Setup, k: int
) -> None:
    """AP, mP@k, their means and how many queries count equal the written-out ranking; without a right photo NaN."""
    scores = metrics.revisited_scores([graded_ranks(*query) for query in queries], setup, ks=(1, k))
    ok, _ = SETUPS[setup]
    expected = [
        naive_scores(grades, setup, easy * ("easy" in ok) + hard * ("hard" in ok), k) for grades, easy, hard in queries
    ]
    counted = [pair for pair in expected if not math.isnan(pair[0])]

    np.testing.assert_allclose(scores.average_precisions, [ap for ap, _ in expected], atol=1e-12)
    np.testing.assert_allclose(scores.precisions[k], [precision for _, precision in expected], atol=1e-12)
    assert scores.evaluated == len(counted)
    if counted:
        assert scores.mean_average_precision == pytest.approx(sum(ap for ap, _ in counted) / len(counted), abs=1e-12)
        mean = sum(precision for _, precision in counted) / len(counted)
        assert scores.mean_precisions[k] == pytest.approx(mean, abs=1e-12)
    else:
        assert math.isnan(scores.mean_average_precision)
        assert math.isnan(scores.mean_precisions[k])


def test_a_hand_worked_query_in_all_three_setups() -> None:
    """Hard, easy, junk, wrong, hard: easy 1, medium (2 + 2 + 2/3 + 3/4) / 6, hard (2 + 1/2 + 2/3) / 4."""
    query = graded_ranks(["hard", "easy", "junk", "wrong", "hard"])
    values = [metrics.revisited_scores([query], setup).mean_average_precision for setup in ("easy", "medium", "hard")]

    assert values == pytest.approx([1, (2 + 2 + 2 / 3 + 3 / 4) / 6, (2 + 1 / 2 + 2 / 3) / 4])


def test_precision_at_k_looks_no_further_than_the_last_positive() -> None:
    """Two positives at ranks 1 and 2 have mP@10 of 1, not 0.2; at ranks 1 and 4 it is 2/4; at k = 3 1/3."""
    none = np.array([], dtype=np.int64)

    assert metrics.revisited_precision_at_k(np.array([1, 2]), none, 10) == 1
    assert metrics.revisited_precision_at_k(np.array([1, 4]), none, 10) == 0.5
    assert metrics.revisited_precision_at_k(np.array([1, 4]), none, 3) == pytest.approx(1 / 3)


def test_positives_that_are_not_ranked_score_zero_and_none_at_all_is_nan() -> None:
    """A cut ranking without a right photo is 0; a query that has none is left out of the mean."""
    cut = metrics.GradedRanks(easy_positives=2)
    empty = metrics.GradedRanks(junk=np.array([1, 2]))
    scores = metrics.revisited_scores([cut, empty, graded_ranks(["easy"])], "easy")

    np.testing.assert_array_equal(scores.average_precisions, [0, math.nan, 1])
    assert scores.mean_average_precision == 0.5
    assert scores.mean_precisions == {1: 0.5, 5: 0.5, 10: 0.5}
    assert math.isnan(metrics.revisited_scores([], "hard").mean_average_precision)


def test_another_setup_is_refused() -> None:
    """A setup that is none of the three is one line that lists them."""
    with pytest.raises(OptionError, match=r"^setup must be one of easy, medium, hard, got 'Hard'$"):
        metrics.GradedRanks().split("Hard")  # type: ignore[arg-type]
