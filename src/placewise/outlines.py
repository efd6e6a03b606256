"""Which pictures are nearly the same? Outlines, small gray images of photos, and the pairs of them that agree.

Near-duplicates are rescaled, recompressed, lightly edited, mirrored or slightly cropped copies of one picture, as
against different photos of one place. They are found in two steps: outlines whose slopes (differences of neighbouring
pixels) are among the most similar at low resolution are candidates; a candidate pair is then aligned by scale and
shift, as a crop would need, and must correlate at full resolution. A photo that was taken from another point cannot be
aligned in this way.

On 535 web photos of 20 landmarks, the only pair that reaches the default threshold is one photo and its mirror image.
Of copies of these photos it finds all that were recompressed (JPEG quality 30), halved in size or mirrored, 99.6 % of
brighter ones, and 95 % of those that lost 5 % or 10 % of width and height around the middle. Of those that lost 10 % at
one corner it finds a quarter: more than that is not covered, nor are rotated copies.
"""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from placewise.core import Image

SIDE = 32  # pixels of an outline's side
_BLANK = 4.0  # an outline whose standard deviation is below this, of 255, shows nothing to compare
_COARSE = 0.7  # what the slopes of candidates correlate at 8 x 8 pixels, at least
_PARTNERS = 4  # most candidates of a photo in each split; bounds the work on videos, where all frames look alike
_EXHAUSTIVE = 10_000  # up to so many outlines each is compared with all
_LISTS_SEARCHED = 16  # of the lists of more: a copy is nearly always in one of them
_BLOCK = 512  # photos or pairs that are compared at a time
_STEPS = 5  # of the alignment; more change nothing


Outlines = NDArray[np.float32]
"""``(N, side, side)`` gray images."""


def outline(image: Image) -> NDArray[np.uint8]:
    """A gray image of 32 x 32 area means; the shape is given up so that every photo can be compared with every one."""
    gray = PIL.Image.fromarray(image).convert("L")
    return np.array(gray.resize((SIDE, SIDE), PIL.Image.Resampling.BOX))


def is_blank(outline: NDArray[np.uint8]) -> bool:
    """Whether an outline shows too little to be compared."""
    return float(outline.std()) < _BLANK


def near_pairs(
    outlines: NDArray[np.uint8], contents: NDArray[np.int64], in_gallery: NDArray[np.bool_], *, threshold: float
) -> NDArray[np.int64]:
    """Pairs ``(P, 2)`` of near-duplicates, first index below second.

    Args:
        outlines: ``(N, 32, 32)``, none of them blank.
        contents: ``(N,)`` numbers of the files' contents; equal ones are not paired.
        in_gallery: ``(N,)``; every outline keeps its best partners in the gallery and among the queries.
        threshold: the correlation after alignment, above 0 and up to 1, from which a pair counts.
    """
    values = _standardised(outlines)
    coarse = _slopes(_shrunk(values, 8))
    near = [np.empty((0, 2), dtype=np.int64)]
    for seen, moved in ((coarse, values), (_slopes(_shrunk(values[:, :, ::-1], 8)), values[:, :, ::-1])):
        pairs = _candidates(seen, coarse, contents, in_gallery)
        for start in range(0, len(pairs), _BLOCK):
            block = pairs[start : start + _BLOCK]
            near.append(block[_aligned_similarity(values[block[:, 1]], moved[block[:, 0]]) >= threshold])
    found: NDArray[np.int64] = np.unique(np.concatenate(near), axis=0)
    return found


def _candidates(
    seen: NDArray[np.float32], coarse: NDArray[np.float32], contents: NDArray[np.int64], in_gallery: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Pairs ``(P, 2)`` of outlines with different contents that may be near-duplicates, first index below second.

    Every outline, as ``seen``, keeps its best partners in each split.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for side in (np.flatnonzero(in_gallery), np.flatnonzero(~in_gallery)):
        if not side.size:
            continue
        # Two more than are kept, since itself and the same content in the other split are among them.
        similarities, best = _nearest(coarse[side], seen, min(_PARTNERS + 2, len(side)))
        partners = side[best]
        other = (similarities >= _COARSE) & (best >= 0) & (contents[partners] != contents[:, None])
        rows, ranks = np.nonzero(other & (np.cumsum(other, axis=1) <= _PARTNERS))
        found.append(np.column_stack((rows, partners[rows, ranks])))
    pairs: NDArray[np.int64] = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return pairs


def _nearest(
    coarse: NDArray[np.float32], seen: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The most similar ``count`` rows of ``coarse`` for each of ``seen``: similarities, descending, and row numbers.

    A row number is -1 where there are no more. Many rows are kept in lists, some four times the root of their number,
    of which the nearest few are searched: the time grows with the power 1.5 of their number.
    """
    import faiss

    index = faiss.IndexFlatIP(coarse.shape[1])
    if len(coarse) > _EXHAUSTIVE:
        lists = int(4 * len(coarse) ** 0.5)
        index = faiss.IndexIVFFlat(index, coarse.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1
        index.train(coarse[:: max(1, len(coarse) // (40 * lists))])
        index.nprobe = _LISTS_SEARCHED
    index.add(np.ascontiguousarray(coarse))
    similarities, best = index.search(np.ascontiguousarray(seen), count)
    return similarities, best


def _aligned_similarity(fixed: Outlines, moving: Outlines) -> NDArray[np.float64]:
    """Correlation of slopes, ``(N,)`` in -1..1, after ``moving`` is scaled and shifted along each axis onto ``fixed``.

    Gauss-Newton steps on the squared difference with a free gain and offset of brightness: B. D. Lucas and T. Kanade,
    "An iterative image registration technique", IJCAI 1981. Both are standardised, ``(N, 32, 32)``.
    """
    count = len(fixed)
    centred = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    motion = np.zeros((4, count), np.float32)  # scale - 1 and shift in pixels along x, then along y
    target = fixed.reshape(count, -1, 1)
    for _ in range(_STEPS):
        moved = _moved(moving, motion)
        along_y, along_x = np.gradient(moved, axis=(1, 2))
        columns = (along_x * centred, along_x, along_y * centred[:, None], along_y, moved, np.ones_like(moved))
        jacobian = np.stack(columns, axis=1).reshape(count, 6, -1).astype(np.float64)
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        normal += (np.trace(normal, axis1=1, axis2=2) * 1e-6)[:, None, None] * np.eye(6)  # flat pictures stay solvable
        step = np.linalg.solve(normal, jacobian @ target)[..., 0]
        motion += (step[:, :4] / np.maximum(step[:, 4:5], 0.2)).T.astype(np.float32)
        motion = np.clip(motion.T, [-0.15, -3, -0.15, -3], [0.15, 3, 0.15, 3]).T.astype(np.float32)
    inner = np.s_[:, 1:-1, 1:-1]
    similarities: NDArray[np.float64] = np.sum(_slopes(fixed[inner]) * _slopes(_moved(moving, motion)[inner]), axis=1)
    return similarities


def _moved(outlines: Outlines, motion: NDArray[np.float32]) -> Outlines:
    """Outlines sampled linearly at scaled and shifted pixel centres, ``(N, 32, 32)``; beyond the edge it repeats."""
    pixels = np.arange(SIDE, dtype=np.float32)
    centre = (SIDE - 1) / 2
    scale, shift = motion[[0, 2], :, None], motion[[1, 3], :, None]
    at = np.clip((1 + scale) * (pixels - centre) + shift + centre, 0, SIDE - 1)
    along_x, along_y = np.maximum(0, 1 - np.abs(at[..., None] - pixels))
    moved: Outlines = along_y @ outlines @ along_x.transpose(0, 2, 1)
    return moved


def _standardised(outlines: NDArray[np.uint8]) -> Outlines:
    """Outlines with mean 0 and standard deviation 1 each."""
    values = outlines.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= values.std(axis=(1, 2), keepdims=True)
    return values


def _shrunk(outlines: Outlines, side: int) -> Outlines:
    """Area means, ``(N, side, side)``."""
    step = SIDE // side
    means: Outlines = outlines.reshape(len(outlines), side, step, side, step).mean(axis=(2, 4))
    return means


def _slopes(outlines: Outlines) -> NDArray[np.float32]:
    """Differences of neighbouring pixels along both axes as rows of mean 0 and unit length, ``(N, dim)``."""
    along_x, along_y = np.diff(outlines, axis=2), np.diff(outlines, axis=1)
    rows: NDArray[np.float32] = np.concatenate(
        [along_x.reshape(len(outlines), -1), along_y.reshape(len(outlines), -1)], axis=1
    )
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows
