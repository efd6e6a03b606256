"""What becomes of a gallery's embeddings, level by level, each made from the one below it.

The law of this module: a level can say what its rows would be if some photos were not in the gallery, exactly. A
gallery examines itself by that: a photo that asks must not be in what answers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from placewise.core import Embeddings
    from placewise.stack import Augment

Rows = NDArray[np.int64]
Gone = NDArray[np.bool_]
"""``(N,)``: the photos that are taken away."""

_SPARE = 30
"""Neighbours beyond the wanted ones that are remembered, to step in for those that are taken away."""

_BLOCK_VALUES = 1 << 24
"""Similarities held at a time."""


class Level(Protocol):
    """N embeddings of unit length, of a gallery's photos."""

    matrix: Embeddings

    def touched(self, gone: Gone) -> Rows:
        """The rows, ascending, that would be others without these photos; those themselves left out."""

    def without(self, rows: Rows, gone: Gone) -> Embeddings:
        """Some rows, none of them gone, as they would be without these photos."""


class Base:
    """Embeddings that do not depend on one another."""

    def __init__(self, matrix: Embeddings) -> None:
        self.matrix = matrix

    def touched(self, gone: Gone) -> Rows:  # noqa: ARG002  # see Level
        """See `Level.touched`."""
        return np.empty(0, dtype=np.int64)

    def without(self, rows: Rows, gone: Gone) -> Embeddings:  # noqa: ARG002  # see Level
        """See `Level.without`."""
        return self.matrix[rows]


class Neighbourhood:
    """The nearest photos of each photo, itself first, and the powers of their similarities."""

    def __init__(self, matrix: Embeddings, step: Augment) -> None:
        self._step = step
        count = min(len(matrix), step.neighbours + _SPARE)
        self._near = np.empty((len(matrix), count), dtype=np.int64)
        self._weights = np.empty((len(matrix), count), dtype=np.float32)
        step_rows = max(1, _BLOCK_VALUES // max(1, len(matrix)))
        for start in range(0, len(matrix), step_rows):
            part = slice(start, start + step_rows)
            similar = matrix[part] @ matrix.T
            similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = 2.0  # first among its equals
            best = np.argpartition(-similar, count - 1, axis=1)[:, :count]
            values = np.take_along_axis(similar, best, axis=1)
            order = np.lexsort((best, -values), axis=1)
            self._near[part] = np.take_along_axis(best, order, axis=1)
            self._weights[part] = np.clip(np.take_along_axis(values, order, axis=1), 0, 1) ** step.power

    def _kept(self, rows: Rows, gone: Gone) -> NDArray[np.bool_]:
        """Which of the remembered neighbours are the nearest of those that are left."""
        there = ~gone[self._near[rows]]
        kept: NDArray[np.bool_] = there & (np.cumsum(there, axis=1) <= self._step.neighbours)
        return kept

    def of(self, rows: Rows, gone: Gone) -> tuple[Rows, NDArray[np.float32]]:
        """Neighbours ``(R, K)`` and their weights, 0 for those that do not count."""
        near, kept = self._near[rows], self._kept(rows, gone)
        if self._step.mutual:
            theirs = np.where(self._kept(near.ravel(), gone), self._near[near.ravel()], -1)
            kept &= (theirs.reshape(*near.shape, -1) == rows[:, None, None]).any(axis=2)
        width = max(1, int(kept.sum(axis=1).max(initial=1)))
        first = np.argsort(~kept, axis=1, kind="stable")[:, :width]
        weights = np.where(kept, self._weights[rows], 0)
        return np.take_along_axis(near, first, axis=1), np.take_along_axis(weights, first, axis=1)

    def near(self, gone: Gone) -> NDArray[np.bool_]:
        """``(N,)``: which photos look at one of these; with ``mutual`` also those whose neighbours do."""
        reach = np.asarray(gone[self._near[:, : self._step.neighbours]].any(axis=1))
        if self._step.mutual:
            return np.asarray(reach | reach[self._near].any(axis=1))
        return reach


class Augmented:
    """Each photo as the mean of its neighbours."""

    def __init__(self, below: Level, around: Neighbourhood) -> None:
        self._below, self._around = below, around
        nothing = np.zeros(len(below.matrix), dtype=bool)
        self.matrix = np.empty_like(below.matrix)
        for start in range(0, len(self.matrix), 1024):
            rows = np.arange(start, min(start + 1024, len(self.matrix)))
            near, weights = around.of(rows, nothing)
            self.matrix[rows] = unit(np.einsum("rk,rkd->rd", weights, below.matrix[near], optimize=True))

    def touched(self, gone: Gone) -> Rows:
        """See `Level.touched`."""
        reach = gone.copy()
        reach[self._below.touched(gone)] = True
        return np.flatnonzero(self._around.near(reach) & ~gone)

    def without(self, rows: Rows, gone: Gone) -> Embeddings:
        """See `Level.without`."""
        near, weights = self._around.of(rows, gone)
        used, where = np.unique(near[weights > 0], return_inverse=True)
        matrix = self._below.without(used, gone)
        spread = np.zeros((len(rows), len(used)), dtype=np.float32)
        spread[np.nonzero(weights > 0)[0], where] = weights[weights > 0]
        return unit(spread @ matrix)


class Placed:
    """Each photo moved towards the mean of its place."""

    def __init__(self, below: Level, codes: Rows, share: float) -> None:
        """``codes`` ``(N,)`` say which place each photo shows; -1 where none is known, and the photo stays."""
        self._below, self._codes, self._share = below, codes, np.float32(share)
        self._order = np.argsort(codes, kind="stable")
        self._starts = np.searchsorted(codes[self._order], np.arange(codes.max(initial=-1) + 2))
        self.matrix = below.matrix.copy()
        for code in range(len(self._starts) - 1):
            rows = self._members(code)
            self.matrix[rows] = self._moved(below.matrix[rows], below.matrix[rows])

    def _members(self, code: int) -> Rows:
        rows: Rows = self._order[self._starts[code] : self._starts[code + 1]]
        return rows

    def _moved(self, vectors: Embeddings, members: Embeddings) -> Embeddings:
        return unit((1 - self._share) * vectors + self._share * members.mean(axis=0)) if len(members) else vectors

    def touched(self, gone: Gone) -> Rows:
        """See `Level.touched`."""
        below = self._below.touched(gone)
        codes = np.union1d(self._codes[gone], self._codes[below])
        members = [self._members(int(code)) for code in codes[codes >= 0]]
        rows = np.unique(np.concatenate([below, *members]))
        left: Rows = rows[~gone[rows]]
        return left

    def without(self, rows: Rows, gone: Gone) -> Embeddings:
        """See `Level.without`."""
        result = self._below.without(rows, gone)
        for code in np.unique(self._codes[rows]):
            if code >= 0:
                members = self._members(int(code))
                mine = self._codes[rows] == code
                result[mine] = self._moved(result[mine], self._below.without(members[~gone[members]], gone))
        return result


def unit(rows: NDArray[np.floating]) -> Embeddings:
    """Rows of unit length; what has none stays as it is, and resembles nothing."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Embeddings = np.divide(rows, norms, out=np.zeros_like(rows, dtype=np.float32), where=norms > 1e-12)
    return unit
