"""Which pictures are nearly the same? Outlines, small gray images of photos, and the pairs of them that agree.

Near-duplicates are rescaled, recompressed, lightly edited, mirrored, turned or slightly cropped copies of one picture,
as against different photos of one place. They are found in two steps: ``views`` finds pairs at low resolution,
``alignment`` scales and shifts one of each pair onto the other and compares them in detail.

Of copies of 779 photos this finds all that were recompressed (JPEG quality 30), halved in size, mirrored, turned by 90
or 180 degrees, darkened, made gray or given more contrast; 99.5 % of brighter ones; 98.7 % of those that lost 10 % of
width and of height at one corner, mirrored or not, and 99.6 % or more of those that lost up to 10 % anywhere, halved
and recompressed or not; 99 % of those with a line of text in them or a border of 3 %. More than half of those with a
caption over a tenth of the height are not found, nor are free rotations. On 535 web photos of 20 landmarks three pairs
reach the default threshold. Each was looked at and is one picture.

What it cannot tell from a copy is a second photo from nearly the same point: a few frames of a video, or of a camera
that came by again, are called nearly the same, and truly are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from placewise.core import Image
from placewise.grouping import Ties
from placewise.machine import usable_cores
from placewise.outlines.alignment import similarities
from placewise.outlines.views import Candidates, candidates, motions, oriented

SIDE = 64  # pixels of an outline's side
NEAR = 0.87
"""The similarity from which two outlines are near-duplicates, where nothing else is asked for."""

_BLANK = 4.0  # an outline whose standard deviation is below this, of 255, shows nothing to compare
_BLOCK = 128  # pairs that are aligned at a time


def outline(image: Image) -> NDArray[np.uint8]:
    """A gray image of 64 x 64 area means; the shape is given up so that every photo can be compared with every one."""
    gray = PIL.Image.fromarray(image).convert("L")
    return np.array(gray.resize((SIDE, SIDE), PIL.Image.Resampling.BOX))


def is_blank(outline: NDArray[np.uint8]) -> bool:
    """Whether an outline shows too little to be compared."""
    return float(outline.std()) < _BLANK


def near_pairs(
    outlines: NDArray[np.uint8],
    contents: NDArray[np.int64],
    in_gallery: NDArray[np.bool_],
    *,
    threshold: float,
    sequences: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Pairs ``(P, 2)`` of near-duplicates, first index below second, enough to connect every group of them.

    Two of a group that other pairs connect need not be a pair themselves, so that the time and the number of pairs
    grow no faster where all photos are alike, as in a video. Of sequences there are as many pairs as it takes to
    connect the groups without those within a sequence, too, by at least one frame of each sequence in each split.

    Args:
        outlines: ``(N, 64, 64)``, none of them blank.
        contents: ``(N,)`` numbers of the files' contents; equal ones are not paired.
        in_gallery: ``(N,)``; every outline keeps its best partners in the gallery and among the queries.
        threshold: the similarity after alignment, above 0 and up to 1, from which a pair counts.
        sequences: ``(N,)`` numbers of the sequences of which they are frames; -1, as is the default, for others.
    """
    sequences = np.full(len(outlines), -1) if sequences is None else sequences
    ties = Ties(sequences)
    equal, members = _equal_pairs(outlines, contents, in_gallery, sequences)
    ties.join(equal)
    found = [equal]
    # A group's nearest may all be of the group itself. Hence groups are compared again, by their first members, as
    # long as they become fewer: by half each time.
    while len(members) > 1:
        likely = candidates(outlines, contents, in_gallery, members)
        pairs = _joining_pairs(outlines, likely, ties, threshold)
        found.append(pairs)
        members = np.unique([ties.groups.first(int(one)) for one in pairs[:, 0]]).astype(np.int64)
    firsts = ties.firsts(in_gallery)  # the nearest of a frame may all be of its own sequence
    if len(firsts) > 1:
        found.append(_joining_pairs(outlines, candidates(outlines, contents, in_gallery, firsts), ties, threshold))
    near: NDArray[np.int64] = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return near


def _equal_pairs(
    outlines: NDArray[np.uint8],
    contents: NDArray[np.int64],
    in_gallery: NDArray[np.bool_],
    sequences: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs ``(P, 2)`` that connect equal outlines, and of each the first in each split and each sequence."""
    equals: defaultdict[bytes, list[int]] = defaultdict(list)
    first: dict[tuple[bytes, bool, int], int] = {}
    for number, picture in enumerate(outlines):
        digest = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        equals[digest].append(number)
        first.setdefault((digest, bool(in_gallery[number]), int(sequences[number])), number)
    pairs: list[tuple[int, int]] = []
    for one, *others in equals.values():
        alien = [number for number in others if sequences[number] < 0 or sequences[number] != sequences[one]]
        pairs += [(one, number) for number in others]
        pairs += [(alien[0], number) for number in others if alien and sequences[number] == sequences[one] >= 0]
    unlike = [(one, other) for one, other in pairs if contents[one] != contents[other]]
    return np.array(unlike, dtype=np.int64).reshape(-1, 2), np.array(sorted(first.values()), dtype=np.int64)


def _joining_pairs(outlines: NDArray[np.uint8], found: Candidates, ties: Ties, threshold: float) -> NDArray[np.int64]:
    """Near-duplicates ``(P, 2)`` among candidates that were not connected; they are joined.

    Best partners come first, so that of the others only those are aligned whose groups are not yet joined.
    """
    near = [np.empty((0, 2), dtype=np.int64)]
    for rank in np.unique(found.rank):
        ranked = found.of(found.rank == rank)
        pairs = np.column_stack((ranked.seen, ranked.fixed))
        apart = ties.apart(pairs)
        pairs, views = pairs[apart], ranked.view[apart]
        near.append(pairs[_similarities(outlines, pairs, views, threshold) >= threshold])
        ties.join(near[-1])
    return np.concatenate(near)


def _similarities(
    outlines: NDArray[np.uint8], pairs: NDArray[np.int64], views: NDArray[np.int64], threshold: float
) -> NDArray[np.float64]:
    """Similarities of pairs ``(P, 2)``, whose first is moved as its view says, on all processor cores."""

    def of_block(start: int) -> NDArray[np.float64]:
        block = np.s_[start : start + _BLOCK]
        moving = oriented(outlines[pairs[block, 0]], views[block])
        return similarities(outlines[pairs[block, 1]], moving, motions(views[block]), threshold=threshold)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return np.concatenate([np.empty(0), *pool.map(of_block, range(0, len(pairs), _BLOCK))])
