"""What `placewise.models.vlad` learns from a gallery: words of local descriptors and the directions of its photos.

NumPy learns it with a fixed seed: the same photos give the same bytes on the same machine. On others it is not learned
again but read, and an embedding depends on the bytes only.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.errors import ModelError
from placewise.models.dense import DIM

if TYPE_CHECKING:
    from collections.abc import Sequence

    Floats = NDArray[np.float32]

AXES = 64
"""Directions of a descriptor that are kept, those in which descriptors differ most."""

FOLD = 256
"""Values of an embedding for what lies outside the directions of the gallery."""

_ROUNDS = 15
_PER_WORD = 8  # fewer descriptors to a word say nothing of it
_SHRINKAGE = 0.05  # of the descriptors' covariance towards that of no preferred direction
_WHITENED = 0.5  # 1 would make all directions equal, 0 leave them as they are
_ROOM = 512 * 2**20  # bytes of distances at a time
_HEADER = struct.Struct("<4s4I")  # magic, words of each kind, directions, photos learned from
_MAGIC = b"PWV1"
_LEAST = 1e-9
_LEAST_SUM = 1e-2  # what is smaller is a descriptor that is a word, and its direction rounding


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A vocabulary of one kind of descriptors.

    Attributes:
        mean: ``(128,)`` float32, subtracted from a descriptor.
        axes: ``(128, 64)`` float32, what it is then multiplied with.
        centres: ``(K, 64)`` float32.
    """

    mean: Floats
    axes: Floats
    centres: Floats

    def sums(self, descriptors: Floats) -> Floats:
        """The sums of differences from the nearest word, each of length 1, their signed roots: of length 1 in all.

        Args:
            descriptors: ``(N, 128)`` float32.

        Returns:
            ``(K * 64,)`` float32; zeros where there is no descriptor.
        """
        reduced = np.asarray((descriptors - self.mean) @ self.axes, np.float32)
        nearest = _nearest(reduced, self.centres)
        members = (nearest == np.arange(len(self.centres))[:, np.newaxis]).astype(np.float32)
        sums = members @ reduced - members.sum(axis=1, keepdims=True) * self.centres
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), _LEAST_SUM)
        roots = np.sign(sums) * np.sqrt(np.abs(sums))
        row: Floats = (roots / max(float(np.linalg.norm(roots)), _LEAST)).reshape(-1)
        return row


def learn_words(descriptors: Floats, count: int, *, seed: int = 0) -> Words:
    """Learn so many words from descriptors ``(N, 128)``, by k-means on their half-whitened principal directions.

    Raises:
        ModelError: if there are too few descriptors.
    """
    if len(descriptors) < _PER_WORD * count:
        message = (
            f"photos must show at least {_PER_WORD * count} local descriptors to learn {count} words from, got "
            f"{len(descriptors)}; add photos, or photos with more texture"
        )
        raise ModelError(message)
    mean = descriptors.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(descriptors, rowvar=False))
    shrunk = (1 - _SHRINKAGE) * np.maximum(variances, 0) + _SHRINKAGE * max(variances.mean(), _LEAST)
    axes = (directions * shrunk ** (-_WHITENED / 2))[:, : -AXES - 1 : -1].astype(np.float32)
    return Words(mean, axes, _means((descriptors - mean) @ axes, count, seed))


def _means(rows: Floats, count: int, seed: int) -> Floats:
    """The centres that Lloyd's k-means finds: ``(count, dim)``."""
    rng = np.random.default_rng(seed)
    centres: Floats = rows[np.sort(rng.choice(len(rows), count, replace=False))]
    for _ in range(_ROUNDS):
        nearest = _nearest(rows, centres)
        order = np.argsort(nearest, kind="stable")
        used, starts, sizes = np.unique(nearest[order], return_index=True, return_counts=True)
        centres = rows[rng.choice(len(rows), count, replace=False)]  # for words that nothing is nearest to
        centres[used] = np.add.reduceat(rows[order], starts) / sizes[:, np.newaxis].astype(np.float32)
    return centres


def _nearest(rows: Floats, centres: Floats) -> NDArray[np.int64]:
    """The number of the nearest centre of each row: ``(N,)``; the first of equally near ones."""
    found = np.empty(len(rows), np.int64)
    size = max(1, _ROOM // (4 * len(centres)))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        found[part] = np.argmin((centres**2).sum(axis=1) - 2 * (rows[part] @ centres.T), axis=1)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """All that is learned from a gallery.

    Attributes:
        words: of descriptors on a grid, and of those at keypoints.
        directions: ``(M, D)`` float16, orthonormal: those in which the gallery's photos lie, longest first.
        photos: how many photos it was learned from.
    """

    words: tuple[Words, Words]
    directions: NDArray[np.float16]
    photos: int

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        counts = [len(words.centres) for words in self.words]
        header = _HEADER.pack(_MAGIC, *counts, len(self.directions), self.photos)
        arrays = [part for words in self.words for part in (words.mean, words.axes, words.centres)]
        return (
            header + b"".join(part.astype("<f4").tobytes() for part in arrays) + self.directions.astype("<f2").tobytes()
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Vocabulary:
        """What `to_bytes` made bytes of.

        Raises:
            ModelError: if they are damaged or something else.
        """
        try:
            magic, *counts, directions, photos = _HEADER.unpack_from(data)
            floats = sum(DIM + DIM * AXES + count * AXES for count in counts)
            size = _HEADER.size + 4 * floats + 2 * directions * AXES * sum(counts)
        except struct.error:
            magic, size, counts, directions = b"", 0, [], 0
        if magic != _MAGIC or len(data) != size or min([*counts, directions]) < 1:
            message = f"a vocabulary must be the bytes that were learned, got {len(data)} others; restore a copy"
            raise ModelError(message)
        values = np.frombuffer(data, "<f4", floats, _HEADER.size)
        words, start = [], 0
        for count in counts:
            parts = np.split(values[start:], np.cumsum([DIM, DIM * AXES, count * AXES]))
            words.append(Words(parts[0], parts[1].reshape(DIM, AXES), parts[2].reshape(count, AXES)))
            start += DIM + DIM * AXES + count * AXES
        rest = np.frombuffer(data, "<f2", offset=_HEADER.size + 4 * floats).reshape(directions, -1)
        return cls((words[0], words[1]), rest, photos)


class Projection:
    """Long rows → short ones whose inner products are nearly the same, and exactly so along the directions."""

    def __init__(self, directions: NDArray[np.float16], dim: int) -> None:
        """Keep them in float32. Rows become ``dim`` values, of which `FOLD` are for what is outside of them.

        Raises:
            ModelError: if there are too many directions, or rows cannot be folded.
        """
        if len(directions) > dim - FOLD or directions.shape[1] % FOLD:
            message = (
                f"a vocabulary must have at most {dim - FOLD} directions of a multiple of {FOLD} values, got "
                f"{len(directions)} of {directions.shape[1]}; restore a copy of the gallery or make it anew"
            )
            raise ModelError(message)
        self._directions = directions.astype(np.float32)
        self._signs = _signs(directions.shape[1])
        self._dim = dim

    def project(self, row: Floats) -> Floats:
        """``(D,)`` → ``(dim,)`` of unit length; zeros stay zeros."""
        along = self._directions @ row
        outside = (row - along @ self._directions) * self._signs
        short = np.zeros(self._dim, np.float32)
        short[: len(along)] = along
        short[-FOLD:] = outside.reshape(-1, FOLD).sum(axis=0)
        return short / np.float32(max(float(np.linalg.norm(short)), _LEAST))


def learn_directions(rows: Sequence[Floats], most: int) -> NDArray[np.float16]:
    """The directions in which rows ``(D,)`` lie, longest first, at most so many: ``(M, D)`` float16."""
    matrix = np.stack(rows)
    lengths, mixtures = np.linalg.eigh(matrix @ matrix.T)
    kept = np.flatnonzero(lengths > lengths.max() * 1e-6)[::-1][:most]
    directions = (mixtures[:, kept] / np.sqrt(lengths[kept])).T.astype(np.float32) @ matrix
    return np.asarray(directions, np.float16)


def _signs(count: int) -> Floats:
    """So many signs, +1 or -1: the bits of a hash, which are the same everywhere."""
    bits = np.frombuffer(hashlib.shake_256(_MAGIC).digest(-(-count // 8)), np.uint8)
    return np.unpackbits(bits)[:count].astype(np.float32) * 2 - 1
