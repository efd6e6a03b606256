"""Exact cosine search: one matrix product, a partial sort, bounded memory. The judge of every other searcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.core import Neighbors
from placewise.errors import OptionError

if TYPE_CHECKING:
    from placewise.core import Embeddings

_BLOCK_VALUES = 1 << 24
"""Similarities held at a time: 64 MiB of float32."""

_ROUNDING = np.float32(1e-5)
"""More than the error of a float32 product of two unit vectors of a few thousand dimensions."""


class ExactSearcher:
    """All embeddings in one float32 matrix, rows in the order of their ids."""

    def __init__(self, dim: int) -> None:
        """Start empty; ``dim`` is the length of the embeddings."""
        self._ids = np.empty(0, dtype=np.int64)
        self._matrix = np.empty((0, dim), dtype=np.float32)

    def upsert(self, ids: NDArray[np.int64], embeddings: Embeddings) -> None:
        """Add embeddings ``(N, dim)`` under ``ids`` ``(N,)``, replacing those already there.

        Raises:
            OptionError: if the shapes do not fit or an id comes twice.
        """
        if embeddings.shape != (len(ids), self._matrix.shape[1]) or len(np.unique(ids)) != len(ids):
            message = (
                f"embeddings must be one row of {self._matrix.shape[1]} values for each of {len(ids)} distinct ids, "
                f"got shape {embeddings.shape}"
            )
            raise OptionError(message)
        self.delete(ids)
        # Copies of a large matrix are most of the time that a gallery takes to open: none is made without need.
        embeddings = embeddings.astype(np.float32, copy=False)
        self._matrix = np.concatenate([self._matrix, embeddings]) if len(self) else embeddings
        self._ids = np.concatenate([self._ids, ids])
        if np.any(np.diff(self._ids) < 0):
            order = np.argsort(self._ids, kind="stable")
            self._ids, self._matrix = self._ids[order], self._matrix[order]

    def delete(self, ids: NDArray[np.int64]) -> None:
        """Remove ids; unknown ones are ignored."""
        kept = ~np.isin(self._ids, ids)
        if not kept.all():
            self._ids, self._matrix = self._ids[kept], self._matrix[kept]

    def search(self, queries: Embeddings, k: int) -> Neighbors:
        """The ``min(k, len(self))`` most similar ids of each query ``(Q, dim)``, best first, ties by id.

        Raises:
            OptionError: if k is below 1 or the queries have another length.
        """
        if k < 1:
            message = f"k must be at least 1, got {k}"
            raise OptionError(message)
        if queries.ndim != 2 or queries.shape[1] != self._matrix.shape[1]:
            message = f"queries must have the shape (Q, {self._matrix.shape[1]}), got {queries.shape}"
            raise OptionError(message)
        k = min(k, len(self))
        ids = np.empty((len(queries), k), dtype=np.int64)
        similarities = np.empty((len(queries), k), dtype=np.float32)
        step = max(1, _BLOCK_VALUES // max(1, len(self)))
        for start in range(0, len(queries) if k else 0, step):
            block = queries[start : start + step]
            for row, near in enumerate(block @ self._matrix.T, start):
                rows = _candidates(near, k)
                exact = self._similarities(queries[row], rows)
                order = np.argsort(-exact, kind="stable")[:k]
                ids[row], similarities[row] = self._ids[rows[order]], exact[order]
        return Neighbors(ids, similarities)

    def _similarities(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The similarities of some rows, summed in float64: equal vectors are equally similar, wherever they stand.

        A matrix product gives them values that differ in the last bits with their position and with the other queries.
        """
        exact: NDArray[np.float64] = np.einsum("ij,j->i", self._matrix[rows], query, dtype=np.float64)
        return exact.astype(np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def close(self) -> None:
        """Release the matrix."""
        self._ids, self._matrix = self._ids[:0], self._matrix[:0]


def _candidates(near: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The rows, ascending, that can be among the k most similar ones, given similarities with rounding errors."""
    if k >= near.size:
        return np.arange(near.size)
    smallest = np.partition(near, near.size - k)[near.size - k]
    return np.flatnonzero(near >= smallest - _ROUNDING)
