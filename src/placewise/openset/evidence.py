"""What speaks for the first place of an answer: numbers from the hits and from photos of other places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placewise.core import Embeddings

EVIDENCE = ("similarity", "contrast", "support", "geometry")
"""The columns of the evidence, the last where geometry is verified. All of them grow with what speaks for the place."""

HITS = 20
"""Hits that the evidence is taken from."""

_LEAST_SPREAD = 1e-3
"""Below this a background is constant but for rounding."""


def evidence_of(
    similarities: NDArray[Any],
    places: NDArray[np.int64],
    background: NDArray[Any],
    background_places: NDArray[np.int64],
    geometry: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The evidence of Q queries, and the column of the hit that names each one's place.

    * similarity: of the first hit that has a place.
    * contrast: how many standard deviations that lies above the mean similarity to the background, photos of other
      places; 0 where fewer than two of these are left. Speaker verification normalises its scores against such a
      cohort (Auckenthaler et al., 2000, T-norm): a query that resembles everything proves nothing by resembling one
      place.
    * support: the mean similarity of the first two hits of the place; where the hits show only one photo of it, the
      last hit stands in for the second, since no other photo of the place can be more similar than that.
    * geometry: what the hit that names the place has of it, where it is verified.

    Args:
        similarities: ``(Q, H)`` best first; -inf where there was no hit.
        places: ``(Q, H)`` codes of the hits' places; -1 where a hit has none.
        background: ``(Q, C)`` similarities to photos from all over the gallery; NaN for those to leave out.
        background_places: ``(C,)`` codes of their places.
        geometry: ``(Q, H)`` how surely each hit shows the same as the query, 0 where nothing was verified.

    Returns:
        ``(Q, 3)``, with geometry ``(Q, 4)``, in the order of `EVIDENCE`, NaN where no hit has a place, and ``(Q,)``
        columns, -1 there.
    """
    similarities = np.asarray(similarities, dtype=np.float64)
    if not similarities.size:
        return np.full((len(similarities), 3 if geometry is None else 4), np.nan), np.full(len(similarities), -1)
    has_place = (places >= 0) & np.isfinite(similarities)
    column = np.where(has_place.any(axis=1), has_place.argmax(axis=1), -1)
    rows = np.arange(len(similarities))
    best, named = similarities[rows, column], places[rows, column]
    of_place = has_place & (places == named[:, None])
    place_rank = np.cumsum(of_place, axis=1)
    second = np.where(of_place & (place_rank == 2), similarities, -np.inf).max(axis=1)
    last = np.where(np.isfinite(similarities), similarities, np.inf).min(axis=1)
    support = (best + np.where(np.isfinite(second), second, last)) / 2
    table = np.stack([best, _contrast(best, named, background, background_places), support], axis=1)
    if geometry is not None:
        table = np.column_stack([table, geometry[rows, column]])
    table[column < 0] = np.nan
    return table, column


def background_of(queries: Embeddings, cohort: Embeddings) -> NDArray[np.float32]:
    """The similarities ``(Q, C)`` of queries ``(Q, d)`` to the photos of a cohort ``(C, d)``, whoever else asks.

    Each query has a product of its own: one of all of them sums in an order that goes by their number, and the last
    digits of a confidence would say who else has asked.
    """
    return np.array([cohort @ query for query in queries], dtype=np.float32).reshape(len(queries), len(cohort))


def _contrast(
    best: NDArray[np.float64], named: NDArray[np.int64], background: NDArray[Any], background_places: NDArray[np.int64]
) -> NDArray[np.float64]:
    use = np.isfinite(background) & (background_places >= 0) & (background_places != named[:, None])
    count = use.sum(axis=1)
    values = np.where(use, background, 0.0).astype(np.float64)
    mean = values.sum(axis=1) / np.maximum(count, 1)
    spread = np.sqrt((np.where(use, values - mean[:, None], 0.0) ** 2).sum(axis=1) / np.maximum(count, 1))
    return np.where(count >= 2, (best - mean) / np.maximum(spread, _LEAST_SPREAD), 0.0)
