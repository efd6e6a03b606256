"""How far an approximate search must look: the least that finds what an exact search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from placewise.core import Embeddings
    from placewise.search.codes import Codes

QUERIES = 200
"""Photos of the gallery that tune the search, and others that judge it."""

_RECALL = 0.993
"""What the tuned search must reach on its own queries, so that it stays above 0.99 on others."""

_LOSS = 0.001
"""What few candidates may lose against many."""

_K = 10

DEEP = 64
"""The number of hits for which a deep search is tuned: one for many hits, or for the few that pass a filter."""

_DEEP_RECALL = 0.99
_CANDIDATES = (16, 20, 24, 32, 48, 64)
_TIE = np.float32(1e-6)
_NEW_VIEW = 0.8
"""Cosine of a photo and a made-up new view of it: real queries are no photos of the gallery."""


@dataclass(frozen=True, slots=True)
class AnnReport:
    """How an approximate index searches, and how much it finds.

    Attributes:
        recall_at_10: the share of the ten most similar vectors that it finds, for photos of the gallery that did not
            tune it, their own vectors not counted.
        queries: how many photos that was measured with; 0 if every search is exhaustive, and so exact.
        lists: the number of lists.
        nprobe: how many lists are searched.
        candidates: how many vectors are compared exactly, for at most ten hits.
        nprobe_deep: how many lists are searched to find the `DEEP` most similar.
    """

    recall_at_10: float
    queries: int
    lists: int
    nprobe: int
    candidates: int
    nprobe_deep: int


class Truth:
    """The exact answers to some queries, gathered while the gallery passes by."""

    def __init__(self, own: NDArray[np.int64], queries: Embeddings) -> None:
        """``queries`` ``(Q, dim)`` are views of the photos ``own`` ``(Q,)``, which do not count as found."""
        self.queries = queries
        self._own = own[:, np.newaxis]
        self._ids = np.full((len(own), DEEP), -1, dtype=np.int64)
        self._similarities = np.full(self._ids.shape, -np.inf, dtype=np.float32)

    def see(self, ids: NDArray[np.int64], embeddings: Embeddings) -> None:
        """Compare the queries with some vectors ``(N, dim)``."""
        near = np.where(ids == self._own, -np.inf, self.queries @ embeddings.T)
        near = np.concatenate([self._similarities, near], axis=1, dtype=np.float32)
        keep = self._ids.shape[1]
        best = np.argpartition(near, -keep, axis=1)[:, -keep:]
        every = np.concatenate([self._ids, np.broadcast_to(ids, (len(self._ids), len(ids)))], axis=1)
        self._similarities = np.take_along_axis(near, best, axis=1)
        self._ids = np.take_along_axis(every, best, axis=1)

    def nearest(self) -> float:
        """The similarity of a typical photo and the nearest other: the median over the photos that judge."""
        return float(np.median(self._similarities[2 * (len(self._own) // 3) :].max(axis=1)))

    def recall(self, found: NDArray[np.int64], queries: slice, k: int = _K) -> float:
        """The share of the ``k`` best that candidates ``(Q, C)`` hold, for some queries; equally good ones count.

        What is among the candidates is found: they are compared exactly.
        """
        ids, similarities = self._ids[queries], self._similarities[queries]
        last = np.partition(similarities, -k, axis=1)[:, [-k]]
        good = np.where((similarities >= last - _TIE) & np.isfinite(similarities), ids, -2)
        shared = (found[:, :, np.newaxis] == good[:, np.newaxis, :]).any(axis=1).sum(axis=1)
        return float(np.minimum(shared, k).mean() / k)


def views(ids: NDArray[np.int64], embeddings: Embeddings, rng: np.random.Generator) -> Truth:
    """Queries from up to two times `QUERIES` photos: one half and new views of it tune, the other half judges."""
    half = len(ids) // 2
    noise = rng.standard_normal((half, embeddings.shape[1]), dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    new = np.float32(_NEW_VIEW) * embeddings[:half] + np.float32((1 - _NEW_VIEW**2) ** 0.5) * noise
    return Truth(
        np.concatenate([ids[:half], ids[:half], ids[half:]]),
        np.concatenate([embeddings[:half], new, embeddings[half:]]),
    )


def tune(codes: Codes, truth: Truth, half: int) -> AnnReport:
    """The smallest ``nprobe`` and number of candidates that reach the recall, and what others judge of them.

    ``half`` is the number of photos that tune: the queries are they, their new views, and those that judge.
    """
    own, new, judges = slice(0, half), slice(half, 2 * half), slice(2 * half, None)
    queries = truth.queries[: 2 * half]
    for nprobe in _ladder(codes.lists):
        found = codes.search(queries, _CANDIDATES[-1], nprobe)
        if min(truth.recall(found[own], own), truth.recall(found[new], new)) >= _RECALL:
            break
    both = slice(0, 2 * half)
    least = truth.recall(found, both) - _LOSS
    candidates = next(count for count in _CANDIDATES if truth.recall(found[:, :count], both) >= least)
    judged = codes.search(truth.queries[judges], candidates, nprobe)
    recall = truth.recall(judged, judges)
    return AnnReport(recall, len(judged), codes.lists, nprobe, candidates, _deep(codes, truth, new, nprobe))


def _deep(codes: Codes, truth: Truth, queries: slice, nprobe: int) -> int:
    """How many lists hold the `DEEP` best of some queries, ``nprobe`` or more."""
    for deep in _ladder(codes.lists):
        found = codes.search(truth.queries[queries], 2 * DEEP, max(deep, nprobe))
        if truth.recall(found, queries, DEEP) >= _DEEP_RECALL:
            break
    return max(deep, nprobe)


def _ladder(lists: int) -> list[int]:
    """Numbers of lists to try: 4, 5, 6, 7, 8, 10, 12, 14, 16, … up to all."""
    steps = sorted(first << power for power in range(lists.bit_length()) for first in (4, 5, 6, 7))
    return [*(step for step in steps if step < lists), lists]
