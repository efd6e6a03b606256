"""The protocol of revisited Oxford and Paris (Radenović et al., 2018): three setups, junk, trapezoids.

The behaviour is that of filipradenovic/revisitop ``python/evaluate.py`` and ``python/example_evaluate.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placewise.errors import OptionError
from placewise.metrics.ranks import Ranks, check_k, count_positives, mean_of_evaluated

Setup = Literal["easy", "medium", "hard"]
"""Which photos are right: the easy ones, easy and hard ones, or the hard ones."""


def _none() -> Ranks:
    return np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class GradedRanks:
    """Where one query's graded photos are in its ranking: 1-based ranks, each ascending, disjoint.

    Attributes:
        easy: of the photos that show the place clearly.
        hard: of those that show it badly.
        junk: of those that show it hardly; they count neither way.
        easy_positives: how many easy photos there are, where the ranking was cut; None if all are ranked.
        hard_positives: how many hard ones, likewise.
    """

    easy: Ranks = field(default_factory=_none)
    hard: Ranks = field(default_factory=_none)
    junk: Ranks = field(default_factory=_none)
    easy_positives: int | None = None
    hard_positives: int | None = None

    def split(self, setup: Setup) -> tuple[Ranks, Ranks, int]:
        """The ranks that are right in a setup, those to remove as junk, and how many right photos there are.

        easy: right = easy, junk = junk + hard; medium: right = easy + hard, junk = junk; hard: right = hard, junk =
        junk + easy.

        Raises:
            OptionError: if there is no such setup.
        """
        easy = self.easy.size if self.easy_positives is None else self.easy_positives
        hard = self.hard.size if self.hard_positives is None else self.hard_positives
        if setup == "easy":
            return self.easy, _merged(self.junk, self.hard), easy
        if setup == "medium":
            return _merged(self.easy, self.hard), self.junk, easy + hard
        if setup == "hard":
            return self.hard, _merged(self.junk, self.easy), hard
        message = f"setup must be one of {', '.join(get_args(Setup))}, got {setup!r}"
        raise OptionError(message)


@dataclass(frozen=True, slots=True, eq=False)
class RevisitedScores:
    """One setup's scores of Q queries; NaN for a query without a right photo.

    Attributes:
        average_precisions: ``(Q,)``, of each query.
        precisions: for each k, ``(Q,)``: mP@k of each query.
    """

    average_precisions: NDArray[np.float64]
    precisions: dict[int, NDArray[np.float64]]

    @property
    def evaluated(self) -> int:
        """How many queries have a right photo; the others are left out."""
        return int(np.sum(~np.isnan(self.average_precisions)))

    @property
    def mean_average_precision(self) -> float:
        """The mAP of the setup; NaN when no query is evaluated."""
        return mean_of_evaluated(self.average_precisions)

    @property
    def mean_precisions(self) -> dict[int, float]:
        """mP@k for each k; NaN when no query is evaluated."""
        return {k: mean_of_evaluated(values) for k, values in self.precisions.items()}


def revisited_scores(
    queries: Sequence[GradedRanks], setup: Setup, *, ks: Sequence[int] = (1, 5, 10)
) -> RevisitedScores:
    """Score one setup: AP of each query by trapezoids, and mP@k.

    Raises:
        OptionError: if there is no such setup, or a k is below 1.

    >>> query = GradedRanks(easy=np.array([2]), hard=np.array([1, 5]), junk=np.array([3]))
    >>> [round(revisited_scores([query], setup).mean_average_precision, 3) for setup in ("easy", "medium", "hard")]
    [1.0, 0.903, 0.792]
    """
    parts = [query.split(setup) for query in queries]
    precisions = [revisited_average_precision(ok, junk, positives=count) for ok, junk, count in parts]
    at_k = {
        k: np.array([revisited_precision_at_k(ok, junk, k, positives=count) for ok, junk, count in parts], float)
        for k in ks
    }
    return RevisitedScores(np.array(precisions, dtype=np.float64), at_k)


def revisited_average_precision(ok_ranks: Ranks, junk_ranks: Ranks, *, positives: int | None = None) -> float:
    """Average precision by trapezoids after junk is removed, AP = Σ_j (P0 + P1) / (2n).

    With the zero-based rank r of the j-th positive (j from 0) among what is not junk: P0 = j / r, which is 1 at r = 0,
    and P1 = (j + 1) / (r + 1). It is another number than `average_precision`: positives at ranks 1 and 3 of n = 3 give
    0.528 here and 0.556 there. NaN without positives.

    Args:
        ok_ranks: the 1-based ranks of the positives, ascending, ``(P,)``.
        junk_ranks: the 1-based ranks of the junk, ascending, ``(J,)``.
        positives: n, where the ranking was cut.

    Raises:
        OptionError: if positives are fewer than the ranks.

    >>> none = np.array([], dtype=int)
    >>> round(revisited_average_precision(np.array([1, 3]), none, positives=3), 3)
    0.528
    >>> revisited_average_precision(np.array([2]), np.array([1]))
    1.0
    """
    count = count_positives(ok_ranks, positives)
    if not count:
        return math.nan
    ranks = _without_junk(ok_ranks, junk_ranks) - 1
    order = np.arange(ranks.size)
    before = np.where(ranks == 0, 1.0, order / np.maximum(ranks, 1))
    after = (order + 1) / (ranks + 1)
    return float(np.sum(before + after)) / (2 * count)


def revisited_precision_at_k(ok_ranks: Ranks, junk_ranks: Ranks, k: int, *, positives: int | None = None) -> float:
    """Precision of the first k' after junk is removed, k' = min(rank of the last positive, k).

    So a query with fewer than k positives can still reach 1. NaN without positives; 0 when there are some and none is
    ranked, where the cited code has no answer.

    Raises:
        OptionError: if k is below 1, or positives are fewer than the ranks.

    >>> revisited_precision_at_k(np.array([1, 3]), np.array([2]), 10)
    1.0
    """
    check_k(k)
    if not count_positives(ok_ranks, positives):
        return math.nan
    if not ok_ranks.size:
        return 0.0
    ranks = _without_junk(ok_ranks, junk_ranks)
    first = min(int(ranks[-1]), k)
    return int(np.sum(ranks <= first)) / first


def _without_junk(ok_ranks: Ranks, junk_ranks: Ranks) -> Ranks:
    """Each positive moves up by as many junk photos as come before it."""
    return ok_ranks - np.searchsorted(junk_ranks, ok_ranks, side="left")


def _merged(first: Ranks, second: Ranks) -> Ranks:
    return np.sort(np.concatenate([first, second]))
