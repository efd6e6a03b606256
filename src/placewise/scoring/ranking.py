"""Embeddings → predictions: first hits by partial selection, the rank of every other photo that matters by counting.

The order is that of `placewise.search.ExactSearcher`: by similarity summed in float64 and rounded to float32, ties by
row. A matrix product proposes; what its rounding could change is computed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from placewise.core import Embeddings
from placewise.openset import Places, Rule
from placewise.scoring.predictions import NOTHING, TOP, Prediction
from placewise.scoring.truth import Rows, Truth
from placewise.search.exact import ROUNDING, nearest, score

_BLOCK_VALUES = 1 << 24
"""Similarities held at a time: 64 MiB of float32."""

_FEW = 12
"""Up to so many photos, comparing each with all similarities is faster than sorting these."""


class _Ranked(NamedTuple):
    """One query's first hits and the others that matter, by rank; and the hits that the rule wants to see, no junk."""

    rows: Rows
    ranks: NDArray[np.int64]
    similarities: NDArray[np.float32]
    seen: Rows
    seen_similarities: NDArray[np.float32]
    inliers: NDArray[np.int64] | None = None
    geometry: NDArray[np.float64] | None = None


class Checked(Protocol):
    """What verifying its geometry makes of a query's H hits."""

    @property
    def order(self) -> NDArray[np.int64]:
        """``(H,)`` which hit comes first, which second and so on."""

    @property
    def inliers(self) -> NDArray[np.int64]:
        """``(H,)`` in that order, -1 where nothing was verified."""

    @property
    def geometry(self) -> NDArray[np.float64]:
        """``(H,)`` in that order, how surely each shows the same."""


Check = Callable[[int, Rows, NDArray[np.float32]], Checked]
"""Verifies the hits of a query, given its number, their rows and their similarities."""


class Plain(NamedTuple):
    """The embeddings that a ranking started from.

    Attributes:
        gallery: ``(N, dim)``.
        queries: ``(Q, dim)``.
    """

    gallery: Embeddings
    queries: Embeddings


def rank_all(  # noqa: PLR0913  # each is an option of its own
    gallery: Embeddings,
    queries: Embeddings,
    truth: Truth,
    rule: Rule,
    *,
    top: int | None = TOP,
    check: Check | None = None,
    verified: int = 0,
    plain: Plain | None = None,
) -> tuple[Prediction, ...]:
    """Answer each query by ranking the gallery.

    What is kept of a ranking changes nothing in it: hits are verified before those after ``top`` are left out.

    Args:
        gallery: ``(N, dim)`` of the truth's gallery.
        queries: ``(Q, dim)`` of its queries.
        truth: which photos matter to each query, and which it is compared with.
        rule: decides on the hits.
        top: hits to keep for each query; None for all.
        check: verifies and reorders the first hits, if given.
        verified: of how many hits; the rule sees the first of these after that.
        plain: what a rule that judges by plain similarities is told these of; ``gallery`` and ``queries`` if None.
    """
    codes = Places.of_labels([photo.place for photo in truth.gallery]).codes
    top = len(gallery) if top is None else top
    step = max(1, _BLOCK_VALUES // max(1, len(gallery)))
    predictions: list[Prediction] = []
    for start in range(0, len(queries), step):
        numbers = range(start, min(start + step, len(queries)))
        ranked = list(_rank_block(gallery, queries, truth, numbers, _Wanted(top, rule, codes, verified)))
        if check is not None:
            ranked = [_checked(one, number, check, rule.hits) for one, number in zip(ranked, numbers, strict=True)]
            ranked = [_cut(one, top, _mattering(truth, number)) for one, number in zip(ranked, numbers, strict=True)]
        if plain is not None and rule.plain:
            ranked = [_replain(one, plain, number) for one, number in zip(ranked, numbers, strict=True)]
        predictions += _judged(ranked, queries[numbers.start : numbers.stop], rule, codes)
    return tuple(predictions)


class _Wanted(NamedTuple):
    """What is kept of each ranking: the first ``top``, and what the rule wants to see of places' codes."""

    top: int
    rule: Rule
    codes: NDArray[np.int64]
    verified: int

    @property
    def kept(self) -> int:
        """Hits to keep until they are verified, which may bring any of these to the top."""
        return max(self.top, self.verified)

    @property
    def seen(self) -> int:
        """Hits to keep for the rule: which of those that are verified it sees, geometry will say."""
        return max(self.rule.hits, self.verified)


def _rank_block(
    gallery: Embeddings, queries: Embeddings, truth: Truth, numbers: range, wanted: _Wanted
) -> Iterator[_Ranked]:
    """Rank for some consecutive queries, of which the similarities are held at once."""
    low, high = int(truth.candidates[numbers, 0].min()), int(truth.candidates[numbers, 1].max())
    block = queries[numbers.start : numbers.stop] @ gallery[low : max(low, high)].T
    for number, products in zip(numbers, block, strict=True):
        first, last = truth.candidates[number].tolist()
        near, vectors, query = products[first - low : last - low], gallery[first:last], queries[number]
        matters = _mattering(truth, number)
        matters = matters[(matters >= first) & (matters < last)] - first
        counts = _counting(truth.junk[number], wanted, first, last)
        one = _ranked(near, vectors, query, matters, wanted, counts)
        yield one._replace(rows=one.rows + first, seen=one.seen + first)


def _mattering(truth: Truth, number: int) -> Rows:
    """The photos of which a query's ranks are wanted, wherever they are."""
    return np.union1d(truth.positives[number], truth.junk[number])


def _counting(junk: Rows, wanted: _Wanted, first: int, last: int) -> NDArray[np.bool_] | None:
    """Which of a query's candidates the rule may see; None for all."""
    if not wanted.rule.labelled_only and not junk.size:
        return None
    counts = wanted.codes[first:last] >= 0 if wanted.rule.labelled_only else np.ones(last - first, dtype=bool)
    counts[junk[(junk >= first) & (junk < last)] - first] = False
    return counts


def _ranked(  # what one row of the block is
    near: NDArray[np.float32],
    vectors: Embeddings,
    query: NDArray[np.float32],
    matters: Rows,
    wanted: _Wanted,
    counts: NDArray[np.bool_] | None,
) -> _Ranked:
    hits, similarities = first_hits(near, vectors, query, max(wanted.kept, wanted.seen))
    seen, seen_similarities = hits, similarities
    if counts is not None:
        keep = counts[hits]
        if keep.sum() < min(wanted.seen, counts.sum()):
            rows = np.flatnonzero(counts)
            seen, seen_similarities = first_hits(near[rows], vectors, query, wanted.seen, rows)
        else:
            seen, seen_similarities = hits[keep], similarities[keep]
    hits, similarities = hits[: wanted.kept], similarities[: wanted.kept]
    below = np.setdiff1d(matters, hits, assume_unique=True)
    ranks, exact = ranks_of(near, vectors, query, below)
    order = np.argsort(ranks)
    return _Ranked(
        np.concatenate([hits, below[order]]),
        np.concatenate([np.arange(1, len(hits) + 1), ranks[order]]),
        np.concatenate([similarities, exact[order]]),
        seen[: wanted.seen],
        seen_similarities[: wanted.seen],
    )


def _checked(one: _Ranked, number: int, check: Check, wanted: int) -> _Ranked:
    """The same with its first hits in the order of their geometry; a hit that is not among them keeps its rank.

    The rule sees the first ``wanted`` in that order.
    """
    first = int(np.sum(one.ranks == np.arange(1, len(one.ranks) + 1)))
    hits = check(number, one.rows[:first], one.similarities[:first])
    seen = check(number, one.seen, one.seen_similarities)
    order = np.concatenate([hits.order, np.arange(first, len(one.rows))])
    none = np.full(len(one.rows) - first, -1)
    return _Ranked(
        one.rows[order],
        one.ranks,
        one.similarities[order],
        one.seen[seen.order][:wanted],
        one.seen_similarities[seen.order][:wanted],
        np.concatenate([hits.inliers, none]),
        seen.geometry[:wanted],
    )


def _cut(one: _Ranked, top: int, matters: Rows) -> _Ranked:
    """The same with the hits after ``top`` left out but for those that matter."""
    stays = (one.ranks <= top) | np.isin(one.rows, matters)
    inliers = None if one.inliers is None else one.inliers[stays]
    return one._replace(
        rows=one.rows[stays], ranks=one.ranks[stays], similarities=one.similarities[stays], inliers=inliers
    )


def _replain(one: _Ranked, plain: Plain, number: int) -> _Ranked:
    """The same with the plain similarities of the hits that the rule sees."""
    return one._replace(seen_similarities=score(plain.gallery, one.seen, plain.queries[number]))


def first_hits(
    near: NDArray[np.float32], vectors: Embeddings, query: NDArray[np.float32], k: int, rows: Rows | None = None
) -> tuple[Rows, NDArray[np.float32]]:
    """The k most similar rows and their similarities, best first, ties by row.

    Args:
        near: ``(N,)`` similarities with the rounding errors of a product.
        vectors: ``(N, dim)``.
        query: ``(dim,)``.
        k: how many.
        rows: ``(N,)`` the rows of ``vectors`` that ``near`` is of, ascending; all if None.
    """
    chosen = nearest(near, k)
    chosen = chosen if rows is None else rows[chosen]
    exact = score(vectors, chosen, query)
    order = np.argsort(-exact, kind="stable")[:k]
    return chosen[order], exact[order]


def ranks_of(
    near: NDArray[np.float32], vectors: Embeddings, query: NDArray[np.float32], wanted: Rows
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The 1-based ranks of some rows, and their similarities.

    A rank is 1 + the number of rows that come before: those more similar, and those as similar with a lower number.

    Args:
        near: ``(N,)`` similarities with the rounding errors of a product.
        vectors: ``(N, dim)``.
        query: ``(dim,)``.
        wanted: ``(W,)`` rows.
    """
    exact = score(vectors, wanted, query)
    above, bands = _bands(near, exact - ROUNDING, exact + ROUNDING)
    sizes = [len(band) for band in bands]
    if sum(sizes) > len(near):  # so many are alike that it is cheaper to compute all of them once
        order = np.argsort(-score(vectors, np.arange(len(near)), query), kind="stable")
        place = np.empty(len(near), dtype=np.int64)
        place[order] = np.arange(1, len(near) + 1)
        return place[wanted], exact
    rows = np.concatenate([*bands, np.empty(0, dtype=np.int64)])
    owner = np.repeat(np.arange(len(wanted)), sizes)
    others = score(vectors, rows, query)
    before = (others > exact[owner]) | ((others == exact[owner]) & (rows < wanted[owner]))
    return 1 + above + np.bincount(owner[before], minlength=len(wanted)), exact


def _bands(
    near: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
) -> tuple[NDArray[np.int64], list[Rows]]:
    """For each pair of limits: how many similarities are above the higher, and the rows that are between."""
    if len(low) <= _FEW:
        above = [np.count_nonzero(near > limit) for limit in high]
        return np.array(above, dtype=np.int64), [
            np.flatnonzero((near >= one) & (near <= other)) for one, other in zip(low, high, strict=True)
        ]
    order = np.argsort(near)
    ascending = near[order]
    starts, ends = np.searchsorted(ascending, low, side="left"), np.searchsorted(ascending, high, side="right")
    return len(near) - ends, [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _judged(
    ranked: Sequence[_Ranked], queries: Embeddings, rule: Rule, codes: NDArray[np.int64]
) -> Iterator[Prediction]:
    """What the rule says of some queries."""
    width = max((len(one.seen) for one in ranked), default=0)
    seen = np.zeros((len(ranked), width), dtype=np.int64)
    similarities = np.full((len(ranked), width), -np.inf, dtype=np.float32)
    geometry = np.zeros((len(ranked), width))
    for number, one in enumerate(ranked):
        seen[number, : len(one.seen)] = one.seen
        similarities[number, : len(one.seen)] = one.seen_similarities
        geometry[number, : len(one.seen)] = 0 if one.geometry is None else one.geometry
    places = np.where(np.isfinite(similarities), codes[seen], -1)
    verified = any(one.geometry is not None for one in ranked)
    verdicts = rule.judge(queries, similarities, places, geometry if verified else None)
    for one, row, verdict in zip(ranked, seen, verdicts, strict=True):
        judged = len(one.seen) > 0 and verdict.confidence is not None
        yield Prediction(
            one.rows,
            one.ranks,
            one.similarities,
            confidence=float(verdict.confidence or 0) if judged else NOTHING,
            answer=int(row[verdict.hit]) if len(one.seen) and verdict.hit >= 0 else -1,
            reason=verdict.reason if len(one.seen) else "nothing to compare with",
            inliers=one.inliers,
        )
