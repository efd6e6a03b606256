"""Queries on which two models disagree: where one is right and the other is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placewise.core import Photo
    from placewise.evaluation import QueryResult

MOST = 6
"""Queries shown of each kind."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Queries that one model gets right and the other does not.

    Attributes:
        right: the name of the one.
        wrong: the name of the other.
        count: how many there are.
        pairs: (the one's result, the other's) of the first, where the other is the most confident.
    """

    right: str
    wrong: str
    count: int
    pairs: tuple[tuple[QueryResult, QueryResult], ...]

    @property
    def photos(self) -> Iterator[Photo]:
        """Every photo that is shown."""
        for pair in self.pairs:
            yield pair[0].query
            yield from (result.answered.photo for result in pair if result.answered)


def disagreements_of(
    names: tuple[str, str], first: Sequence[QueryResult], second: Sequence[QueryResult]
) -> tuple[Disagreement, Disagreement]:
    """What the second model gains, then what it loses.

    Args:
        names: of the two.
        first: the first's results.
        second: the second's, of the same queries in any order.
    """
    other = {result.query.path: result for result in second}
    pairs = [(result, other[result.query.path]) for result in first if result.open_set is False]
    return (
        _disagreement(names[1], names[0], [(b, a) for a, b in pairs]),
        _disagreement(names[0], names[1], pairs),
    )


def _disagreement(right: str, wrong: str, pairs: Sequence[tuple[QueryResult, QueryResult]]) -> Disagreement:
    apart = [pair for pair in pairs if pair[0].correct and not pair[1].correct]
    apart.sort(key=lambda pair: -pair[1].confidence)
    return Disagreement(right, wrong, len(apart), tuple(apart[:MOST]))
