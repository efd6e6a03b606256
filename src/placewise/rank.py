"""Similarities → ranked photos and places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.core import Answer, Hit
from placewise.openset import is_known

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.core import Photo


def answer(
    ids: NDArray[np.int64], similarities: NDArray[np.float32], photo: Callable[[int], Photo], *, tau: float | None
) -> Answer:
    """Read an answer off one row of search results.

    The place is the best hit's, the confidence its similarity.

    Args:
        ids: ``(k,)`` best first.
        similarities: ``(k,)`` descending.
        photo: gives the photo of an id.
        tau: below it the answer is UNKNOWN; None makes no decision.
    """
    hits = tuple(Hit(photo(int(row)), float(similarity)) for row, similarity in zip(ids, similarities, strict=True))
    if not hits:
        # An empty gallery knows no place, whatever the threshold.
        return Answer(known=None if tau is None else False, place=None, confidence=None, hits=())
    best = hits[0]
    known = None if tau is None else is_known(best.similarity, tau)
    return Answer(
        known=known, place=None if known is False else best.photo.place, confidence=best.similarity, hits=hits
    )


def positive_ranks(ids: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.int64]:
    """The 1-based ranks of the positives in a complete ranking, ascending.

    Args:
        ids: all gallery ids ``(N,)``, best first; ties are in the order the search gives, which is that of the ids.
        positives: the ids of the query's positives.

    >>> positive_ranks(np.array([7, 3, 5]), np.array([5, 7]))
    array([1, 3])
    """
    return np.flatnonzero(np.isin(ids, positives)) + 1
