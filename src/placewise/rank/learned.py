"""A stack and a gallery → what the steps learned from it: the gallery as it is compared, and what is done to queries.

Nothing is learned from a query: what is done to one depends on it and on the gallery alone. A step for which a gallery
is too small, too large or has too little to teach is left out, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.rank.levels import Augmented, Base, Level, Neighbourhood, Placed, Rows, unit
from placewise.rank.stack import Augment, Centre, Expand, Place, Stack, Whiten

if TYPE_CHECKING:
    from placewise.core import Embeddings

    Best = Callable[[Embeddings, int], tuple[NDArray[np.float32], Embeddings]]
    """Queries ``(Q, d)``, K → the similarities ``(Q, K)`` of the best hits and their vectors ``(Q, K, d)``."""

LEAST_PHOTOS = 20
"""The mean of fewer photos is mostly one or another of them."""

MOST_AUGMENTED = 30_000
"""Photos up to which all are compared with all: half a minute on two cores."""

SAMPLE = 8192
"""Photos that a mean and directions are learned from; more would change little."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """What is done to every embedding, a query's or the gallery's: a shift and a linear map, at unit length.

    Attributes:
        mean: ``(dim,)`` what is taken away; None for nothing.
        axes: ``(dim, d)``; None for the identity.
        notes: what was left out, and why.
    """

    mean: NDArray[np.float32] | None = None
    axes: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """``(N, dim)`` → ``(N, d)``."""
        if self.mean is None and self.axes is None:
            return embeddings
        moved = embeddings if self.mean is None else embeddings - self.mean
        return unit(moved if self.axes is None else moved @ self.axes)

    def ask(self, queries: Embeddings) -> Embeddings:
        """Likewise, each query by itself: a product of several sums in an order that goes by their number."""
        if self.axes is None or not len(queries):
            return self(queries)
        return np.concatenate([self(query[None]) for query in queries])


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A gallery as it is compared.

    Attributes:
        linear: what is done to its photos and to queries alike.
        base: the gallery's photos as queries.
        top: the gallery's photos as they are compared.
        expand: the query expansion, if there is one.
        notes: what was left out, and why.
    """

    linear: Linear
    base: Base
    top: Level
    expand: Expand | None = None
    notes: tuple[str, ...] = field(default=())

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
        if not strangers or shared.all():
            return self._whole.similarities(rows, away)
        similar = np.empty(away.shape, dtype=np.float32)
        similar[shared] = self._whole.similarities(rows[shared], away[shared])
        for fold in np.unique(self._folds[rows[~shared]]).tolist():
            mine = np.flatnonzero(~shared & (self._folds[rows] == fold))
            similar[mine] = self._without(fold).similarities(rows[mine], away[mine])
        return similar

    def _without(self, fold: int) -> Learned:
        """What is learned where the mean and the directions are of the other folds' photos."""
        if self._last is None or self._last[0] != fold:
            others = self._embeddings[self._folds != fold]
            linear = self._whole.linear
            if len(others):  # the same steps as for a query, though these photos alone might be too few for one
                linear = learn_linear(self._stack, sample(others), count=len(sample_rows(len(self._embeddings))))
            self._last = fold, learn(self._stack, self._embeddings, self._codes, linear=linear)
        return self._last[1]


FOLDS = 20
"""Galleries of up to so many places leave out one at a time."""

LIGHT = 200
"""A place with no more than 1 of so many photos has no say in a mean or a direction: where it had 1 of 14, the rate of
acceptances was off by a quarter (docs/ranking.md), in proportion with 1 of 200 it is by a sixtieth."""


def learn(
    stack: Stack, embeddings: Embeddings, codes: Rows, *, asks_itself: bool = False, linear: Linear | None = None
) -> Learned:
    """Learn from a gallery what the steps of a stack need.

    Args:
        stack: the steps.
        embeddings: ``(N, dim)`` of the gallery.
        codes: ``(N,)`` which place each photo shows; -1 where none is known.
        asks_itself: whether its own photos will ask it, so that no photo may be part of another's.
        linear: what is done to queries and gallery alike; learned from the gallery if None.
    """
    linear = linear or learn_linear(stack, sample(embeddings))
    notes = list(linear.notes)
    base = Base(linear(embeddings))
    top: Level = base
    if (augment := stack.step(Augment)) and not _left_out("augment", _no_augment(len(embeddings), asks_itself), notes):
        around = Neighbourhood(base.matrix, augment)
        for _ in range(augment.rounds):
            top = Augmented(top, around)
    if (place := stack.step(Place)) and not _left_out("place", _no_place(codes, asks_itself), notes):
        top = Placed(top, np.asarray(codes, dtype=np.int64), place.share)
    expand = stack.step(Expand)
    if expand and _left_out("expand", _no_expand(expand, len(embeddings), asks_itself), notes):
        expand = None
    return Learned(linear, base, top, expand, tuple(notes))


def left_out(stack: Stack, count: int, dim: int, codes: Rows) -> tuple[str, ...]:
    """The notes of `learn` for a gallery of N photos, without looking at their embeddings.

    Args:
        stack: the steps.
        count: N.
        dim: of its embeddings.
        codes: ``(N,)`` which place each photo shows; -1 where none is known.
    """
    reasons = {
        "centre": _no_centre(count),
        "whiten": _no_whitening(stack.step(Whiten) or Whiten(), min(count, SAMPLE), dim),
        "augment": _no_augment(count, asks_itself=False),
        "place": _no_place(codes, asks_itself=False),
        "expand": _no_expand(stack.step(Expand) or Expand(), count, asks_itself=False),
    }
    notes: list[str] = []
    for name in stack.names:
        _left_out(name, reasons.get(name, ""), notes)
    return tuple(notes)


def sample(embeddings: Embeddings) -> Embeddings:
    """The photos that a mean and directions are learned from."""
    return embeddings[sample_rows(len(embeddings))]


def sample_rows(count: int) -> Rows:
    """Their rows: all, or `SAMPLE` of them, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(np.int64)) if count else _NONE


_NONE: Rows = np.empty(0, dtype=np.int64)


def learn_linear(stack: Stack, embeddings: Embeddings, *, count: int | None = None) -> Linear:
    """Learn the steps that are done to queries and gallery alike from some of a gallery's photos, ``(n, dim)``.

    ``count`` is the number of photos that decides which steps are left out; n if None.
    """
    centre, whiten = stack.step(Centre), stack.step(Whiten)
    notes: list[str] = []
    count, dim = len(embeddings) if count is None else count, embeddings.shape[1]
    mean = axes = None
    if centre and not _left_out("centre", _no_centre(count), notes):
        mean = (centre.share * embeddings.mean(axis=0, dtype=np.float64)).astype(np.float32)
    if whiten and not _left_out("whiten", _no_whitening(whiten, count, dim), notes):
        axes = _axes(embeddings, whiten)
    return Linear(mean, axes, tuple(notes))


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
    axes: NDArray[np.float32] = (directions[:, kept] / np.sqrt(np.maximum(shrunk[kept], 1e-12))).astype(np.float32)
    return axes


def _best(similar: NDArray[np.float32], count: int, matrix: Embeddings) -> tuple[NDArray[np.float32], Embeddings]:
    """The best of all similarities ``(Q, N)``."""
    order = np.argsort(-similar, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(similar, order, axis=1), matrix[order]


def _left_out(name: str, reason: str, notes: list[str]) -> bool:
    """Whether there is a reason to leave a step out; it becomes a note."""
    if reason:
        notes.append(f"step {name} is left out: {reason}")
    return bool(reason)


def _no_centre(count: int) -> str:
    return f"it needs {LEAST_PHOTOS} photos or more, got {count}" if count < LEAST_PHOTOS else ""


def _no_whitening(step: Whiten, count: int, dim: int) -> str:
    wanted = step.dims or dim
    if wanted > dim:
        return f"embeddings of {dim} values have no {wanted} directions"
    return f"{wanted} directions need {2 * wanted} photos or more, got {count}" if count < 2 * wanted else ""


def _no_augment(count: int, asks_itself: bool) -> str:  # noqa: FBT001
    if asks_itself:
        return "the photos that ask are in the gallery and would be part of their own answers"
    if count < LEAST_PHOTOS:
        return f"it needs {LEAST_PHOTOS} photos or more, got {count}"
    return f"it compares all photos with all, up to {MOST_AUGMENTED}, got {count}" if count > MOST_AUGMENTED else ""


def _no_place(codes: Rows, asks_itself: bool) -> str:  # noqa: FBT001
    if asks_itself:
        return "the photos that ask are in the gallery and would be part of their own answers"
    shown = np.bincount(codes[codes >= 0]) if (codes >= 0).any() else np.zeros(1, dtype=np.int64)
    return "" if (shown > 1).any() else "no place has two photos"


def _no_expand(step: Expand, count: int, asks_itself: bool) -> str:  # noqa: FBT001
    if asks_itself:
        return "the photos that ask are in the gallery and would be part of their own answers"
    least = max(LEAST_PHOTOS, 4 * step.hits)
    return f"{step.hits} hits need {least} photos or more, got {count}" if count < least else ""
