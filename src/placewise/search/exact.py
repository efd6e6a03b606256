"""Exact cosine search: one matrix product, a partial sort, bounded memory. The judge of every other searcher."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from placewise.core import Neighbors
from placewise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placewise.core import Embeddings

_BLOCK_VALUES = 1 << 24
"""Similarities held at a time: 64 MiB of float32."""

_CACHE_VALUES = 1 << 18
"""Values converted at a time: 1 MiB of float32, which stays in a core's cache until it is multiplied."""

ROUNDING = np.float32(1e-5)
"""More than the error of a float32 product of two unit vectors of a few thousand dimensions."""

_GROWTH = 1.25
"""How many times the room that is needed is taken when vectors are appended, so that most appends copy no others."""


class _State(NamedTuple):
    """What one search sees: ids ``(N,)`` ascending, and their vectors, the first N rows of a buffer."""

    ids: NDArray[np.int64]
    matrix: NDArray[np.floating]


class ExactSearcher:
    """All embeddings in one matrix, rows in the order of their ids.

    With float16, vectors are rounded when they come and take half the memory; a search converts them a block at a time.
    """

    def __init__(self, dim: int, dtype: type[np.float32 | np.float16] = np.float32) -> None:
        """Start empty; ``dim`` is the length of the embeddings."""
        self._writing = threading.Lock()
        self._buffer: NDArray[np.floating] = np.empty((0, dim), dtype=dtype)
        # A search reads the state once. Writers replace it, and write only to rows of the buffer beyond its length.
        self._state = _State(np.empty(0, dtype=np.int64), self._buffer)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids, ``(N,)``, ascending."""
        return self._state.ids

    def held(self) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        """The ids ``(N,)``, ascending, and their vectors ``(N, dim)``, which must not be written to."""
        return self._state

    def upsert(self, ids: NDArray[np.int64], embeddings: NDArray[np.floating]) -> None:
        """Add embeddings ``(N, dim)`` under ``ids`` ``(N,)``, replacing those already there.

        The first array, if it has the searcher's dtype and its ids ascend, is kept itself, not a copy.

        Raises:
            OptionError: if the shapes do not fit or an id comes twice.
        """
        check_batch(ids, embeddings, self._buffer.shape[1])
        with self._writing:
            self._remove(ids)
            order = np.argsort(ids, kind="stable")
            if np.any(order[1:] < order[:-1]):
                ids, embeddings = ids[order], embeddings[order]
            self._insert(ids, embeddings)

    def delete(self, ids: NDArray[np.int64]) -> None:
        """Remove ids; unknown ones are ignored."""
        with self._writing:
            self._remove(ids)

    def _remove(self, ids: NDArray[np.int64]) -> None:
        """Make a new matrix without some ids."""
        state = self._state
        kept = ~np.isin(state.ids, ids)
        if not kept.all():
            self._buffer = state.matrix[kept]
            self._state = _State(state.ids[kept], self._buffer)

    def _insert(self, ids: NDArray[np.int64], embeddings: NDArray[np.floating]) -> None:
        """Add vectors under new, ascending ids."""
        state, count = self._state, len(self) + len(ids)
        if not len(state.ids):
            # Copies of a large matrix are most of the time that a gallery takes to open: none is made without need.
            self._buffer = embeddings.astype(self._buffer.dtype, copy=False)
        else:
            if count > len(self._buffer):
                room = (int(count * _GROWTH), self._buffer.shape[1])
                self._buffer = np.empty(room, dtype=self._buffer.dtype)
                self._buffer[: len(state.ids)] = state.matrix
            self._buffer[len(state.ids) : count] = embeddings
        ids = np.concatenate([state.ids, ids])
        if np.any(np.diff(ids) < 0):
            order = np.argsort(ids, kind="stable")
            ids, self._buffer = ids[order], self._buffer[order]
        self._state = _State(ids, self._buffer[:count])

    def search(self, queries: Embeddings, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        """The ``min(k, len(self))`` most similar ids of each query ``(Q, dim)``, best first, ties by id.

        ``among`` restricts the answer to some ids; unknown ones are ignored, and k is capped at the known ones.

        Raises:
            OptionError: if k is below 1 or the queries have another length.
        """
        check_search(queries, k, self._buffer.shape[1])
        state = self._state
        rows = None if among is None else np.flatnonzero(np.isin(state.ids, among))
        count = len(state.ids) if rows is None else len(rows)
        k = min(k, count)
        ids = np.empty((len(queries), k), dtype=np.int64)
        similarities = np.empty((len(queries), k), dtype=np.float32)
        step = max(1, _BLOCK_VALUES // max(1, count))
        for start in range(0, len(queries) if k else 0, step):
            block = queries[start : start + step]
            for number, near in enumerate(_products(block, state.matrix, rows), start):
                chosen = nearest(near, k)
                chosen = chosen if rows is None else rows[chosen]
                exact = score(state.matrix, chosen, queries[number])
                order = np.argsort(-exact, kind="stable")[:k]
                ids[number], similarities[number] = state.ids[chosen[order]], exact[order]
        return Neighbors(ids, similarities)

    def __len__(self) -> int:
        return len(self._state.ids)

    def close(self) -> None:
        """Release the matrix."""
        with self._writing:
            self._buffer = np.empty((0, self._buffer.shape[1]), dtype=self._buffer.dtype)
            self._state = _State(self._state.ids[:0], self._buffer)


def check_batch(ids: NDArray[np.int64], embeddings: NDArray[np.floating], dim: int) -> None:
    """Refuse vectors that do not fit their ids."""
    if embeddings.shape != (len(ids), dim) or len(np.unique(ids)) != len(ids):
        message = (
            f"embeddings must be one row of {dim} values for each of {len(ids)} distinct ids, "
            f"got shape {embeddings.shape}"
        )
        raise OptionError(message)


def check_search(queries: Embeddings, k: int, dim: int) -> None:
    """Refuse what cannot be searched."""
    if k < 1:
        message = f"k must be at least 1, got {k}"
        raise OptionError(message)
    if queries.ndim != 2 or queries.shape[1] != dim:
        message = f"queries must have the shape (Q, {dim}), got {queries.shape}"
        raise OptionError(message)


def score(matrix: NDArray[np.floating], rows: NDArray[np.int64], query: NDArray[np.floating]) -> NDArray[np.float32]:
    """The similarities ``(N,)`` of some rows, summed in float64: equal vectors are equally similar, wherever they are.

    A matrix product gives them values that differ in the last bits with their position and with the other queries.
    """
    exact = np.empty(len(rows), dtype=np.float32)
    for part in _blocks(len(rows), matrix.shape[1]):
        exact[part] = np.einsum("ij,j->i", matrix[rows[part]], query, dtype=np.float64)
    return exact


def _products(queries: Embeddings, matrix: NDArray[np.floating], rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """The similarities ``(Q, N)`` of all rows, or of some, with the rounding errors of a float32 product."""
    if rows is None and matrix.dtype == np.float32:
        direct: NDArray[np.float32] = queries @ matrix.T
        return direct
    count = len(matrix) if rows is None else len(rows)
    near = np.empty((len(queries), count), dtype=np.float32)
    for part in _blocks(count, matrix.shape[1]):
        near[:, part] = queries @ _as_float32(matrix[part if rows is None else rows[part]]).T
    return near


def _as_float32(block: NDArray[np.floating]) -> NDArray[np.float32]:
    """The same finite values: float16 is widened by moving its bits, four times as fast as NumPy's own conversion."""
    if block.dtype != np.float16:
        return block.astype(np.float32, copy=False)
    bits = block.view(np.int16).astype(np.int32)
    bits <<= 13  # float16 has ten bits of fraction, float32 has 23
    bits &= -0x70002000  # the sign was spread over three more bits
    values = bits.view(np.float32)
    values *= np.float32(2.0**112)  # the exponents count from 15 and from 127
    return values


def _blocks(count: int, dim: int) -> Iterator[slice]:
    """Consecutive ranges of rows, each small enough to stay in the cache."""
    step = max(1, _CACHE_VALUES // max(1, dim))
    return (slice(start, start + step) for start in range(0, count, step))


def nearest(near: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The rows, ascending, that can be among the k most similar ones, given similarities with rounding errors."""
    if k >= near.size:
        return np.arange(near.size)
    smallest = np.partition(near, near.size - k)[near.size - k]
    return np.flatnonzero(near >= smallest - ROUNDING)
