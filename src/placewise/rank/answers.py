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


def answer(  # noqa: PLR0913  # what an answer is made of
    ids: NDArray[np.int64],
    similarities: NDArray[np.float32],
    photo: Callable[[int], Photo],
    verdict: Verdict,
    *,
    named: int | None,
    tau: float | None,
    inliers: NDArray[np.int64] | None = None,
) -> Answer:
    """Put an answer together from one row of search results and what a rule says of it.

    Args:
        ids: ``(k,)`` best first.
        similarities: ``(k,)``, descending where no geometry was verified.
        photo: gives the photo of an id.
        verdict: what the rule says.
        named: the id of the photo that names the place; None where none does.
        tau: what the rule compared with.
        inliers: ``(k,)``, negative where no geometry was verified.
    """
    counts = [None] * len(ids) if inliers is None else [int(count) if count >= 0 else None for count in inliers]
    return Answer(
        known=verdict.known,
        place=None if named is None or verdict.known is False else photo(named).place,
        confidence=verdict.confidence,
        hits=tuple(
            Hit(photo(int(row)), float(similarity), count)
            for row, similarity, count in zip(ids, similarities, counts, strict=True)
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
