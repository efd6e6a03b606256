"""What each protocol counts as right, found in what a source says of its photos.

Each function takes the protocol, the source, and those of its gallery photos and queries that are there; it raises
EvaluationError where the source lacks what the protocol needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from placewise.core import Grades, Photo, Source
from placewise.errors import EvaluationError
from placewise.openset import Places
from placewise.scoring.truth import NO_ROWS, STRETCH, Groups, Protocol, Rows, Truth, rows_by, sharing, stretches
from placewise.sources.pairs import POSITIVES, read_pairs
from placewise.sources.utm import Plane, is_named, planes_of

EXCLUDE_LAST = 50
"""Frames before the query that a loop closure must not be: they are alike because the camera has hardly moved."""

_SPOT_M = 50.0
"""How wide a group of queries is at least where places are spots: photos so near one another look alike."""

_MICROMETRE = 1e-6
"""What is lost on the way from metres to degrees and back; an inclusive radius must not depend on it."""


def by_place(_: Protocol, __: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    """Photos of one label show the same."""
    rows = rows_by([photo.place for photo in gallery])
    if not rows:
        message = "the gallery must hold a photo with a place, got none; put places into the manifest"
        raise EvaluationError(message)
    if not any(photo.place for photo in queries):
        message = "there must be a query with a place, got none; give photos split 'query' and their place"
        raise EvaluationError(message)
    positives = [None if photo.place is None else rows.get(photo.place, NO_ROWS) for photo in queries]
    return Truth.of(gallery, queries, positives, Groups.of([photo.place for photo in queries], "places"))


def by_radius(protocol: Protocol, _: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    """Photos within a radius show the same."""
    named = all(is_named(photo.path.name) for photo in (*gallery, *queries))
    for what, photos in (("gallery photo", gallery), ("query", queries)):
        if not ((named and photos) or any(photo.position for photo in photos)):
            message = f"there must be a {what} with a position, got none; put lat and lon into the manifest"
            raise EvaluationError(message)
    positives: list[Rows | None] = [None] * len(queries)
    for plane in planes_of(queries, gallery):
        for row, found in zip(plane.rows.tolist(), _within(plane, protocol.reach), strict=True):
            positives[row] = found
    return Truth.of(gallery, queries, positives, _spots(queries, protocol.reach), misses=protocol.misses)


def _within(plane: Plane, radius_m: float) -> Iterator[Rows]:
    """For each photo of a plane the others within a radius, inclusive."""
    radius_m += _MICROMETRE
    order = np.argsort(plane.others[:, 0], kind="stable")  # NaN come last
    east = plane.others[order, 0]
    for x, y in plane.metres:
        rows = order[np.searchsorted(east, x - radius_m) : np.searchsorted(east, x + radius_m, side="right")]
        yield np.sort(rows[np.hypot(plane.others[rows, 0] - x, plane.others[rows, 1] - y) <= radius_m])


def _spots(queries: Sequence[Photo], radius_m: float) -> Groups:
    """Queries near one another are one group: near enough to share what is right for them."""
    spot_m = max(_SPOT_M, 2 * radius_m)
    degrees = [(p.position.lat, p.position.lon) if p.position else (np.nan, np.nan) for p in queries]
    codes = Places.of_positions(np.array(degrees), spot_m=spot_m).codes
    return Groups(codes, f"spots of {spot_m:g} m around a query")


def by_frame(protocol: Protocol, _: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    """Frames whose numbers are near one another show the same."""
    numbers = [_frame(photo) for photo in gallery]
    asking = [_frame(photo) for photo in queries]
    for what, frames in (("gallery photo", numbers), ("query", asking)):
        if all(frame is None for frame in frames):
            message = f"there must be a {what} with a frame, got none; put frames into the manifest"
            raise EvaluationError(message)
    # Traverses have names of their own, and one numbering. Sequences that both sides have are numbered each by itself.
    shared = _shared_sequences(gallery, queries)
    of = rows_by([(p.sequence if shared else None, n) for p, n in zip(gallery, numbers, strict=True)])
    reach = range(-int(protocol.reach), int(protocol.reach) + 1)
    positives: list[Rows | None] = []
    for photo, frame in zip(queries, asking, strict=True):
        key = photo.sequence if shared else None
        near = [] if frame is None else [of[key, frame + step] for step in reach if (key, frame + step) in of]
        positives.append(None if frame is None else np.sort(np.concatenate([NO_ROWS, *near])))
    length = max(STRETCH, len(reach))
    return Truth.of(gallery, queries, positives, stretches(queries, [frame or 0 for frame in asking], length=length))


def _shared_sequences(gallery: Sequence[Photo], queries: Sequence[Photo]) -> set[str]:
    """The names of sequences that both sides have; either all of the queries' or none."""
    asking = {photo.sequence for photo in queries if photo.sequence}
    shared = asking & {photo.sequence for photo in gallery if photo.sequence}
    if shared and asking - shared:
        message = f"all sequences of queries or none must be in the gallery, got {min(shared)!r} that is and "
        message += f"{min(asking - shared)!r} that is not, so that frames have no common numbering; rename them"
        raise EvaluationError(message)
    return shared


def _frame(photo: Photo) -> int | None:
    """The frame, or else the last number in the file's name."""
    if photo.frame is not None:
        return photo.frame
    found = re.findall(r"\d+", photo.path.stem)
    return int(found[-1]) if found else None


def by_pairs(protocol: Protocol, source: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    """What the source, or a table, says to show the same does."""
    beside = source.root / POSITIVES
    table = protocol.pairs or (beside if not source.positives and beside.is_file() else None)
    said = read_pairs(table, source) if table else source.positives
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
        rows[(rows >= low) & (rows < high)] if low < high else None  # nothing was there to be recognised
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


def by_grade(_: Protocol, source: Source, gallery: Sequence[Photo], queries: Sequence[Photo]) -> Truth:
    """Positives are easy or hard, and some photos are junk."""
    if not source.grades:
        message = "the source must grade its positives as easy, hard and junk, got no grades; name a revisited set"
        raise EvaluationError(message)
    row_of = {photo.path: row for row, photo in enumerate(gallery)}
    grades = [source.grades.get(photo.path, Grades()) for photo in queries]
    easy, hard, junk = (
        [_numbers(getattr(grade, name), row_of) for grade in grades] for name in ("easy", "hard", "junk")
    )
    both = [np.union1d(*pair) for pair in zip(easy, hard, strict=True)]
    setups = {
        "easy": tuple(zip(easy, map(np.union1d, junk, hard), strict=True)),
        "medium": tuple(zip(both, junk, strict=True)),
        "hard": tuple(zip(hard, map(np.union1d, junk, easy), strict=True)),
    }
    positives = [rows if rows.size else None for rows in both]  # as the cited code, which leaves the others out
    groups = sharing(both, [photo.path for photo in queries])
    return Truth.of(gallery, queries, positives, groups, setups=setups)
