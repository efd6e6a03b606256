"""Copies of one picture: which photos are the same file, which are nearly the same, and what belongs together.

Neighbouring frames of a sequence are alike by nature: what is alike within a sequence is noted once for the whole
sequence, and makes no group. A frame that is a copy of a photo outside its sequence is in a group as any other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placewise.core import Finding, Photo
from placewise.doctor.kinds import finding, listed
from placewise.doctor.look import Look
from placewise.grouping import Groups
from placewise.outlines import near_pairs


@dataclass(frozen=True, slots=True)
class Group:
    """Copies of one picture: the same file, or nearly the same picture.

    Attributes:
        photos: two or more, in the order of the source.
        contents: for each of them a number, equal for photos that are the same file.
    """

    photos: tuple[Photo, ...]
    contents: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """Whether all of them are the same file."""
        return len(set(self.contents)) == 1

    @property
    def crosses_splits(self) -> bool:
        """Whether some are in the gallery and some among the queries."""
        return crosses_splits(self.photos)

    @property
    def places(self) -> tuple[str, ...]:
        """The places that they carry, sorted."""
        return places_of(self.photos)


def crosses_splits(photos: Iterable[Photo]) -> bool:
    """Whether photos are in the gallery and among the queries."""
    return len({photo.split for photo in photos}) > 1


def places_of(photos: Iterable[Photo]) -> tuple[str, ...]:
    """The different places of photos, sorted."""
    return tuple(sorted({photo.place for photo in photos if photo.place is not None}))


def find_copies(looks: Sequence[Look], threshold: float) -> tuple[tuple[Group, ...], tuple[Finding, ...]]:
    """The groups of copies, and what is to be said of copies and of frames that are alike.

    Args:
        looks: one for each photo of the source.
        threshold: the similarity from which aligned pictures are nearly the same.
    """
    there = [look for look in looks if look.facts.digest is not None]
    photos = [look.facts.photo for look in there]
    contents = _contents(there)
    sequences = _sequences(photos)
    pairs = _near(there, contents, sequences, threshold)
    one, other = sequences[pairs].T
    within = (one == other) & (one >= 0)
    groups = tuple(
        Group(tuple(photos[row] for row in rows), tuple(int(contents[row]) for row in rows))
        for rows in connected(len(there), contents, pairs[~within])
        if len(rows) > 1
    )
    findings = (
        *(found for group in groups for found in _duplicates(group)),
        *(found for group in groups for found in _near_duplicates(group)),
        *_frames(photos, pairs[within]),
        *(found for group in groups for found in _place_conflicts(group)),
    )
    return groups, findings


def _contents(looks: Sequence[Look]) -> NDArray[np.int64]:
    """Numbers ``(N,)`` of the files' contents, equal for the same file."""
    numbers: dict[bytes | None, int] = {}
    return np.array([numbers.setdefault(look.facts.digest, len(numbers)) for look in looks], dtype=np.int64)


def _sequences(photos: Sequence[Photo]) -> NDArray[np.int64]:
    """Numbers ``(N,)`` of the sequences of photos; -1 for what is no frame."""
    numbers: dict[str, int] = {}
    return np.array(
        [-1 if photo.sequence is None else numbers.setdefault(photo.sequence, len(numbers)) for photo in photos],
        dtype=np.int64,
    )


def _near(
    looks: Sequence[Look], contents: NDArray[np.int64], sequences: NDArray[np.int64], threshold: float
) -> NDArray[np.int64]:
    """Pairs ``(P, 2)`` of rows that are nearly the same.

    Of the same files, one stands for all in each split and in each sequence.
    """
    first: dict[tuple[int, str, int], int] = {}
    for row, look in enumerate(looks):
        if look.outline is not None:
            first.setdefault((int(contents[row]), look.facts.photo.split, int(sequences[row])), row)
    rows = np.array(sorted(first.values()), dtype=np.int64)
    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.int64)
    outlines = np.stack([outline for row in rows if (outline := looks[row].outline) is not None])
    in_gallery = np.array([looks[row].facts.photo.split == "gallery" for row in rows])
    return rows[near_pairs(outlines, contents[rows], in_gallery, threshold=threshold, sequences=sequences[rows])]


def _duplicates(group: Group) -> Iterator[Finding]:
    """One finding for each set of the same file in a group."""
    same: defaultdict[int, list[Photo]] = defaultdict(list)
    for photo, content in zip(group.photos, group.contents, strict=True):
        same[content].append(photo)
    for photos in same.values():
        if len(photos) > 1 and crosses_splits(photos):
            detail = "the same file is in gallery and query: remove it from one of them, or results are too good"
            yield finding("cross_split_duplicate", photos, detail)
        elif len(photos) > 1:
            yield finding("duplicate", photos, f"{len(photos)} photos are the same file: keep one of them")


def _near_duplicates(group: Group) -> Iterator[Finding]:
    """A finding for a group that is more than one file; of the same files, one in each split is named."""
    if group.exact:
        return
    first: dict[tuple[int, str], Photo] = {}
    for photo, content in zip(group.photos, group.contents, strict=True):
        first.setdefault((content, photo.split), photo)
    photos = [*first.values()]
    crosses = crosses_splits(photos)
    todo = (
        "of copies that gallery and query share, remove those on one side, or results are too good"
        if crosses
        else "if they are copies of one picture, keep one of them"
    )
    kind = "cross_split_near_duplicate" if crosses else "near_duplicate"
    yield finding(kind, photos, f"{len(photos)} photos are nearly the same: {todo}")


def _frames(photos: Sequence[Photo], pairs: NDArray[np.int64]) -> Iterator[Finding]:
    """One finding for all frames of a sequence that are like others of it, as is to be expected of them."""
    frames: dict[tuple[str, bool], list[int]] = {}
    for rows in connected(len(photos), np.arange(len(photos)), pairs):
        if len(rows) > 1:
            key = (photos[rows[0]].sequence or "", crosses_splits(photos[row] for row in rows))
            frames.setdefault(key, []).extend(rows)
    for (sequence, crosses), rows in frames.items():
        kind = "cross_split_near_duplicate" if crosses else "near_duplicate"
        todo = "put the whole sequence on one side, or results are too good" if crosses else "nothing to do"
        detail = f"{len(rows)} frames of sequence {sequence!r} are nearly the same as others of it: {todo}"
        yield finding(kind, (photos[row] for row in sorted(rows)), detail, "info")


def _place_conflicts(group: Group) -> Iterator[Finding]:
    """A finding for a group whose photos carry different places: an error where it is the same file."""
    if len(group.places) < 2:
        return
    labels: defaultdict[int, set[str]] = defaultdict(set)
    for photo, content in zip(group.photos, group.contents, strict=True):
        if photo.place is not None:
            labels[content].add(photo.place)
    same = any(len(places) > 1 for places in labels.values())
    what = "the same file carries" if same else "photos that are nearly the same carry"
    yield finding(
        "place_conflict",
        [photo for photo in group.photos if photo.place is not None],
        f"{what} different places ({listed(group.places)}): look which is right and correct the others",
        "error" if same else "warning",
    )


def connected(count: int, contents: NDArray[np.int64], pairs: NDArray[np.int64]) -> list[list[int]]:
    """Connected components, each in ascending order; equal contents are connected too."""
    groups = Groups(count)
    _, first, number = np.unique(contents, return_index=True, return_inverse=True)
    groups.join(np.column_stack((first[number], np.arange(count))))
    groups.join(pairs)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for node in range(count):
        members[groups.first(node)].append(node)
    return list(members.values())
