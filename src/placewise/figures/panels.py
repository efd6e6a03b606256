"""The queries that are worth looking at, with the hits to show beside each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placewise.figures.outcomes import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placewise.core import Hit, Photo
    from placewise.evaluation import QueryResult
    from placewise.figures.outcomes import Outcome

MOST = 8
"""Queries shown of each kind of mistake."""

HITS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit beside its query.

    Attributes:
        rank: from 1.
        hit: the gallery photo; None where only its rank was kept.
        right: whether it is right; None where it counts neither for nor against.
        matches: (x0, y0, x1, y1) of matched keypoints in the query and in the hit, as shares of width and height.
    """

    rank: int
    hit: Hit | None
    right: bool | None
    matches: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """The queries of one outcome.

    Attributes:
        heading: what they have in common.
        explanation: in a sentence, and in which order they come.
        count: how many there are.
        queries: the first of them with their hits.
    """

    heading: str
    explanation: str
    count: int
    queries: tuple[tuple[QueryResult, tuple[Shown, ...]], ...]

    @property
    def photos(self) -> Iterator[Photo]:
        """Every photo that is shown."""
        for result, hits in self.queries:
            yield result.query
            yield from (shown.hit.photo for shown in hits if shown.hit)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which queries a panel shows, and whether the most confident come first."""

    outcome: Outcome
    heading: str
    explanation: str
    descending: bool = True
    most: int = MOST


_DECIDED = (
    _Kind("wrong place", "Wrong place", "Known queries that were accepted and are wrong, the most confident first."),
    _Kind("false accept", "False accepts", "Open-set queries answered KNOWN, the most confident first."),
    _Kind("false reject", "False rejects", "Known queries answered UNKNOWN, the least confident first.", False),
    _Kind(
        "right", "Right and sure", "Known queries that were accepted and are right, the most confident first.", most=3
    ),
)

_UNDECIDED = (
    _Kind("wrong place", "Confident and wrong", "Known queries whose best hit is wrong, the most confident first."),
    _Kind(
        "open-set",
        "Open-set queries that look known",
        "Queries to which nothing in the gallery is right, the most confident first.",
    ),
    _Kind("right", "Right and unsure", "Known queries whose best hit is right, the least confident first.", False, 4),
)


def panels_of(results: Sequence[QueryResult], tau: float) -> tuple[Panel, ...]:
    """One panel for each outcome worth looking at; where nothing is decided, for what any threshold would get wrong.

    Args:
        results: the queries.
        tau: below it an answer is UNKNOWN; NaN where nothing is decided.
    """
    return tuple(_panel(kind, results, tau) for kind in (_UNDECIDED if math.isnan(tau) else _DECIDED))


def _panel(kind: _Kind, results: Sequence[QueryResult], tau: float) -> Panel:
    of_kind = sorted(
        (result for result in results if outcome(result, tau) == kind.outcome),
        key=lambda result: result.confidence,
        reverse=kind.descending,
    )
    shown = tuple((result, hits_shown(result)) for result in of_kind[: kind.most])
    return Panel(kind.heading, kind.explanation, len(of_kind), shown)


def hits_shown(result: QueryResult, most: int = HITS_SHOWN) -> tuple[Shown, ...]:
    """The first hits, and the first right one where it is not among them."""
    positives = set(result.positive_ranks.tolist())
    first = min(positives, default=0)
    later = first >= most
    best = result.hits[: most - later]
    junk = dict(enumerate(result.junk, 1))
    shown = [Shown(rank, hit, None if junk.get(rank, False) else rank in positives) for rank, hit in enumerate(best, 1)]
    if later:
        kept = result.hits[first - 1] if first <= len(result.hits) else result.first_right
        shown.append(Shown(first, kept, right=True))
    return tuple(shown)
