"""Similarities → ranked photos and places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.core import Answer, Hit

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.core import Photo
    from placewise.openset import Verdict


def answer(
    ids: NDArray[np.int64],
    similarities: NDArray[np.float32],
    photo: Callable[[int], Photo],
    verdict: Verdict,
    *,
    k: int,
    tau: float | None,
) -> Answer:
    """Put an answer together from one row of search results and what a rule says of it.

    Args:
        ids: ``(H,)`` best first.
        similarities: ``(H,)`` descending.
        photo: gives the photo of an id.
        verdict: what the rule says.
        k: hits that the answer shows.
        tau: what the rule compared with.
    """
    names_place = verdict.known is not False and verdict.hit >= 0
    return Answer(
        known=verdict.known,
        place=photo(int(ids[verdict.hit])).place if names_place else None,
        confidence=verdict.confidence,
        hits=tuple(
            Hit(photo(int(row)), float(similarity)) for row, similarity in zip(ids[:k], similarities[:k], strict=True)
        ),
        reason=verdict.reason,
        tau=tau,
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
