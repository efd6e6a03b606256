"""Protocols by name: what counts as right. Numbers can be compared only if they were measured by the same one.

A protocol is a value; the table `KINDS` says how each is spelled and how it finds what is right for each query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from placewise.core import Grades, Photo, Source
from placewise.errors import EvaluationError, OptionError
from placewise.openset import Places
from placewise.sources.pairs import read_pairs
from placewise.sources.utm import metres_of
from placewise.truth import NO_ROWS, STRETCH, Groups, Rows, Truth, rows_by, sharing, stretches

EXCLUDE_LAST = 50
"""Frames before the query that a loop closure must not be: they are alike because the camera has hardly moved."""

_PLAIN = ("map", "map@100", "map@r")
_MICROMETRE = 1e-6
"""What is lost on the way from metres to degrees and back; an inclusive radius must not depend on it."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to say what is right.

    Attributes:
        kind: a key of `KINDS`.
        spelled: what to type for just this one.
        law: what it counts as right, in one line.
        reach: the radius in metres, or the frames to either side.
        misses: whether retrieval counts a query without positives, as a miss; open-set it is in any case.
        exclude_last: frames before the query that it is not compared with; None where queries and gallery are apart.
        pairs: a file that says which photos show the same; None for what the source says.
    """

    kind: str
    spelled: str
    law: str
    reach: float = 0
    misses: bool = False
    exclude_last: int | None = None
    pairs: Path | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it reports beside Recall@K and those that every confidence has."""
        return KINDS[self.kind].metrics

    @property
    def labelled(self) -> bool:
        """Whether places' labels say what is right; only then does a gallery calibrate itself by them."""
        return KINDS[self.kind].labelled


@dataclass(frozen=True, slots=True)
class _Kind:
    """A row of the table: how it is spelled, how that is read, and how it finds what is right."""

    spelling: str
    read: Callable[[str], Protocol | None]
    truth: Callable[[Protocol, Source, Sequence[Photo], Sequence[Photo]], Truth]
    metrics: tuple[str, ...] = _PLAIN
    labelled: bool = False


def find_protocol(text: str, *, exclude_last: int | None = None) -> Protocol:
    """The protocol of a spelling.

    Args:
        text: as in ``radius:25m``; docs/evaluation.md lists them.
        exclude_last: for ``pairs`` of one sequence, the frames before the query that it is not compared with.

    Raises:
        OptionError: if there is none, or it takes no ``exclude_last``.
    """
    name, _, rest = text.partition(":")
    kind = KINDS.get(name)
    protocol = kind.read(rest) if kind else None
    if protocol is None:
        message = f"a protocol must be one of {', '.join(kind.spelling for kind in KINDS.values())}, got {text!r}"
        message += "; correct its spelling"
        raise OptionError(message)
    if exclude_last is None:
        return protocol
    if protocol.kind != "pairs" or exclude_last < 0:
        message = f"exclude_last must be 0 or more and come with the protocol pairs, got {exclude_last} with {text!r}"
        message += "; leave it out"
        raise OptionError(message)
    return _read_pairs(rest, exclude_last)


def truth_of(
    protocol: Protocol,
    source: Source,
    *,
    gallery: Sequence[Photo] | None = None,
    queries: Sequence[Photo] | None = None,
) -> Truth:
    """What a protocol wants of a source's queries.

    Args:
        protocol: see `find_protocol`.
        source: photos with what the protocol needs: places, positions, frames, known matches or grades.
        gallery: those of the source's gallery photos that are there; all if None.
        queries: those of its queries that are there; all if None.

    Raises:
        EvaluationError: if the source lacks what the protocol needs.
    """
    gallery = source.of("gallery") if gallery is None else gallery
    queries = source.of("query") if queries is None else queries
    return KINDS[protocol.kind].truth(protocol, source, gallery, queries)


# ---- how each is spelled ---------------------------------------------------------------------------------------------


def _plain(name: str, law: str) -> Callable[[str], Protocol | None]:
    """What reads a spelling that takes nothing after its name."""
    return lambda rest: None if rest else Protocol(name, name, law)


def _read_radius(rest: str) -> Protocol | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?m?(:drop)?", rest or "25m")
    if not found or float(found[1]) <= 0:
        return None
    radius = float(found[1])
    law = (
        f"a gallery photo within {radius:g} m of the query is right (UTM metres, inclusive, heading ignored); "
        f"a query without one is {'not counted by retrieval' if found[2] else 'a miss'}"
    )
    return Protocol("radius", f"radius:{radius:g}m{found[2] or ''}", law, reach=radius, misses=not found[2])


def _read_frames(rest: str) -> Protocol | None:
    found = re.fullmatch(r"(?:±|\+-|\+/-)?(\d{1,9})", rest)
    if not found:
        return None
    law = f"a gallery frame whose number is within {int(found[1])} of the query's is right"
    return Protocol("frames", f"frames:±{int(found[1])}", law, reach=int(found[1]))


def _read_pairs(rest: str, exclude_last: int | None = None) -> Protocol:
    law = (
        f"what {Path(rest).name if rest else 'the source'} says to show the same is right; a sequence without queries "
        f"asks its own past but for the last {EXCLUDE_LAST if exclude_last is None else exclude_last} frames"
    )
    pairs = Path(rest) if rest else None
    return Protocol("pairs", f"pairs:{rest}" if rest else "pairs", law, exclude_last=exclude_last, pairs=pairs)


# ---- what each wants -------------------------------------------------------------------------------------------------


def _by_place(_: Protocol, __: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    rows = rows_by([photo.place for photo in gallery])
    if not rows:
        message = "the gallery must hold a photo with a place, got none; put places into the manifest"
        raise EvaluationError(message)
    if not any(photo.place for photo in queries):
        message = "there must be a query with a place, got none; give photos split 'query' and their place"
        raise EvaluationError(message)
    positives = [None if photo.place is None else rows.get(photo.place, NO_ROWS) for photo in queries]
    return Truth.of(gallery, queries, positives, Groups.of([photo.place for photo in queries], "places"))


def _by_radius(protocol: Protocol, _: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    metres = metres_of([*gallery, *queries])
    there, asking = metres[: len(gallery)], metres[len(gallery) :]
    for what, where in (("gallery photo", there), ("query", asking)):
        if not np.isfinite(where).any():
            message = f"there must be a {what} with a position, got none; put lat and lon into the manifest"
            raise EvaluationError(message)
    degrees = [(p.position.lat, p.position.lon) if p.position else (np.nan, np.nan) for p in queries]
    groups = Groups(Places.of_positions(np.array(degrees)).codes, "spots of 50 m around a query")
    return Truth.of(gallery, queries, _within(there, asking, protocol.reach), groups, misses=protocol.misses)


def _within(there: NDArray[np.float64], asking: NDArray[np.float64], radius_m: float) -> list[Rows | None]:
    """For each query the rows within a radius, inclusive; None where its position is not known."""
    radius_m += _MICROMETRE
    order = np.argsort(there[:, 0], kind="stable")  # NaN come last
    east = there[order, 0]
    found: list[Rows | None] = []
    for x, y in asking:
        if np.isnan(x):
            found.append(None)
            continue
        rows = order[np.searchsorted(east, x - radius_m) : np.searchsorted(east, x + radius_m, side="right")]
        found.append(np.sort(rows[np.hypot(there[rows, 0] - x, there[rows, 1] - y) <= radius_m]))
    return found


def _by_frame(protocol: Protocol, _: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    numbers = [_frame(photo) for photo in gallery]
    asking = [_frame(photo) for photo in queries]
    for what, frames in (("gallery photo", numbers), ("query", asking)):
        if all(frame is None for frame in frames):
            message = f"there must be a {what} with a frame, got none; put frames into the manifest"
            raise EvaluationError(message)
    # Traverses have names of their own, and one numbering. Sequences that both sides have are numbered each by itself.
    shared = {photo.sequence for photo in gallery} & {photo.sequence for photo in queries}
    of = rows_by([(p.sequence if shared else None, n) for p, n in zip(gallery, numbers, strict=True)])
    reach = range(-int(protocol.reach), int(protocol.reach) + 1)
    positives: list[Rows | None] = []
    for photo, frame in zip(queries, asking, strict=True):
        key = photo.sequence if shared else None
        near = [] if frame is None else [of[key, frame + step] for step in reach if (key, frame + step) in of]
        positives.append(None if frame is None else np.sort(np.concatenate([NO_ROWS, *near])))
    length = max(STRETCH, len(reach))
    return Truth.of(gallery, queries, positives, stretches(queries, [frame or 0 for frame in asking], length=length))


def _frame(photo: Photo) -> int | None:
    """The frame, or else the last number in the file's name."""
    if photo.frame is not None:
        return photo.frame
    found = re.findall(r"\d+", photo.path.stem)
    return int(found[-1]) if found else None


def _by_pairs(protocol: Protocol, source: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    said = read_pairs(protocol.pairs, source) if protocol.pairs else source.positives
    if not said:
        message = "the source must say which photos show the same, got nothing; add positives.csv or name a file"
        message += " as in pairs:FILE"
        raise EvaluationError(message)
    if not queries:
        return _own_past(protocol, gallery, said)
    if protocol.exclude_last is not None:
        message = f"exclude_last must come with one sequence that asks its own past, got a source with {len(queries)}"
        message += " queries; leave it out"
        raise EvaluationError(message)
    positives = _rows_named(said, gallery, queries)
    return Truth.of(gallery, queries, positives, sharing(positives, [photo.path for photo in queries]))


def _own_past(
    protocol: Protocol, photos: Sequence[Photo], said: Mapping[PurePosixPath, tuple[PurePosixPath, ...]]
) -> Truth:
    """Each frame asks the frames of its sequence before it, but for the last ones: loop closure."""
    last = EXCLUDE_LAST if protocol.exclude_last is None else protocol.exclude_last
    frames = [number if photo.frame is None else photo.frame for number, photo in enumerate(photos)]
    order = sorted(range(len(photos)), key=lambda row: (photos[row].sequence or "", frames[row]))
    photos, frames = [photos[row] for row in order], [frames[row] for row in order]
    candidates = np.empty((len(photos), 2), dtype=np.int64)
    for rows in rows_by([photo.sequence or "" for photo in photos]).values():
        numbers = np.array(frames)[rows]
        candidates[rows, 0] = rows[0]
        candidates[rows, 1] = rows[0] + np.searchsorted(numbers, numbers - last)
    positives = [
        rows[(rows >= low) & (rows < high)]
        for rows, (low, high) in zip(_rows_named(said, photos, photos), candidates.tolist(), strict=True)
    ]
    return Truth.of(photos, photos, positives, stretches(photos, frames), candidates=candidates)


def _rows_named(
    said: Mapping[PurePosixPath, tuple[PurePosixPath, ...]], gallery: Sequence[Photo], queries: Sequence[Photo]
) -> list[Rows]:
    row_of = {photo.path: row for row, photo in enumerate(gallery)}
    return [_numbers(said.get(photo.path, ()), row_of) for photo in queries]


def _numbers(paths: Sequence[PurePosixPath], row_of: Mapping[PurePosixPath, int]) -> Rows:
    return np.unique(np.array([row_of[path] for path in paths if path in row_of], dtype=np.int64))


def _by_grade(_: Protocol, source: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    if not source.grades:
        message = "the source must grade its positives as easy, hard and junk, got no grades; name a revisited set"
        raise EvaluationError(message)
    row_of = {photo.path: row for row, photo in enumerate(gallery)}
    grades = [source.grades.get(photo.path, Grades()) for photo in queries]
    easy, hard, junk = (
        [_numbers(getattr(grade, name), row_of) for grade in grades] for name in ("easy", "hard", "junk")
    )
    known = [photo.path in source.grades for photo in queries]
    both = [np.union1d(*pair) for pair in zip(easy, hard, strict=True)]
    setups = {
        "easy": tuple(zip(easy, map(np.union1d, junk, hard), strict=True)),
        "medium": tuple(zip(both, junk, strict=True)),
        "hard": tuple(zip(hard, map(np.union1d, junk, easy), strict=True)),
    }
    positives = [rows if there else None for rows, there in zip(both, known, strict=True)]
    groups = sharing(both, [photo.path for photo in queries])
    return Truth.of(gallery, queries, positives, groups, setups=setups)


_GRADED = tuple(
    f"{name}_revisited_{setup}{k}"
    for name, ks in (("map", ("",)), ("mp", ("@1", "@5", "@10")))
    for setup in ("easy", "medium", "hard")
    for k in ks
)

_OF_ITS_PLACE = "a gallery photo of the query's place is right; a query whose place the gallery lacks is open-set"

KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "place": _Kind("place", _plain("place", _OF_ITS_PLACE), _by_place, labelled=True),
        "radius": _Kind("radius:25m[:drop]", _read_radius, _by_radius),
        "frames": _Kind("frames:±10", _read_frames, _by_frame),
        "pairs": _Kind("pairs[:FILE]", _read_pairs, _by_pairs),
        "revisited": _Kind(
            "revisited",
            _plain("revisited", "easy, medium and hard positives with junk removed; Recall@K is that of medium"),
            _by_grade,
            metrics=_GRADED,
        ),
        "landmarks-gap": _Kind(
            "landmarks-gap",
            _plain("landmarks-gap", f"one prediction a query, all in one list by confidence; {_OF_ITS_PLACE}"),
            _by_place,
            metrics=(*_PLAIN, "gap_in_order"),
            labelled=True,
        ),
    }
)
"""Every protocol by the name that its spelling begins with."""
