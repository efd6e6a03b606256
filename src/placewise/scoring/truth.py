"""What a protocol is, and what is right for each query by it: rows of the gallery that show the same."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placewise import grouping
from placewise.core import Photo

Rows = NDArray[np.int64]
"""Numbers of gallery photos, ascending."""

NO_ROWS: Rows = np.empty(0, dtype=np.int64)

STRETCH = 50
"""Frames of a sequence that are taken for one group where there are no places: neighbours are not independent."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to say what is right.

    Attributes:
        kind: what its spelling begins with.
        spelled: what to type for just this one.
        law: what it counts as right, in one line.
        reach: the radius in metres, or the frames to either side.
        misses: whether retrieval counts a query without positives, as a miss; open-set it is in any case.
        exclude_last: frames before the query that it is not compared with; None where queries and gallery are apart.
        pairs: a file that says which photos show the same; None for what the source says.
        metrics: what it reports beside Recall@K and what every confidence has.
        labelled: whether places' labels say what is right; only then does a gallery calibrate itself by them.
    """

    kind: str
    spelled: str
    law: str
    reach: float = 0
    misses: bool = False
    exclude_last: int | None = None
    pairs: Path | None = None
    metrics: tuple[str, ...] = ("map", "map@100", "map@r")
    labelled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Which queries depend on one another, so that intervals draw them together.

    Attributes:
        codes: ``(Q,)`` int, the same for those that do.
        unit: what a group is, in the plural.
    """

    codes: NDArray[np.int64]
    unit: str

    @classmethod
    def of(cls, keys: Sequence[Hashable], unit: str) -> Groups:
        """Queries of one key are one group."""
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return cls(np.array([numbers[key] for key in keys], dtype=np.int64), unit)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a protocol wants of Q queries in a gallery of N photos.

    UNKNOWN is right for a query without positives, which is open-set. Retrieval metrics count it only where a protocol
    takes it for a miss. Where nothing is known of a query, it is neither evaluated nor open-set.

    Attributes:
        gallery: the photos that are searched.
        queries: the photos that ask.
        positives: for each query the rows that are right.
        junk: for each query the rows that count neither for nor against a ranking.
        evaluated: ``(Q,)`` bool.
        open_set: ``(Q,)`` bool.
        groups: which queries depend on one another.
        setups: name → for each query (rows that are right, junk), where a protocol grades its positives.
        candidates: ``(Q, 2)`` the first row that a query is compared with, and the one after the last.
        whole: whether the gallery is known; if not, there may be photos that are not in ``gallery``.
    """

    gallery: tuple[Photo, ...]
    queries: tuple[Photo, ...]
    positives: tuple[Rows, ...]
    junk: tuple[Rows, ...]
    evaluated: NDArray[np.bool_]
    open_set: NDArray[np.bool_]
    groups: Groups
    candidates: NDArray[np.int64]
    setups: Mapping[str, tuple[tuple[Rows, Rows], ...]] = field(default_factory=dict)
    whole: bool = True

    @classmethod
    def of(  # noqa: PLR0913  # the parts of the value
        cls,
        gallery: Sequence[Photo],
        queries: Sequence[Photo],
        positives: Sequence[Rows | None],
        groups: Groups,
        *,
        misses: bool = False,
        candidates: NDArray[np.int64] | None = None,
        setups: Mapping[str, tuple[tuple[Rows, Rows], ...]] | None = None,
        whole: bool = True,
    ) -> Truth:
        """Put it together.

        Args:
            gallery: the photos that are searched.
            queries: the photos that ask.
            positives: for each query the rows that are right; None where that is not known.
            groups: which queries depend on one another.
            misses: whether a query without positives is evaluated, as a miss.
            candidates: which rows a query is compared with; None for all.
            setups: graded positives; what all of them call junk is the query's.
            whole: whether there are no other gallery photos.
        """
        known = np.array([rows is not None for rows in positives], dtype=bool)
        found = np.array([rows is not None and rows.size > 0 for rows in positives], dtype=bool)
        everything = np.tile(np.array([0, len(gallery)], dtype=np.int64), (len(queries), 1))
        medium = (setups or {}).get("medium")
        return cls(
            gallery=tuple(gallery),
            queries=tuple(queries),
            positives=tuple(NO_ROWS if rows is None else rows for rows in positives),
            junk=tuple(junk for _, junk in medium) if medium else (NO_ROWS,) * len(queries),
            evaluated=known & (found | misses),
            open_set=known & ~found,
            groups=groups,
            candidates=everything if candidates is None else candidates,
            setups=setups or {},
            whole=whole,
        )

    @property
    def asks_itself(self) -> bool:
        """Whether the photos that ask are those that are searched: a sequence against its own past."""
        return self.queries == self.gallery

    @property
    def counts(self) -> dict[str, int]:
        """How many queries retrieval metrics count, how many of those are sure misses, and what the others are."""
        return {
            "evaluated": int(self.evaluated.sum()),
            "without_positives": int((self.evaluated & self.open_set).sum()),
            "open_set": int(self.open_set.sum()),
            "excluded": int((~self.evaluated & ~self.open_set).sum()),
        }


def rows_by(keys: Sequence[Hashable]) -> dict[Hashable, Rows]:
    """The rows of each key but None."""
    found: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, []).append(row)
    return {key: np.array(rows, dtype=np.int64) for key, rows in found.items()}


def sharing(positives: Sequence[Rows], names: Sequence[Hashable]) -> Groups:
    """Queries that share a positive are one group, and those that share one with them."""
    first: dict[int, int] = {}
    joined = grouping.Groups(len(positives))
    for query, rows in enumerate(positives):
        joined.join(np.array([(query, first.setdefault(row, query)) for row in rows.tolist()], np.int64).reshape(-1, 2))
    keys = [names[joined.first(query)] for query in range(len(positives))]
    return Groups.of(keys, "groups of queries that share positives")


def stretches(queries: Sequence[Photo], frames: Sequence[int], *, length: int = STRETCH) -> Groups:
    """Queries of one stretch of a sequence are one group."""
    keys = [(photo.sequence, frame // length) for photo, frame in zip(queries, frames, strict=True)]
    return Groups.of(keys, f"stretches of {length} frames")
