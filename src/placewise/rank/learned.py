"""A stack and a gallery → what the steps learned from it: the gallery as it is compared, and what is done to queries.

Nothing is learned from a query: what is done to one depends on it and on the gallery alone. The steps must be such that
the gallery can take them, see `placewise.rank.usable`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.rank.levels import Augmented, Base, Level, Neighbourhood, Placed, Rows, unit
from placewise.stack import Augment, Centre, Expand, Place, Stack, Whiten

if TYPE_CHECKING:
    from placewise.core import Embeddings

    Best = Callable[[Embeddings, int], tuple[NDArray[np.float32], Embeddings]]
    """Queries ``(Q, d)``, K → the similarities ``(Q, K)`` of the best hits and their vectors ``(Q, K, d)``."""

SAMPLE = 8192
"""Photos that a mean and directions are learned from; more would change little."""


_AXES_AT_A_TIME = 128
"""So many stay in the processor's cache for one query after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """What is done to every embedding, a query's or the gallery's: a shift and a linear map, at unit length.

    Attributes:
        mean: ``(dim,)`` what is taken away; None for nothing.
        axes: ``(dim, d)``, each of them contiguous; None for the identity.
    """

    mean: NDArray[np.float32] | None = None
    axes: NDArray[np.float32] | None = None

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """``(N, dim)`` → ``(N, d)``."""
        if self.mean is None and self.axes is None:
            return embeddings
        moved = embeddings if self.mean is None else embeddings - self.mean
        return unit(moved if self.axes is None else moved @ self.axes)

    def ask(self, queries: Embeddings) -> Embeddings:
        """Likewise, whoever else asks: a product of several queries sums in an order that goes by their number."""
        if self.axes is None:
            return self(queries)
        moved = queries if self.mean is None else queries - self.mean
        vectors = np.empty((len(queries), self.axes.shape[1]), dtype=np.float32)
        for start in range(0, vectors.shape[1], _AXES_AT_A_TIME):
            some = slice(start, start + _AXES_AT_A_TIME)
            for number, query in enumerate(moved):
                vectors[number, some] = self.axes.T[some] @ query
        return unit(vectors)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A gallery as it is compared.

    Attributes:
        linear: what is done to its photos and to queries alike.
        base: the gallery's photos as queries.
        top: the gallery's photos as they are compared.
        expand: the query expansion, if there is one.
    """

    linear: Linear
    base: Base
    top: Level
    expand: Expand | None = None

    @property
    def matrix(self) -> Embeddings:
        """``(N, d)`` the gallery as it is compared."""
        return self.top.matrix

    def ask(self, embeddings: Embeddings) -> Embeddings:
        """Queries ``(Q, dim)`` as they are compared with `matrix`, ``(Q, d)``."""
        asked = self.linear.ask(embeddings)
        return asked if self.expand is None else expanded(asked, self.expand, self._best)

    def _best(self, asked: Embeddings, count: int) -> tuple[NDArray[np.float32], Embeddings]:
        return _best(asked @ self.matrix.T, count, self.matrix)

    def similarities(self, rows: Rows, away: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What photos of the gallery that ask it are told, each without some of its photos.

        Args:
            rows: ``(R,)`` the photos that ask.
            away: ``(R, N)`` what is taken away of the gallery for each of them.

        Returns:
            ``(R, N)``; -inf for what is away.
        """
        asked = self.base.matrix[rows]
        similar = self._similar(asked, away)
        if self.expand is not None:
            for number, gone in enumerate(away):
                best = np.flatnonzero(~gone)
                best = best[np.argsort(-similar[number, best], kind="stable")[: self.expand.hits]]
                vectors = self.top.without(best, gone)[None]
                hits = similar[number, best][None], vectors
                asked[number] = expanded(asked[number : number + 1], self.expand, lambda *_, hits=hits: hits)[0]
            similar = self._similar(asked, away)
        return similar

    def _similar(self, asked: Embeddings, away: NDArray[np.bool_]) -> NDArray[np.float32]:
        similar: NDArray[np.float32] = asked @ self.matrix.T
        for number, gone in enumerate(away):
            touched = self.top.touched(gone)
            if touched.size:
                similar[number, touched] = self.top.without(touched, gone) @ asked[number]
        similar[away] = -np.inf
        return similar


class SelfTaught:
    """What a gallery tells its own photos, each without some of the others; see `placewise.openset.Told`.

    In a gallery of so few photos that one has a say in the mean, that is of those that are not away.

    A photo whose whole place is away is a stranger: the mean and the directions are learned without its place, too.
    That is done for a fold of places at a time, since to learn them is to look at all photos, and left out for a place
    of so few of the photos that its part in a mean is nothing.
    """

    def __init__(self, stack: Stack, embeddings: Embeddings, codes: Rows, groups: Rows) -> None:
        """Take a gallery as `learn` does, and ``groups`` ``(N,)``, which photos count as one place."""
        self._stack, self._embeddings, self._codes = stack, embeddings, codes
        self._whole = learn(stack, embeddings, codes)
        linear = self._whole.linear
        count = max(1, int(groups.max(initial=-1)) + 1)
        self._folds = np.where(groups < 0, -1, groups * min(FOLDS, count) // count)
        sizes = np.bincount(groups[groups >= 0], minlength=count)
        light = (groups < 0) | (sizes[groups] * LIGHT <= len(groups))
        self._shared = light | (linear.mean is None and linear.axes is None)
        self._last: tuple[int, Learned] | None = None

    def similarities(self, rows: Rows, away: NDArray[np.bool_], *, strangers: bool) -> NDArray[np.float32]:
        """See `placewise.openset.Told.similarities`."""
        shared = self._shared[rows]
        if not strangers:
            return self._as_known(rows, away)
        if shared.all():
            return self._whole.similarities(rows, away)
        similar = np.empty(away.shape, dtype=np.float32)
        similar[shared] = self._whole.similarities(rows[shared], away[shared])
        for fold in np.unique(self._folds[rows[~shared]]).tolist():
            mine = np.flatnonzero(~shared & (self._folds[rows] == fold))
            similar[mine] = self._without(fold).similarities(rows[mine], away[mine])
        return similar

    def _as_known(self, rows: Rows, away: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What a photo is told whose place is there; directions are those of the whole gallery."""
        linear = self._whole.linear
        if len(self._embeddings) >= LIGHT or linear.mean is None or linear.axes is not None:
            return self._whole.similarities(rows, away)
        told = np.empty(away.shape, dtype=np.float32)
        for number, gone in enumerate(away):
            mine = slice(number, number + 1)
            linear = learn_linear(self._stack, self._embeddings[~gone])
            told[mine] = learn(self._stack, self._embeddings, self._codes, linear=linear).similarities(
                rows[mine], away[mine]
            )
        return told

    def _without(self, fold: int) -> Learned:
        """What is learned where the mean and the directions are of the other folds' photos."""
        if self._last is None or self._last[0] != fold:
            others = self._embeddings[self._folds != fold]
            linear = self._whole.linear
            if len(others):  # the same steps as for a query, though these photos alone might be too few for one
                linear = learn_linear(self._stack, sample(others))
            self._last = fold, learn(self._stack, self._embeddings, self._codes, linear=linear)
        return self._last[1]


FOLDS = 20
"""Galleries of up to so many places leave out one at a time."""

LIGHT = 200
"""A place with no more than 1 of so many photos has no say in a mean or a direction: where it had 1 of 14, the rate of
acceptances was off by a quarter (docs/ranking.md), in proportion with 1 of 200 it is by a sixtieth."""


def learn(stack: Stack, embeddings: Embeddings, codes: Rows, *, linear: Linear | None = None) -> Learned:
    """Learn from a gallery what the steps of a stack need.

    Args:
        stack: the steps, all of which the gallery can take.
        embeddings: ``(N, dim)`` of the gallery.
        codes: ``(N,)`` which place each photo shows; -1 where none is known.
        linear: what is done to queries and gallery alike; learned from the gallery if None.
    """
    linear = linear or learn_linear(stack, sample(embeddings))
    base = Base(linear(embeddings))
    top: Level = base
    if augment := stack.step(Augment):
        around = Neighbourhood(base.matrix, augment)
        for _ in range(augment.rounds):
            top = Augmented(top, around)
    if place := stack.step(Place):
        top = Placed(top, np.asarray(codes, dtype=np.int64), place.share)
    return Learned(linear, base, top, stack.step(Expand))


def sample(embeddings: Embeddings) -> Embeddings:
    """The photos that a mean and directions are learned from."""
    return embeddings[sample_rows(len(embeddings))]


def sample_rows(count: int) -> Rows:
    """Their rows: all, or `SAMPLE` of them, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(np.int64)) if count else _NONE


_NONE: Rows = np.empty(0, dtype=np.int64)


def learn_linear(stack: Stack, embeddings: Embeddings) -> Linear:
    """Learn the steps that are done to queries and gallery alike from some of a gallery's photos, ``(n, dim)``."""
    centre, whiten = stack.step(Centre), stack.step(Whiten)
    mean = (centre.share * embeddings.mean(axis=0, dtype=np.float64)).astype(np.float32) if centre else None
    return Linear(mean, _axes(embeddings, whiten) if whiten else None)


def expanded(asked: Embeddings, step: Expand, best: Best) -> Embeddings:
    """Queries ``(Q, d)`` with their best hits in them."""
    similarities, vectors = best(asked, step.hits)
    weights = np.clip(similarities, 0, 1) ** step.power
    return unit(asked + np.einsum("qk,qkd->qd", weights, vectors).astype(np.float32))


def _axes(embeddings: Embeddings, step: Whiten) -> NDArray[np.float32]:
    """Principal directions, scaled: variances are shrunk towards their mean before they are divided by."""
    rows = embeddings - embeddings.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    kept = np.argsort(-variances, kind="stable")[: step.dims or len(variances)]
    shrunk = (1 - step.shrinkage) * np.clip(variances, 0, None) + step.shrinkage * variances.mean()
    axes = directions[:, kept] / np.sqrt(np.maximum(shrunk[kept], 1e-12))
    return np.asfortranarray(axes, dtype=np.float32)


def _best(similar: NDArray[np.float32], count: int, matrix: Embeddings) -> tuple[NDArray[np.float32], Embeddings]:
    """The best of all similarities ``(Q, N)``."""
    order = np.argsort(-similar, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(similar, order, axis=1), matrix[order]
