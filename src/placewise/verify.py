"""Do two photos show the same thing? Matches of their keypoints, the geometry that explains them, and its significance.

The law of this module: significance is -log10 of the number of false alarms (NFA), the expected number of models, of
all that were tried on a pair, that so many matches would agree with by chance; higher is better. A pair is accepted
where the NFA is at most ``chance``. No number of inliers is ever a threshold. Matches along one margin of both photos
are no evidence: a caption, a date stamp, or the frame of a print gives them as well.

The NFA is that of L. Moisan and B. Stival, "A probabilistic criterion to detect rigid point matches between two images
and estimate the fundamental matrix", IJCV 2004; `placewise.geometry` says what is different here.

Everything is deterministic: descriptors are integers whose dot products float32 holds exactly, and OpenCV's estimators
start from a fixed state. Threads may share features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.errors import OptionError
from placewise.geometry import SIDE, Ends, explained

if TYPE_CHECKING:
    from placewise.features import Features
    from placewise.geometry import Kind, Model

CHANCE = 0.01
"""Of unrelated pairs, at most this share is expected to be accepted."""

RATIO = 0.95
"""How far a descriptor must be from the nearest other one, at most this times as far as from its match."""

_MARGIN = 0.1  # of the width or height: how far captions and stamps reach into a photo
_CELL = 4.0  # in the unit of `placewise.geometry`: of matches nearer to one another than about this, one counts
_GRID = 8  # cells along each side, for the spread


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """What geometry says of a pair of photos.

    Attributes:
        accepted: whether the pair shows the same thing: the significance is at least -log10 of ``chance``.
        significance: -log10 of the number of false alarms, 0 or more; it ranks candidates of one query.
        kind: the model that counts; None where no model explains more than chance does.
        matrix: ``(3, 3)`` float64, in pixels of the originals: a similarity or homography takes query points (x, y, 1)
            to candidate points, a fundamental matrix F makes ``candidate @ F @ query`` 0; None without a model.
        query_points: ``(M, 2)`` float32, the matched keypoints that are evidence, (x, y) in pixels of the original.
        candidate_points: ``(M, 2)`` float32, their partners.
        inliers: ``(M,)`` bool, the matches that agree with the model.
        spread: the share of 8 x 8 cells that hold an inlier, in the photo where that is less.
    """

    accepted: bool
    significance: float
    kind: Kind | None
    matrix: NDArray[np.float64] | None
    query_points: NDArray[np.float32]
    candidate_points: NDArray[np.float32]
    inliers: NDArray[np.bool_]
    spread: float

    @property
    def inlier_count(self) -> int:
        """How many matches agree with the model."""
        return int(np.count_nonzero(self.inliers))


def match(query: Features, candidate: Features, *, ratio: float = RATIO) -> NDArray[np.int64]:
    """Pairs of keypoints that are each other's nearest, and distinctly so.

    Args:
        query: features of one photo.
        candidate: features of the other.
        ratio: the distance between the two, of descriptors of unit length, is less than this times the distance of
            either to the second nearest.

    Returns:
        ``(M, 2)`` row numbers in query and candidate, the most distinct first.
    """
    if not 0 < ratio <= 1:
        message = f"ratio must be above 0 and at most 1, got {ratio}; leave it out for {RATIO}"
        raise OptionError(message)
    if min(len(query), len(candidate)) < 2:
        return np.empty((0, 2), np.int64)
    similar = _similarities(query.descriptors, candidate.descriptors)
    nearest = similar.argmax(axis=1)
    best = similar[np.arange(len(query)), nearest]
    mutual = best >= similar.max(axis=0)[nearest]
    claims = np.bincount(nearest[mutual], minlength=len(candidate))
    rows = np.flatnonzero(mutual & (claims[nearest] == 1))  # where two are equally near, neither is distinct
    similar[rows, nearest[rows]] = -1.0
    second = np.maximum(similar[rows].max(axis=1, initial=-1.0), similar.max(axis=0)[nearest[rows]])
    here, there = np.maximum(1 - best[rows], 0), np.maximum(1 - second, 0)  # half of the squared distances
    kept = np.flatnonzero(here < there * np.float32(ratio**2))
    kept = rows[kept[np.argsort(here[kept] / there[kept], kind="stable")]]
    return np.column_stack((kept, nearest[kept]))


def verify(query: Features, candidate: Features, *, ratio: float = RATIO, chance: float = CHANCE) -> Verification:
    """Match two photos' keypoints, explain the matches by geometry, and say how surely that is no chance.

    Args:
        query: features of one photo.
        candidate: features of the other.
        ratio: see `match`.
        chance: the expected number of models that explain an unrelated pair as well; for one answer out of K
            candidates, divide by K.
    """
    if not 0 < chance <= 1:
        message = f"chance must be above 0 and at most 1, got {chance}; leave it out for {CHANCE}"
        raise OptionError(message)
    pairs = _thinned(query, candidate, _telling(query, candidate, match(query, candidate, ratio=ratio)))
    model = explained(_ends(query, pairs[:, 0]), _ends(candidate, pairs[:, 1]))
    points = query.points[pairs[:, 0]], candidate.points[pairs[:, 1]]
    inliers = np.zeros(len(pairs), dtype=bool) if model is None else model.inliers
    return Verification(
        accepted=model is not None and model.significance >= -math.log10(chance),
        significance=0.0 if model is None else model.significance,
        kind=None if model is None else model.kind,
        matrix=None if model is None else _in_pixels(model, query, candidate),
        query_points=points[0],
        candidate_points=points[1],
        inliers=inliers,
        spread=min(_spread(points[0][inliers], query.size), _spread(points[1][inliers], candidate.size)),
    )


def _similarities(query: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Cosines ``(N, M)``; the dot products are of integers below 2**24, so that no order of summing changes them."""
    one, other = query.astype(np.float32), candidate.astype(np.float32)
    similar = one @ other.T
    similar *= _inverse_lengths(one)[:, None]
    similar *= _inverse_lengths(other)
    return similar


def _inverse_lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 over the length of each row ``(N, 128)``; of a row of zeros, 1."""
    lengths: NDArray[np.float32] = 1 / np.sqrt(np.maximum(np.einsum("ij,ij->i", rows, rows), np.float32(1)))
    return lengths


def _to_units(features: Features) -> NDArray[np.float64]:
    """``(3, 3)``: takes pixels of the original to those of an image whose longer side is `SIDE`."""
    scale = SIDE / max(features.size)
    shift = (scale - 1) / 2
    return np.array([[scale, 0.0, shift], [0.0, scale, shift], [0.0, 0.0, 1.0]])


def _ends(features: Features, rows: NDArray[np.int64]) -> Ends:
    """Some keypoints, in the unit of geometry."""
    units = _to_units(features)
    points = features.points[rows].astype(np.float64) * units[0, 0] + units[0, 2]
    return Ends(
        points, features.scales[rows] * units[0, 0] * np.exp(1j * np.deg2rad(features.angles[rows], dtype=float))
    )


def _telling(query: Features, candidate: Features, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The matches but for those that lie along one margin of both photos."""
    here, there = _margins(query)[pairs[:, 0]], _margins(candidate)[pairs[:, 1]]
    return pairs[~(here & there).any(axis=1)]


def _margins(features: Features) -> NDArray[np.bool_]:
    """``(N, 4)``: whether each keypoint is at the left, upper, right, lower margin."""
    shares = (features.points + 0.5) / np.array(features.size, np.float32)
    return np.concatenate((shares < _MARGIN, shares > 1 - _MARGIN), axis=1)


def _thinned(query: Features, candidate: Features, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most distinct match of each small cell, in both photos."""
    for side, features in enumerate((query, candidate)):
        cells = np.floor(_ends(features, pairs[:, side]).points / _CELL).astype(np.int64)
        _, first = np.unique(cells @ np.array((1, 4096)), return_index=True)
        pairs = pairs[np.sort(first)]
    return pairs


def _in_pixels(model: Model, query: Features, candidate: Features) -> NDArray[np.float64]:
    """The matrix of a model, in pixels of the originals."""
    to_query, to_candidate = _to_units(query), _to_units(candidate)
    before = to_candidate.T if model.kind == "fundamental" else np.linalg.inv(to_candidate)
    matrix: NDArray[np.float64] = before @ model.matrix @ to_query
    return matrix


def _spread(points: NDArray[np.float32], size: tuple[int, int]) -> float:
    """The share of cells of an image that hold a point."""
    cells = np.clip(np.floor((points + 0.5) * (_GRID / np.array(size))), 0, _GRID - 1).astype(np.int64)
    return len(np.unique(cells @ np.array((1, _GRID)))) / _GRID**2
