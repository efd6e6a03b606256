"""Hits and the local features of their photos → hits in the order that geometry gives them.

The law of this module: hits that geometry accepts come first, the most significant before the others, or, where frames
support one another, in the order of geometry times support squared; the rest keep the order of their similarities. A
hit is accepted where fewer than `verify.CHANCE` of the verified hits of an unrelated query are expected to be: the more
hits are verified, the more each has to show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from placewise import features, images
from placewise.errors import ImageError
from placewise.features import Features
from placewise.machine import usable_cores
from placewise.verify import CHANCE, verify

if TYPE_CHECKING:
    from placewise.core import Neighbors, Photo, Source
    from placewise.rank import Islands, Verify
    from placewise.verify import Verification

NOT_VERIFIED = -1
"""The inliers of a hit that was not verified."""


class Found(NamedTuple):
    """What geometry says of a hit, without the points that it says it by.

    Attributes:
        accepted: whether it shows the same as the query.
        significance: how surely.
        inliers: how many matches agree.
    """

    accepted: bool
    significance: float
    inliers: int


Checks = dict[int, Found]
"""Hit → what geometry says of it, for one query."""


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """H hits of one query, put into order.

    Attributes:
        order: ``(H,)`` which of the hits comes first, second, …
        inliers: ``(H,)`` int64, in that order; `NOT_VERIFIED` where no geometry was verified.
        geometry: ``(H,)`` float64, in that order: the logarithm of one more than the significance, 0 without any.
    """

    order: NDArray[np.int64]
    inliers: NDArray[np.int64]
    geometry: NDArray[np.float64]


def features_of(data: bytes) -> Features:
    """The local features of a photo's bytes, of which a large JPEG is decoded at a reduced scale.

    Raises:
        ImageError: if it cannot be decoded.
    """
    return features.extract(images.decode(data, at_least=features.LONGER_SIDE))


def features_of_all(
    source: Source, photos: Sequence[Photo], *, on_progress: Callable[[int, int], None] | None = None
) -> list[Features | None]:
    """The local features of photos' files, in order; None for those that cannot be read."""

    def read(photo: Photo) -> Features | None:
        try:
            return features_of(images.read_bytes(source.file(photo)))
        except ImageError:
            return None

    found = []
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="features") as workers:
        for number, one in enumerate(workers.map(read, photos), 1):
            found.append(one)
            if on_progress:
                on_progress(number, len(photos))
    return found


def compare(query: Features, there: Features, step: Verify | None) -> Verification:
    """What geometry says of a query and a hit of which so many are verified, or, without a step, of a pair alone."""
    return verify(query, there, chance=CHANCE / (step.hits if step else 1))


def check(
    query: Features | None,
    hits: NDArray[np.int64],
    step: Verify,
    features_by: Callable[[int], Features | None],
    *,
    known: Checks | None = None,
    support: NDArray[np.float64] | None = None,
) -> Checked:
    """Verify the first hits of a query, and order them.

    Args:
        query: its features; without them nothing is verified.
        hits: ``(H,)`` ids or rows of gallery photos, best first.
        step: how many are verified.
        features_by: gives the features of a hit, if there are any.
        known: what was verified of this query before, and what is now.
        support: how far each of these first hits is supported, as `rank.Islands.support` says; None for not at all.
    """
    known = {} if known is None else known
    for hit in hits[: step.hits].tolist() if query is not None else ():
        there = None if hit in known else features_by(hit)
        if query is not None and there is not None:
            one = compare(query, there, step)
            known[hit] = Found(one.accepted, one.significance, one.inlier_count)
    found = [known.get(hit) for hit in hits[: step.hits].tolist()]
    rest = len(hits) - len(found)
    accepted = np.array([bool(one and one.accepted) for one in found] + [False] * rest, dtype=bool)
    inliers = np.array([one.inliers if one else NOT_VERIFIED for one in found] + [NOT_VERIFIED] * rest)
    significance = np.array([one.significance if one else 0.0 for one in found] + [0.0] * rest)
    geometry = np.log1p(significance)
    worth = significance if support is None else geometry * np.pad(np.maximum(support, 0) ** 2, (0, rest))
    order = np.lexsort((np.where(accepted, -worth, 0), ~accepted))
    return Checked(order, inliers[order].astype(np.int64), geometry[order])


@dataclass(frozen=True, slots=True, eq=False)
class CheckedHits:
    """The hits of Q queries, ``(Q, H)`` each; what was not verified has no inliers and no geometry."""

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    inliers: NDArray[np.int64] | None = None
    geometry: NDArray[np.float64] | None = None

    def first(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64] | None]:
        """Ids, similarities and geometry of the first hits."""
        geometry = None if self.geometry is None else self.geometry[:, :count]
        return self.ids[:, :count], self.similarities[:, :count], geometry


def check_all(
    found: Neighbors,
    queries: Sequence[Features | None],
    step: Verify,
    features_by: Callable[[int], Features | None],
    known: Sequence[Checks],
    support: Sequence[NDArray[np.float64] | None] | None = None,
) -> CheckedHits:
    """Verify the first hits of Q queries, and order them; the parameters are those of `check`."""
    results = [
        check(query, ids, step, features_by, known=checks, support=supported)
        for query, ids, checks, supported in zip(
            queries, found.ids, known, support or [None] * len(queries), strict=True
        )
    ]
    order = np.array([one.order for one in results], dtype=np.int64).reshape(found.ids.shape)
    return CheckedHits(
        np.take_along_axis(found.ids, order, axis=1),
        np.take_along_axis(found.similarities, order, axis=1),
        np.array([one.inliers for one in results], dtype=np.int64).reshape(found.ids.shape),
        np.array([one.geometry for one in results], dtype=np.float64).reshape(found.ids.shape),
    )


class Examiner:
    """Verifies the questions that a gallery asks itself. No pair of photos is verified twice."""

    def __init__(
        self,
        features_by: Callable[[int], Features | None],
        step: Verify,
        *,
        islands: Islands | None = None,
        known: dict[int, Checks] | None = None,
    ) -> None:
        """``features_by`` gives those of a photo of the gallery by its row; ``known`` is what was verified before."""
        self._features_by, self._step, self._islands = features_by, step, islands
        self._known = {} if known is None else known

    @property
    def hits(self) -> int:
        """Of how many hits geometry is verified."""
        return self._step.hits

    def __call__(
        self, row: int, hits: NDArray[np.int64], similarities: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The order of the hits of a photo that asks, and what geometry says of each, in that order."""
        known = self._known.setdefault(row, {})
        support = self._islands.support(hits, similarities, self._step.hits) if self._islands else None
        checked = check(self._features_by(row), hits, self._step, self._features_by, known=known, support=support)
        return checked.order, checked.geometry
