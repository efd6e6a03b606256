"""A gallery as `locate` asks it: its searcher, and what its stack learned from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from placewise.core import Neighbors
from placewise.rank.learned import expanded, learn, learn_linear, sample_rows
from placewise.rank.levels import unit
from placewise.search import ExactSearcher
from placewise.search.exact import score
from placewise.search.sidecar import follow
from placewise.stack import NO_STACK, Place, Stack

if TYPE_CHECKING:
    from placewise.core import Embeddings, Searcher
    from placewise.gallery_file import GalleryFile
    from placewise.photo_table import PhotoTable

_NO_CODES: NDArray[np.int64] = np.empty(0, dtype=np.int64)

_PROPOSED = 200
"""Hits by plain similarity that an approximate index proposes at least, to be ranked by the stack."""

PROPOSED_A_HIT = 4
"""And so many for each hit that is wanted, since the steps bring up what lies below; see docs/ranking.md."""


class Asked(NamedTuple):
    """Q queries.

    Attributes:
        plain: ``(Q, dim)`` their embeddings.
        vectors: ``(Q, d)`` what is compared with the gallery.
    """

    plain: Embeddings
    vectors: Embeddings


class Ranker(Protocol):
    """Ranks the photos of a gallery as they are at one moment."""

    @property
    def searcher(self) -> Searcher:
        """What finds candidates."""

    stack: Stack
    follows: bool

    def ask(self, embeddings: Embeddings, *, among: NDArray[np.int64] | None = None) -> Asked:
        """Make queries of embeddings ``(Q, dim)``."""

    def search(self, asked: Asked, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        """See `Searcher.search`."""

    def plain(self, asked: Asked, found: Neighbors) -> NDArray[np.float32]:
        """The cosines of the queries' embeddings with those of their hits, ``(Q, H)``, whatever the steps made of them.

        -1 where a photo has vanished since.
        """

    def vectors(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        """The ids that are there, ascending, and what queries are compared with."""

    def follow(self, table: PhotoTable) -> None:
        """Bring it up to the gallery's present photos, if it ``follows``; else it must be made anew."""


def open_ranker(
    gallery: GalleryFile, table: PhotoTable, stack: Stack, searcher: Searcher, *, plain: bool = True
) -> Ranker:
    """What ranks the photos of a gallery; inside `GalleryFile.reading`, so that they are of one state.

    Args:
        gallery: the gallery.
        table: its photos.
        stack: the steps, all of which the gallery can take, searched so.
        searcher: what searches it.
        plain: whether it must know plain similarities, too, which in an exact search takes as much memory again.
    """
    if not stack.steps:
        return _Plain(gallery, searcher)
    if isinstance(searcher, ExactSearcher):
        return _Exact(searcher, stack, table, plain=plain)
    return _Proposed(gallery, searcher, stack, table)


class _Plain:
    """By the cosine of embeddings."""

    stack = NO_STACK
    follows = True

    def __init__(self, gallery: GalleryFile, searcher: Searcher) -> None:
        self._gallery, self.searcher = gallery, searcher

    def ask(self, embeddings: Embeddings, *, among: NDArray[np.int64] | None = None) -> Asked:  # noqa: ARG002
        return Asked(embeddings, embeddings)

    def search(self, asked: Asked, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        return self.searcher.search(asked.vectors, k, among=among)

    def plain(self, asked: Asked, found: Neighbors) -> NDArray[np.float32]:  # noqa: ARG002
        return found.similarities

    def vectors(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        return self._gallery.vectors(ids)

    def follow(self, table: PhotoTable) -> None:
        follow(self.searcher, self._gallery, table.ids)


class _Exact:
    """All photos as the stack makes them, in one matrix."""

    follows = False

    def __init__(self, searcher: ExactSearcher, stack: Stack, table: PhotoTable, *, plain: bool) -> None:
        ids, matrix = searcher.held()
        self._plain = (ids, matrix) if plain else None
        learned = learn(stack, matrix.astype(np.float32, copy=False), table.place_codes.astype(np.int64))
        self.stack, self._linear, self._expand = stack, learned.linear, learned.expand
        self.searcher = ExactSearcher(learned.matrix.shape[1], matrix.dtype.type)
        self.searcher.upsert(ids, learned.matrix)
        searcher.close()

    def ask(self, embeddings: Embeddings, *, among: NDArray[np.int64] | None = None) -> Asked:
        vectors = self._linear.ask(embeddings)
        if self._expand is not None:
            vectors = expanded(vectors, self._expand, lambda asked, count: self._best(asked, count, among))
        return Asked(embeddings, vectors)

    def _best(
        self, asked: Embeddings, count: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], Embeddings]:
        found = self.searcher.search(asked, count, among=among)
        held, matrix = self.searcher.held()
        return found.similarities, matrix[np.searchsorted(held, found.ids)].astype(np.float32, copy=False)

    def search(self, asked: Asked, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        return self.searcher.search(asked.vectors, k, among=among)

    def plain(self, asked: Asked, found: Neighbors) -> NDArray[np.float32]:
        if self._plain is None:
            message = "plain similarities must be wanted when a ranker is opened"
            raise TypeError(message)
        held, matrix = self._plain
        return _cosines(asked.plain, found.ids, held, matrix)

    def vectors(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        held, matrix = self.searcher.held()
        rows = np.flatnonzero(np.isin(held, ids))
        return held[rows], matrix[rows].astype(np.float32, copy=False)

    def follow(self, table: PhotoTable) -> None:
        """What was learned is of the photos that were there."""


class _Proposed:
    """By plain similarity an approximate index proposes; the stack ranks what it proposes.

    A place is read when one of its photos is first proposed: one mean for each place is kept, and no second copy of the
    embeddings. That mean is of those of its photos that are there then; whoever removes some refreshes the locator.
    """

    follows = False

    def __init__(self, gallery: GalleryFile, searcher: Searcher, stack: Stack, table: PhotoTable) -> None:
        self._gallery, self.searcher, self.stack, self._table = gallery, searcher, stack, table
        _, some = gallery.vectors(table.ids[sample_rows(len(table))])
        self._linear = learn_linear(stack, some)
        place = stack.step(Place)
        self._share = np.float32(place.share if place else 0)
        self._order = np.argsort(table.place_codes, kind="stable")
        codes = np.arange(len(table.place_names) + 1)
        self._starts = np.searchsorted(table.place_codes[self._order], codes)
        self._means: dict[int, Embeddings] = {}

    def ask(self, embeddings: Embeddings, *, among: NDArray[np.int64] | None = None) -> Asked:  # noqa: ARG002
        return Asked(embeddings, self._linear.ask(embeddings))

    def search(self, asked: Asked, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        proposed = self.searcher.search(asked.plain, max(PROPOSED_A_HIT * k, _PROPOSED), among=among).ids
        answers = [self._ranked(row, query, k) for row, query in zip(proposed, asked.vectors, strict=True)]
        # Photos may vanish while a batch is answered; the rows must be of one length.
        width = min((len(ids) for ids, _ in answers), default=0)
        ids = np.array([ids[:width] for ids, _ in answers], dtype=np.int64).reshape(len(answers), width)
        similarities = np.array([near[:width] for _, near in answers], dtype=np.float32).reshape(len(answers), width)
        return Neighbors(ids, similarities)

    def _ranked(
        self, proposed: NDArray[np.int64], query: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best k of the proposed ids for one query, and their similarities."""
        there, vectors = self.vectors(np.sort(proposed))
        near = score(vectors, np.arange(len(vectors)), query)
        best = np.argsort(-near, kind="stable")[:k]
        return there[best], near[best]

    def plain(self, asked: Asked, found: Neighbors) -> NDArray[np.float32]:
        there, vectors = self._gallery.vectors(np.unique(found.ids))
        return _cosines(asked.plain, found.ids, there, vectors)

    def vectors(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        with self._gallery.reading():  # a photo that is there is in the mean of its place
            there, plain = self._gallery.vectors(ids)
            codes = self._table.place_codes[self._table.rows_of(there)] if self._share else _NO_CODES
            means = {code: self._mean(code) for code in np.unique(codes[codes >= 0]).tolist()}
        vectors = self._linear(plain).copy()
        for row, code in enumerate(codes.tolist()):
            if code >= 0:
                vectors[row] = (1 - self._share) * vectors[row] + self._share * means[code]
        return there, unit(vectors) if self._share else vectors

    def _mean(self, code: int) -> Embeddings:
        if code not in self._means:
            rows = self._order[self._starts[code] : self._starts[code + 1]]
            _, plain = self._gallery.vectors(self._table.ids[np.sort(rows)])
            self._means[code] = self._linear(plain).mean(axis=0)
        return self._means[code]

    def follow(self, table: PhotoTable) -> None:
        """What was learned is of the photos that were there."""


def _cosines(
    queries: Embeddings, ids: NDArray[np.int64], held: NDArray[np.int64], matrix: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Of Q queries and their hits ``(Q, H)``, whose vectors are among those held by ascending id; -1 for the others."""
    similarities = np.full(ids.shape, -1, dtype=np.float32)
    for number, hits in enumerate(ids):
        rows = np.searchsorted(held, hits)
        there = np.flatnonzero(np.append(held, -1)[rows] == hits)
        similarities[number, there] = score(matrix, rows[there], queries[number])
    return similarities
