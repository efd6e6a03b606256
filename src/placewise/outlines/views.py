"""Which outlines may show the same picture? Every outline in many views, and the outlines that are most like one.

A view is one of ten windows of an outline, as a crop or a border leaves them, in one of the eight orientations that
mirroring and turning by right angles make. Views are compared by their slopes (differences of neighbouring pixels) at
6 x 6 pixels, where a window that is a few hundredths off is still like a crop. What is found are candidates: most are
different pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placewise.outlines.alignment import Motions

_PARTNERS = 4  # most candidates of a photo, and of its inside, in each split; bounds the work where all look alike
_LEAST = 0.8  # what the slopes of candidates correlate, at least; copies cropped at a corner by 10 % reach 0.87
_PIXELS = 6
_RANGES = ((0.0, 1.0), (0.0, 0.93), (0.07, 1.0), (0.04, 0.96))
_WINDOWS = (*((x, y) for x in range(3) for y in range(3)), (3, 3))  # numbers of the ranges along x and along y
_ORIENTATIONS = 8
_BLOCK = 256  # outlines whose views are compared at a time
_EXHAUSTIVE = 1000  # up to so many outlines each view is compared with all
_LISTS_SEARCHED = 8  # of the lists of more: one of the views of a copy is nearly always in one of them
_LARGEST = 4  # a search visits at most so many times what the searched lists hold on average


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of outlines that may show the same picture.

    Attributes:
        seen: ``(P,)`` numbers of the outlines that are moved.
        fixed: ``(P,)`` numbers of the outlines onto which they are moved.
        view: ``(P,)`` numbers of the views of ``seen`` that are most like ``fixed``.
        likeness: ``(P,)`` correlation of that view and ``fixed`` at low resolution.
        rank: ``(P,)``; 0 for the most similar partner of ``seen`` in its split, then 1, and so on.
    """

    seen: NDArray[np.int64]
    fixed: NDArray[np.int64]
    view: NDArray[np.int64]
    likeness: NDArray[np.float32]
    rank: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        """Some of them."""
        return Candidates(
            self.seen[chosen], self.fixed[chosen], self.view[chosen], self.likeness[chosen], self.rank[chosen]
        )


def candidates(
    outlines: NDArray[np.uint8],
    contents: NDArray[np.int64],
    in_gallery: NDArray[np.bool_],
    members: NDArray[np.int64],
) -> Candidates:
    """The best partners of every member among those of other content, in the gallery and among the queries.

    Memory grows with the number of members, time with its power 1.5, whatever the outlines show.
    """
    described = np.concatenate([_views(outlines[block], orientations=1)[:, 0] for block in _blocks(members)])
    found: list[Candidates] = []
    for chosen in (in_gallery[members], ~in_gallery[members]):
        side = members[chosen]
        if not side.size:
            continue
        index = _index(described[chosen])
        # One more than is kept, since itself or the same content in the other split is among them.
        count = min(_PARTNERS + 1, len(side))
        for block in _blocks(members):
            views = _views(outlines[block])
            values, best = index.search(views.reshape(-1, views.shape[2]), count)
            partners = np.where(best >= 0, side[best], -1).reshape(len(block), -1)
            found.append(_best_partners(block, values.reshape(len(block), -1), partners, contents))
    return _once_a_pair(found)


def _once_a_pair(found: Sequence[Candidates]) -> Candidates:
    """All that was found; of a pair that was found from both sides, the side from which it is more alike."""
    together = Candidates(
        np.concatenate([some.seen for some in found]),
        np.concatenate([some.fixed for some in found]),
        np.concatenate([some.view for some in found]),
        np.concatenate([some.likeness for some in found]),
        np.concatenate([some.rank for some in found]),
    )
    low, high = np.minimum(together.seen, together.fixed), np.maximum(together.seen, together.fixed)
    order = np.lexsort((-together.likeness, high, low))
    low, high = low[order], high[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return together.of(order[first])


def oriented(pictures: NDArray[np.uint8], views: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pictures ``(N, side, side)`` turned and mirrored as the orientations of their views ``(N,)`` say."""
    turned = np.empty_like(pictures)
    for orientation in range(_ORIENTATIONS):
        chosen = views // len(_WINDOWS) == orientation
        turned[chosen] = _turned(pictures[chosen], orientation)
    return turned


def motions(views: NDArray[np.int64]) -> Motions:
    """The motions, ``(N, 4)``, that the windows of views ``(N,)`` are in the oriented outlines."""
    return np.array([_motion(view) for view in range(_ORIENTATIONS * len(_WINDOWS))], np.float32)[views]


def _motion(view: int) -> list[float]:
    """The motion of one view: how far its window is from the whole, after mirroring and turning."""
    orientation, window = divmod(view, len(_WINDOWS))
    found = []
    for axis, number in enumerate(_WINDOWS[window]):
        low, high = _RANGES[number]
        middle = (low + high) / 2 - 0.5
        found.append((high - low - 1, -middle if orientation >> axis & 1 else middle))
    along_x, along_y = reversed(found) if orientation & 4 else found
    return [*along_x, *along_y]


def _turned(grids: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Grids ``(…, side, side)`` mirrored along x (bit 1), along y (bit 2), and then with both axes swapped (bit 4)."""
    turned = grids[..., :: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]
    return turned.swapaxes(-1, -2) if orientation & 4 else turned


def _blocks(members: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Members, so many at a time that their views need little memory."""
    return (members[start : start + _BLOCK] for start in range(0, len(members), _BLOCK))


def _views(outlines: NDArray[np.uint8], *, orientations: int = _ORIENTATIONS) -> NDArray[np.float32]:
    """Slopes ``(N, views, 60)`` of all views, rows of mean 0 and unit length; the first is the whole as it is."""
    side = outlines.shape[1]
    means = np.concatenate([_window_means(low, high, side) for low, high in _RANGES])
    grids = means @ outlines.astype(np.float32) @ means.T
    grids = grids.reshape(len(outlines), len(_RANGES), _PIXELS, len(_RANGES), _PIXELS)
    windows = np.stack([grids[:, y, :, x] for x, y in _WINDOWS], axis=1)
    turned = np.stack([_turned(windows, number) for number in range(orientations)], axis=1)
    along_x, along_y = np.diff(turned, axis=-1), np.diff(turned, axis=-2)
    shape = (len(outlines), orientations * len(_WINDOWS), -1)
    rows: NDArray[np.float32] = np.concatenate([along_x.reshape(shape), along_y.reshape(shape)], axis=2)
    rows -= rows.mean(axis=2, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=2, keepdims=True), 1e-6)
    return rows


def _window_means(low: float, high: float, side: int) -> NDArray[np.float32]:
    """Weights ``(6, side)`` that turn pixels into the means of six equal parts of a range."""
    edges = (low + (high - low) * np.arange(_PIXELS + 1) / _PIXELS) * side
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(0, overlap)
    weights /= weights.sum(axis=1, keepdims=True)
    means: NDArray[np.float32] = weights.astype(np.float32)
    return means


def _index(rows: NDArray[np.float32]) -> Any:
    """An index of rows by inner product.

    Many rows are kept in lists, four times the root of their number, of which the nearest few are searched.
    """
    import faiss

    rows = np.ascontiguousarray(rows)
    index = faiss.IndexFlatIP(rows.shape[1])
    if len(rows) > _EXHAUSTIVE:
        lists = int(4 * len(rows) ** 0.5)
        index = faiss.IndexIVFFlat(index, rows.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid, index.cp.niter = 1, 10
        index.train(rows[:: max(1, len(rows) // (40 * lists))])
        index.nprobe = _LISTS_SEARCHED
        index.max_codes = _LARGEST * _LISTS_SEARCHED * len(rows) // lists
    index.add(rows)
    return index


def _best_partners(
    seen: NDArray[np.int64], values: NDArray[np.float32], partners: NDArray[np.int64], contents: NDArray[np.int64]
) -> Candidates:
    """Of what was found for outlines ``seen``, both ``(N, views x count)``, the best partners.

    A partner that several views found counts once, by the most similar of them. Those that are most like the inside,
    the last window, are ranked for themselves: else photos in one kind of frame would know only each other.
    """
    likely = (values >= _LEAST) & (partners >= 0) & (contents[partners] != contents[seen][:, None])
    rows, columns = np.nonzero(likely)
    value, partner = values[rows, columns], partners[rows, columns]
    order = np.lexsort((-value, partner, rows))
    rows, columns, value, partner = rows[order], columns[order], value[order], partner[order]
    once = np.ones(len(rows), dtype=bool)
    once[1:] = (rows[1:] != rows[:-1]) | (partner[1:] != partner[:-1])
    rows, columns, value, partner = rows[once], columns[once], value[once], partner[once]
    view = columns // (values.shape[1] // (_ORIENTATIONS * len(_WINDOWS)))
    kind = 2 * rows + (view % len(_WINDOWS) == len(_WINDOWS) - 1)
    order = np.lexsort((-value, kind))
    kind = kind[order]
    rank = np.arange(len(kind)) - np.searchsorted(kind, kind)
    return Candidates(seen[rows[order]], partner[order], view[order], value[order], rank).of(rank < _PARTNERS)
