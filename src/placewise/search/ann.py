"""Approximate cosine search: FAISS proposes candidates from one byte a value, the stored vectors decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placewise.core import Embeddings, Neighbors
from placewise.search.codes import Codes
from placewise.search.exact import ExactSearcher, check_batch, check_search, score
from placewise.search.groups import Groups
from placewise.search.index_file import HashingWriter, check_digest, damaged, open_index, read_footer, write_index
from placewise.search.tuning import DEEP, QUERIES, AnnReport, tune, views
from placewise.turns import Turns

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AnnReport", "AnnSearcher", "Vectors"]

Vectors = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], Embeddings]]
"""Takes ids ``(N,)``, ascending; gives those that still exist, ascending, and their vectors, one row each."""

_EXHAUSTIVE = 2000
"""So many vectors, or fewer, are all compared exactly: reading them costs less than training pays back."""

_BLOCK_ROWS = 8192
"""Vectors held at a time while all are read."""

_SAMPLE_PER_LIST = 40
"""Photos that each list's centre is learnt from, where there are no groups."""

_GROUPED = 400_000
"""So many photos at most are put into groups."""

_GROUPS = 1 << 16
"""So many groups at most are told apart: more cost time, and many share a list anyway."""

_ALIKE = 0.8
"""How similar photos of a group are to its first, as a share of a photo's similarity to its nearest."""

_RANGES = 1 << 14
"""Photos that the ranges of the codes are learnt from."""

_FILTERED = 1.5
"""A filter that keeps a share of the ids finds its k hits among about so many times ``k / share`` of all."""

_UNTRAINED = AnnReport(recall_at_10=1.0, queries=0, lists=0, nprobe=0, candidates=16, nprobe_deep=0)


class AnnSearcher:
    """Compressed vectors in lists around centres; only the nearest lists of a query are searched.

    The lists are made for what `build` has seen. What is upserted later may belong to none of them, so it is kept
    apart and searched exactly; `changed` tells how many upserts and deletes there were. Until it is built with enough
    vectors, every search reads all of them.
    """

    def __init__(self, dim: int, vectors: Vectors) -> None:
        """Start empty; ``vectors`` reads the stored vectors of length ``dim`` and must allow several threads."""
        self._dim, self._vectors, self._turns = dim, vectors, Turns()
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._codes: Codes | None = None
        self._recent = ExactSearcher(dim)
        self._report, self._trained_on, self._changed = _UNTRAINED, 0, 0

    @classmethod
    def build(
        cls,
        dim: int,
        ids: NDArray[np.int64],
        vectors: Vectors,
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> AnnSearcher:
        """Train on a sample of the stored vectors, add all of them, and find out how far a search must look.

        The same vectors give the same index. ``on_progress`` is told how many vectors of how many were added.
        """
        self = cls(dim, vectors)
        self._ids = np.unique(ids).astype(np.int64, copy=False)
        self._trained_on = len(self._ids)
        if len(self._ids) <= _EXHAUSTIVE:
            return self
        rng = np.random.default_rng(0)
        chosen = rng.choice(self._ids, min(2 * QUERIES, len(self._ids) // 2), replace=False)
        held, rows = vectors(np.sort(chosen))
        mixed = rng.permutation(len(held))
        truth = views(held[mixed], rows[mixed], rng)
        for block, embeddings in self._blocks(self._ids):
            truth.see(block, embeddings)
        codes = self._train(truth.nearest(), rng)
        seen, done = [self._ids[:0]], 0
        for block, embeddings in self._blocks(self._ids):
            codes.add(block, embeddings)
            seen.append(block)
            done = min(done + _BLOCK_ROWS, len(self._ids))
            if on_progress is not None:
                on_progress(done, len(self._ids))
        self._ids, self._codes = np.concatenate(seen), codes
        self._report = tune(codes, truth, len(held) // 2)
        return self

    def _train(self, nearest: float, rng: np.random.Generator) -> Codes:
        """Lists around groups of places; without groups, or with few, around means of photos.

        A place whose photos share a list is found whole in it. K-means on photos does not bring them together: it
        starts from few of the places, and the photos of the others go wherever chance takes them.
        """
        count = len(self._ids)
        lists = min(round(4 * math.sqrt(count)), count // _SAMPLE_PER_LIST)
        mixed = rng.permutation(self._ids)[:_GROUPED]
        groups = Groups(self._dim, _ALIKE * nearest, min(_GROUPS, count // 4))
        for _, embeddings in self._blocks(mixed):
            if not groups.see(embeddings):
                break
        ranges = self._read(mixed[:_RANGES])
        few = len(groups) < lists / 4
        points = self._read(mixed[: lists * _SAMPLE_PER_LIST]) if few else groups.means()
        return Codes.train(points, lists, ranges)

    def _blocks(self, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        """Some ids and their stored vectors, a block at a time, each block in the order of ids."""
        for start in range(0, len(ids), _BLOCK_ROWS):
            yield self._vectors(np.sort(ids[start : start + _BLOCK_ROWS]))

    def _read(self, ids: NDArray[np.int64]) -> Embeddings:
        """The stored vectors of some ids, ``(N, dim)``."""
        return np.concatenate([rows for _, rows in self._blocks(ids)])

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids, ``(N,)``, ascending."""
        return np.union1d(self._ids, self._recent.ids)

    @property
    def report(self) -> AnnReport:
        """How it searches, and how much it found when it was built."""
        return self._report

    @property
    def trained_on(self) -> int:
        """How many vectors there were when it was built."""
        return self._trained_on

    @property
    def changed(self) -> int:
        """How many vectors were upserted or deleted since."""
        return self._changed

    def upsert(self, ids: NDArray[np.int64], embeddings: NDArray[np.floating]) -> None:
        """Add embeddings ``(N, dim)`` under ``ids`` ``(N,)``, replacing those already there.

        Raises:
            OptionError: if the shapes do not fit or an id comes twice.
        """
        check_batch(ids, embeddings, self._dim)
        with self._turns.writing():
            if self._codes is None:
                self._ids = np.union1d(self._ids, ids)
            else:
                self._forget(ids)
                self._recent.upsert(ids.astype(np.int64), embeddings.astype(np.float32))
            self._changed += len(ids)

    def delete(self, ids: NDArray[np.int64]) -> None:
        """Remove ids; unknown ones are ignored."""
        with self._turns.writing():
            before = len(self)
            self._recent.delete(ids)
            self._forget(ids)
            self._changed += before - len(self)

    def _forget(self, ids: NDArray[np.int64]) -> None:
        """Take ids out of the lists."""
        gone = np.isin(self._ids, ids)
        if gone.any():
            if self._codes is not None:
                self._codes.remove(self._ids[gone])
            self._ids = self._ids[~gone]

    def search(self, queries: Embeddings, k: int, *, among: NDArray[np.int64] | None = None) -> Neighbors:
        """The ``min(k, len(self))`` most similar ids of each query ``(Q, dim)``, best first, ties by id.

        ``among`` restricts the answer to some ids; unknown ones are ignored, and k is capped at the known ones. An id
        whose stored vector has vanished is left out.

        Raises:
            OptionError: if k is below 1 or the queries have another length.
        """
        check_search(queries, k, self._dim)
        with self._turns.reading():
            ids = self._ids if among is None else self._ids[np.isin(self._ids, among)]
            proposed = self._propose(queries, ids, k)
            recent = self._recent.search(queries, k, among=among) if len(self._recent) else None
        # The stored vectors are read outside the lock: whoever holds the store's own lock may be waiting to write here.
        found = self._exhaust(queries, ids, k) if proposed is None else self._decide(queries, proposed, ids, k)
        return found if recent is None else _best_of(found, recent, k)

    def _propose(self, queries: Embeddings, ids: NDArray[np.int64], k: int) -> NDArray[np.int64] | None:
        """Candidates ``(Q, C)``, padded with -1; None if all of ``ids`` had better be compared."""
        count = max(self._report.candidates, math.ceil(self._report.candidates * k / 10))
        if self._codes is None or len(ids) <= max(_EXHAUSTIVE, 4 * count):
            return None
        share = len(ids) / len(self._ids)
        # More hits than ten, or only some of those in each list, lie in lists farther away.
        depth = k if share == 1 else _FILTERED * k / share
        nprobe = (
            self._report.nprobe if depth <= 10 else math.ceil(self._report.nprobe_deep * max(1.0, depth / DEEP) ** 1.5)
        )
        nprobe = min(self._codes.lists, nprobe)
        return self._codes.search(queries, count, nprobe, None if share == 1 else ids)

    def _decide(self, queries: Embeddings, proposed: NDArray[np.int64], ids: NDArray[np.int64], k: int) -> Neighbors:
        """The best of the candidates; where too few are left, the best of all."""
        answers = []
        for query, candidates in zip(queries, proposed, strict=True):
            held, rows = self._vectors(np.sort(candidates[candidates >= 0]))
            if len(held) < k:
                answers.append(self._exhaust(query[np.newaxis], ids, k))
                continue
            exact = score(rows, np.arange(len(rows)), query)
            order = np.argsort(-exact, kind="stable")[:k]
            answers.append(Neighbors(held[order][np.newaxis], exact[order][np.newaxis]))
        if not answers:
            return self._exhaust(queries, ids, k)
        # Vectors may vanish while a batch is answered; the rows must be of one length.
        width = min(answer.ids.shape[1] for answer in answers)
        return Neighbors(
            np.concatenate([answer.ids[:, :width] for answer in answers]),
            np.concatenate([answer.similarities[:, :width] for answer in answers]),
        )

    def _exhaust(self, queries: Embeddings, ids: NDArray[np.int64], k: int) -> Neighbors:
        """The most similar of some ids, all of whose vectors are read, a block at a time."""
        best = Neighbors(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
        for start in range(0, len(ids), _BLOCK_ROWS):
            held, rows = self._vectors(ids[start : start + _BLOCK_ROWS])
            judge = ExactSearcher(self._dim)
            judge.upsert(held, rows)
            best = _best_of(best, judge.search(queries, k), k)
        return best

    def save(self, path: Path, stamp: str) -> None:
        """Write the lists to one file, with a stamp that says what gallery they belong to.

        What was upserted since they were built is left out; who loads the file upserts it again.

        Raises:
            GalleryError: if it cannot be written.
        """
        with self._turns.reading():
            count, changed = len(self._ids), self._changed - len(self._recent)
            footer = {"stamp": stamp, "dim": self._dim, "count": count, "report": dataclasses.asdict(self._report)}
            footer |= {"trained_on": self._trained_on, "changed": changed, "codes": self._codes is not None}
            write_index(path, footer, self._write)

    def _write(self, writer: HashingWriter) -> None:
        """Write FAISS's bytes, or the ids of an index that was not trained."""
        if self._codes is None:
            writer.write(self._ids.tobytes())
        else:
            self._codes.write(writer.write)

    @classmethod
    def load(cls, path: Path, dim: int, vectors: Vectors) -> tuple[AnnSearcher, str]:
        """The index of a file, as it was saved, and its stamp.

        Raises:
            GalleryError: if the file is truncated, damaged, foreign, newer or of another ``dim``.
        """
        self = cls(dim, vectors)
        with open_index(path) as file:
            footer = read_footer(path, file)
            check_digest(path, file, footer)
            stamp, self._report = _parse(path, footer)
            if footer["codes"]:
                try:
                    self._codes = Codes.read(file)
                except RuntimeError as error:
                    raise damaged(path) from error
                self._ids = self._codes.ids()
            else:
                self._ids = np.frombuffer(file.read(footer["bytes"]), dtype=np.int64)
        self._trained_on, self._changed = footer["trained_on"], footer["changed"]
        if footer["dim"] != dim or len(self) != footer["count"]:
            raise damaged(path)
        return self, stamp

    @staticmethod
    def stamp_of(path: Path) -> tuple[str, AnnReport]:
        """The stamp and report of a file, from its footer alone.

        Raises:
            GalleryError: if the file is truncated, foreign or newer, or its footer is damaged.
        """
        with open_index(path) as file:
            return _parse(path, read_footer(path, file))

    def __len__(self) -> int:
        return len(self._ids) + len(self._recent)

    def close(self) -> None:
        """Release the index."""
        with self._turns.writing():
            self._ids, self._codes = self._ids[:0], None
            self._recent.close()


def _best_of(one: Neighbors, other: Neighbors, k: int) -> Neighbors:
    """The best of two answers to the same queries that share no id."""
    ids = np.concatenate([one.ids, other.ids], axis=1)
    similarities = np.concatenate([one.similarities, other.similarities], axis=1)
    order = np.lexsort((ids, -similarities), axis=1)[:, :k]
    return Neighbors(np.take_along_axis(ids, order, 1), np.take_along_axis(similarities, order, 1))


def _parse(path: Path, footer: dict[str, Any]) -> tuple[str, AnnReport]:
    """The stamp and report of a footer that has everything."""
    try:
        report = AnnReport(**footer["report"])
        missing = {"stamp", "dim", "count", "trained_on", "changed", "codes"} - footer.keys()
    except (KeyError, TypeError) as error:
        raise damaged(path) from error
    if missing:
        raise damaged(path)
    return str(footer["stamp"]), report
