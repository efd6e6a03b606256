"""A gallery examines itself: what would it answer to its own photos, with and without their place in it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from placewise.openset.evidence import HITS, evidence_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from placewise.core import Embeddings
    from placewise.openset.places import Places

SAMPLED_PHOTOS = 2_000
SAMPLED_PLACES = 1_000
"""So many ask, chosen at random; more would hardly change a quantile, and take long."""

COHORT = 512
"""Photos that stand for "other places" when a query is judged."""

NEAR_DUPLICATE = 0.95
"""Photos of one place above this similarity are frames of one burst: they do not count as a match of one another."""

_AT_A_TIME = 1 << 24
"""Similarities held at a time."""


@dataclass(frozen=True, slots=True)
class Questions:
    """M questions to a gallery, and the evidence in its answers.

    Attributes:
        evidence: ``(M, 3)``, with geometry ``(M, 4)``, see `evidence.evidence_of`.
        groups: ``(M,)`` what the asking photo shows: questions of one group depend on one another.
        named: ``(M,)`` code of the place that the best hit names.
        right: ``(M,)`` whether that is the place that the asking photo shows.
    """

    evidence: NDArray[np.float64]
    groups: NDArray[np.int64]
    named: NDArray[np.int64]
    right: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, rows: NDArray[Any]) -> Questions:
        """Some of them."""
        return Questions(self.evidence[rows], self.groups[rows], self.named[rows], self.right[rows])


@dataclass(frozen=True, slots=True)
class Exam:
    """Known and open-set questions to one gallery.

    Attributes:
        known: photos whose place was in the gallery when they asked.
        open_set: photos whose place was not.
        cohort: ``(C,)`` rows of the gallery photos that stand for "other places".
        places: the number of places that a query is compared with.
        left: the share of them that was left for an open-set question, on average.
    """

    known: Questions
    open_set: Questions
    cohort: NDArray[np.int64]
    places: int
    left: float


class Told(Protocol):
    """What a gallery tells photos of its own that ask it, each without some of the others."""

    def similarities(self, rows: NDArray[np.int64], away: NDArray[np.bool_], *, strangers: bool) -> NDArray[np.float32]:
        """Similarities ``(R, N)`` for R rows that ask, -inf for what is ``away``, ``(R, N)``.

        Nothing that is away may have a part in what the others answer. The whole place of ``strangers`` is away, and
        must have had no part in anything that was learned.
        """


class Check(Protocol):
    """Verifies the geometry of the hits of a photo that asks."""

    @property
    def hits(self) -> int:
        """Of how many."""

    def __call__(
        self, row: int, hits: NDArray[np.int64], similarities: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The order of its H hits, and how surely each shows the same, in that order: ``(H,)`` each."""


class _Cosines:
    """Of the embeddings themselves."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    def similarities(
        self,
        rows: NDArray[np.int64],
        away: NDArray[np.bool_],
        *,
        strangers: bool,  # noqa: ARG002  # nothing is learned
    ) -> NDArray[np.float32]:
        similar: NDArray[np.float32] = self._embeddings[rows] @ self._embeddings.T
        similar[away] = -np.inf
        return similar


def self_exam(  # noqa: PLR0913  # each is an option of its own
    embeddings: Embeddings,
    places: Places,
    *,
    told: Told | None = None,
    check: Check | None = None,
    seed: int = 0,
    most: int = SAMPLED_PHOTOS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Exam:
    """Let the photos of a gallery ask it, twice each: with their place in it, and with their whole place taken away.

    With it, a photo and the near-duplicates of it are taken away; a photo whose place has no other one then asks only
    the second question. Photos without a place neither ask nor answer.

    Args:
        embeddings: ``(N, dim)`` float32, rows of unit length.
        places: what each of the N photos shows.
        told: what the gallery answers, where that is not the cosines of the embeddings: what `locate` will see.
        check: verifies the geometry of a photo's hits, where `locate` will.
        seed: chooses the photos that ask, where there are more than ``most``, and the cohort.
        most: so many ask; with more of them it takes longer, and a quantile hardly changes.
        on_progress: called with (photos that have asked, in all).

    Raises:
        CalibrationError: if there are fewer than two places.
    """
    asking = _sample(places.several(), np.random.default_rng(seed), most)
    cohort = cohort_of(places.codes, seed)
    gallery = _Asked(embeddings, told or _Cosines(embeddings), check, places, cohort)
    of_its_place = 1 / np.bincount(places.codes[places.labelled])[places.codes[places.labelled]]
    step = max(1, _AT_A_TIME // len(embeddings))
    known, open_set, left = [], [], []
    for start in range(0, len(asking), step):
        rows = asking[start : start + step]
        apart = ~places.not_apart(rows)
        both = _ask(gallery, rows, apart)
        known.append(both[0])
        open_set.append(both[1])
        left.append(apart[:, places.labelled] @ of_its_place)
        if on_progress:
            on_progress(start + len(rows), len(asking))
    return Exam(
        _joined(known), _joined(open_set), cohort, places.count, float(np.mean(np.concatenate(left))) / places.count
    )


def cohort_of(codes: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Rows of photos that stand for "other places": all that have a place, or `COHORT` of them at random."""
    return np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(codes >= 0))[:COHORT])


class _Asked(NamedTuple):
    """The gallery that is asked."""

    embeddings: Embeddings
    told: Told
    check: Check | None
    places: Places
    cohort: NDArray[np.int64]


def _ask(gallery: _Asked, rows: NDArray[np.int64], apart: NDArray[np.bool_]) -> tuple[Questions, Questions]:
    """The known and the open-set questions of some rows; ``apart`` are the photos of other places, ``(R, N)``."""
    embeddings, places = gallery.embeddings, gallery.places
    same = places.same(rows)
    match = same & (embeddings[rows] @ embeddings.T < NEAR_DUPLICATE)
    match[np.arange(len(rows)), rows] = False
    asks = match.any(axis=1)
    with_place = gallery.told.similarities(rows, ~(match | apart), strangers=False)
    without_place = gallery.told.similarities(rows, ~apart, strangers=True)
    with_place[:, places.codes < 0], without_place[:, places.codes < 0] = -np.inf, -np.inf
    known = _questions(gallery, with_place[asks], same[asks], rows[asks])
    answered = np.isfinite(without_place).any(axis=1)  # by position, all may lie near one another
    return known, _questions(gallery, without_place[answered], same[answered], rows[answered])


def _questions(
    gallery: _Asked, similarities: NDArray[Any], same: NDArray[np.bool_], rows: NDArray[np.int64]
) -> Questions:
    """Read the answers off similarities in which all that is taken away is -inf."""
    codes, cohort = gallery.places.codes, gallery.cohort
    kept = min(max(HITS, gallery.check.hits if gallery.check else 0), similarities.shape[1])
    best = np.argpartition(-similarities, kept - 1, axis=1)[:, :kept]
    order = np.argsort(-np.take_along_axis(similarities, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    geometry = _checked(gallery.check, similarities, rows, best)[:, :HITS] if gallery.check else None
    best = best[:, :HITS]
    evidence, column = evidence_of(
        np.take_along_axis(similarities, best, axis=1), codes[best], similarities[:, cohort], codes[cohort], geometry
    )
    hit = best[np.arange(len(rows)), column]
    return Questions(evidence, codes[rows], codes[hit], same[np.arange(len(rows)), hit])


def _checked(
    check: Check, similarities: NDArray[Any], rows: NDArray[np.int64], best: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What geometry says of the best hits, which it puts into order in place."""
    geometry = np.zeros(best.shape)
    for number, row in enumerate(rows.tolist()):
        there = best[number, np.isfinite(similarities[number, best[number]])]
        order, geometry[number, : len(there)] = check(row, there, similarities[number, there])
        best[number, : len(there)] = there[order]
    return geometry


def _sample(places: Places, rng: np.random.Generator, most: int) -> NDArray[np.int64]:
    """Rows that ask: photos of different places in turn, so that no place drowns the others; place by place."""
    rows = rng.permutation(places.labelled)
    chosen = rng.permutation(places.count)[:SAMPLED_PLACES]
    rows = rows[np.isin(places.codes[rows], chosen)]
    order = np.argsort(places.codes[rows], kind="stable")
    _, first = np.unique(places.codes[rows][order], return_index=True)
    turn = np.empty(len(rows), dtype=np.int64)
    turn[order] = np.arange(len(rows)) - np.repeat(first, np.diff([*first, len(rows)]))
    chosen = np.sort(rows[np.argsort(turn, kind="stable")][:most])
    return chosen[np.argsort(places.codes[chosen], kind="stable")]


def _joined(parts: list[Questions]) -> Questions:
    return Questions(
        np.concatenate([part.evidence for part in parts]),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.named for part in parts]),
        np.concatenate([part.right for part in parts]),
    )
