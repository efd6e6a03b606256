"""FAISS, which has no types: compressed vectors in inverted lists, behind the few calls that a search needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.core import Embeddings

_ROUNDS = 8
"""Rounds of k-means; more cost time and gain nothing that can be measured."""

_BITS_PER_ID = 64
"""A bitmap over the range of ids is used as a filter if it has at most so many bits for each id of the filter."""


class Codes:
    """Vectors of one byte a value, each in the list of its nearest centre; similarities are inner products."""

    def __init__(self, index: Any) -> None:
        """Wrap a FAISS index of inverted lists."""
        self._index = index

    @classmethod
    def train(cls, points: Embeddings, lists: int, sample: Embeddings) -> Codes:
        """Learn the centres of the lists from ``points`` and the ranges of values from a sample, ``(N, dim)`` both.

        Up to ``lists`` points are centres themselves. The same points and sample give the same codes.
        """
        faiss = _faiss()

        dim = sample.shape[1]
        if len(points) > lists:
            means = faiss.Kmeans(dim, lists, niter=_ROUNDS, spherical=True)
            means.cp.min_points_per_centroid = 1  # a smaller sample is the caller's choice: FAISS need not warn
            means.cp.max_points_per_centroid = len(points) // lists + 1
            means.train(np.ascontiguousarray(points))
            points = means.centroids
        index = faiss.index_factory(dim, f"IVF{len(points)},SQ8", faiss.METRIC_INNER_PRODUCT)
        index.quantizer.add(np.ascontiguousarray(points))
        index.train(np.ascontiguousarray(sample))
        return cls(index)

    @property
    def lists(self) -> int:
        """The number of lists."""
        return int(self._index.nlist)

    def ids(self) -> NDArray[np.int64]:
        """The ids of all vectors, ascending."""
        faiss = _faiss()

        lists = self._index.invlists
        parts = [faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)) for i in range(self.lists)]
        return np.sort(np.concatenate(parts)).astype(np.int64, copy=False)

    def add(self, ids: NDArray[np.int64], embeddings: Embeddings) -> None:
        """Add vectors under ids that are new."""
        self._index.add_with_ids(np.ascontiguousarray(embeddings), np.ascontiguousarray(ids))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove ids; a pass over all of them."""
        self._index.remove_ids(np.ascontiguousarray(ids))

    def search(
        self, queries: Embeddings, count: int, nprobe: int, among: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """The ids ``(Q, count)`` of the most similar codes in the ``nprobe`` nearest lists; -1 where there are no more.

        ``among`` are the only ids that may be returned, ascending.
        """
        faiss = _faiss()

        # The parameters point to the selector, and the selector to the bitmap: each must live until the search is done.
        bitmap = None if among is None else _bitmap(among)
        selector = None
        if bitmap is not None:
            selector = faiss.IDSelectorBitmap(bitmap)
        elif among is not None:
            selector = faiss.IDSelectorBatch(among)
        parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        _, ids = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), count, params=parameters)
        found: NDArray[np.int64] = ids
        return found

    def write(self, write: Callable[[bytes], int]) -> None:
        """Hand over FAISS's bytes, a piece at a time."""
        faiss = _faiss()

        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write))

    @classmethod
    def read(cls, file: BinaryIO) -> Codes:
        """Read FAISS's bytes from where the file stands. They must be known to be FAISS's: it trusts them.

        Raises:
            RuntimeError: if they are of a newer FAISS.
        """
        faiss = _faiss()

        return cls(faiss.read_index(faiss.PyCallbackIOReader(file.read)))


class Nearest:
    """Vectors whose nearest is looked up, all of them compared."""

    def __init__(self, dim: int) -> None:
        """Start with none."""
        self._index = _faiss().IndexFlatIP(dim)

    def add(self, rows: Embeddings) -> None:
        """Append vectors ``(N, dim)``."""
        self._index.add(np.ascontiguousarray(rows))

    def search(self, queries: Embeddings) -> NDArray[np.int64]:
        """The row of largest inner product with each query, ``(Q,)``."""
        _, rows = self._index.search(np.ascontiguousarray(queries), 1)
        nearest: NDArray[np.int64] = rows[:, 0]
        return nearest


def _faiss() -> Any:
    """The module, imported when it is first needed: that takes long. Its types are incomplete and not used."""
    import faiss

    return faiss


def _bitmap(ids: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """One bit for each id from 0 to the largest; None where that wastes memory."""
    if ids[0] < 0 or ids[-1] >= _BITS_PER_ID * len(ids):
        return None
    bits = np.zeros(int(ids[-1]) + 1, dtype=np.uint8)
    bits[ids] = 1
    return np.packbits(bits, bitorder="little")
