"""The natural groups of a gallery, such as the photos of each place: found in one pass, by a sketch of each vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.search.codes import Nearest

if TYPE_CHECKING:
    from placewise.core import Embeddings

_SKETCH = 128
"""Values of a sketch, a random projection: enough to tell which group may be a vector's, at a fraction of the work."""

_BLOCK_ROWS = 2048
"""Vectors compared with each other at a time."""


class Groups:
    """Groups around leaders: a vector that is not similar enough to any leader becomes one."""

    def __init__(self, dim: int, least: float, limit: int) -> None:
        """Members are at least ``least`` similar to their leader; about ``limit`` groups at most are told apart."""
        self._least, self._limit = least, limit
        turn = np.random.default_rng(0).standard_normal((dim, _SKETCH), dtype=np.float32)
        self._turn = turn if dim > _SKETCH else np.eye(dim, dtype=np.float32)
        self._sketches = Nearest(self._turn.shape[1])
        self._leaders = np.empty((limit + _BLOCK_ROWS, dim), dtype=np.float32)
        self._sums = np.zeros_like(self._leaders)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def see(self, rows: Embeddings) -> bool:
        """Put unit vectors ``(N, dim)`` into groups; False as soon as there are too many, and the rest is left out."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            if self._count >= self._limit:
                return False
            block = rows[start : start + _BLOCK_ROWS]
            group = self._known(block)
            new = np.flatnonzero(group < 0)
            group[new] = self._lead(block[new])
            order = np.argsort(group, kind="stable")
            groups, first = np.unique(group[order], return_index=True)
            self._sums[groups] += np.add.reduceat(block[order], first)
        return self._count < self._limit

    def _known(self, rows: Embeddings) -> NDArray[np.int64]:
        """The group of each vector, ``(N,)``; -1 where there is none yet."""
        if not self._count:
            return np.full(len(rows), -1, dtype=np.int64)
        nearest = self._sketches.search(rows @ self._turn)
        similar = np.einsum("nd,nd->n", rows, self._leaders[nearest]) >= self._least
        return np.where(similar, nearest, -1)

    def _lead(self, rows: Embeddings) -> NDArray[np.int64]:
        """Make groups of vectors that belong to none, and tell whose group each is in, ``(N,)``."""
        similar = rows @ rows.T >= self._least
        group = np.full(len(rows), -1, dtype=np.int64)
        leaders: list[int] = []
        for row in range(len(rows)):
            if group[row] < 0:
                group[similar[row] & (group < 0)] = group[row] = self._count + len(leaders)
                leaders.append(row)
        if leaders:
            self._leaders[self._count : self._count + len(leaders)] = rows[leaders]
            self._sketches.add(rows[leaders] @ self._turn)
            self._count += len(leaders)
        return group

    def means(self) -> Embeddings:
        """The direction of each group, ``(len(self), dim)``, of unit length."""
        sums = self._sums[: self._count]
        means: Embeddings = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
        return means
