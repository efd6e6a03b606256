"""Which places are recognised, and which are taken for one another."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placewise.evaluation import QueryResult

MATRIX_PLACES = 24
"""A matrix with more columns or more than twice as many rows is no longer read, but searched."""


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """What became of the queries of one place.

    Attributes:
        place: its label.
        open_set: whether it is missing from the gallery.
        queries: how many.
        recall_at_1: share with a positive on top; NaN for an open-set place.
        map: mean average precision over all positives; NaN for an open-set place.
        accepted: queries answered KNOWN; None where nothing is decided.
        accepted_right: queries answered KNOWN and right; None likewise.
        confused_with: the other place that would most often be answered, whatever tau; None where there is none.
        confused: how often.
    """

    place: str
    open_set: bool
    queries: int
    recall_at_1: float
    map: float
    accepted: int | None
    accepted_right: int | None
    confused_with: str | None
    confused: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Queries of one place that were answered with another.

    Attributes:
        place: theirs.
        answered: the place that was answered instead.
        open_set: whether theirs is missing from the gallery, so that UNKNOWN was right.
        queries: how many.
    """

    place: str
    answered: str
    open_set: bool
    queries: int


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """What was answered to the queries of each place.

    Attributes:
        rows: places of queries, those of the gallery first, in the order of the alphabet.
        columns: places that were answered or asked for, in the order of the alphabet.
        counts: ``(rows, columns + 1)`` int64; the last column is UNKNOWN.
        known: how many of the rows are places of the gallery; the first ``known`` columns need not be theirs.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]
    known: int


def place_rows(results: Sequence[QueryResult], tau: float) -> tuple[PlaceRow, ...]:
    """One row a place: of the gallery's the least recalled first, then the open-set ones, the most accepted first."""
    grouped = _by_place(results)
    rows = [_row(place, asked, tau, open_set=open_set) for (place, open_set), asked in grouped.items()]
    return tuple(sorted(rows, key=_worst_first))


def confusions_of(results: Sequence[QueryResult], tau: float) -> tuple[Confusion, ...]:
    """What was answered instead of the right thing at tau, the most frequent first."""
    counted = Counter(
        (result.query.place, result.place, result.open_set is True)
        for result in results
        if result.open_set is not None and result.confidence >= tau and not result.correct
    )
    pairs = [
        Confusion(place, answered, open_set, queries)
        for (place, answered, open_set), queries in counted.items()
        if place is not None and answered is not None
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.queries, pair.place, pair.answered)))


def matrix_of(results: Sequence[QueryResult], tau: float) -> Matrix | None:
    """The matrix of confusions; None where it is too large to be read, or empty."""
    grouped = _by_place(results)
    known, strange = ([key for key in sorted(grouped) if key[1] is open_set] for open_set in (False, True))
    answered = {result.place for asked in grouped.values() for result in asked if result.confidence >= tau}
    columns = sorted(answered.union(place for place, _ in known) - {None}, key=str)
    rows = known + strange
    if not rows or len(columns) > MATRIX_PLACES or len(rows) > 2 * MATRIX_PLACES:
        return None
    column_of = {place: number for number, place in enumerate(columns)}
    counts = np.zeros((len(rows), len(columns) + 1), dtype=np.int64)
    for number, key in enumerate(rows):
        for result in grouped[key]:
            counts[number, column_of.get(result.place, -1) if result.confidence >= tau else -1] += 1
    return Matrix(tuple(place for place, _ in rows), tuple(str(place) for place in columns), counts, len(known))


def _by_place(results: Sequence[QueryResult]) -> dict[tuple[str, bool], list[QueryResult]]:
    """The scored queries of each label, those that are open-set apart."""
    grouped: defaultdict[tuple[str, bool], list[QueryResult]] = defaultdict(list)
    for result in results:
        if result.open_set is not None and result.query.place is not None:
            grouped[result.query.place, result.open_set].append(result)
    return grouped


def _row(place: str, asked: Sequence[QueryResult], tau: float, *, open_set: bool) -> PlaceRow:
    ranks = [result.positive_ranks for result in asked]
    accepted = [result for result in asked if result.confidence >= tau]
    others = Counter(result.place for result in asked if result.place not in {None, place} and not result.correct)
    confused_with, confused = min(others.items(), key=lambda item: (-item[1], str(item[0])), default=(None, 0))
    return PlaceRow(
        place=place,
        open_set=open_set,
        queries=len(asked),
        recall_at_1=math.nan if open_set else metrics.recall_at_k(ranks, 1),
        map=math.nan if open_set else metrics.mean_average_precision(ranks),
        accepted=None if math.isnan(tau) else len(accepted),
        accepted_right=None if math.isnan(tau) else sum(result.correct for result in accepted),
        confused_with=confused_with,
        confused=confused,
    )


def _worst_first(row: PlaceRow) -> tuple[bool, float, float, str]:
    if row.open_set:
        return True, -(row.accepted or 0) / row.queries, 0.0, row.place
    return False, row.recall_at_1, row.map, row.place
