"""Matches of two photos → the model that explains them best, and the significance of that.

Three kinds are tried. A similarity follows from a single match, of the position, scale and angle of its keypoints
(J. Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007): few tries, so few
matches suffice. Where there is one, a homography (4 matches) is estimated with MAGSAC++ (D. Barath et al., CVPR 2020),
and where half of the matches agree with neither, a fundamental matrix (7), too. The kind with the highest significance
counts.

The law of this module: what agrees by chance is learned from the pair itself. Of *wrong* matches, the query point of
one with the candidate point of another, the share that agrees with a model is the probability that a match agrees with
it by chance. So points in a cluster, models that collapse into a point, and photos that are merely alike in their
layout get no credit. (Moisan and Stival take that probability from the areas, as if points lay anywhere.)

All lengths are in pixels of an image whose longer side is `SIDE`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from placewise.chance import agreement, significance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cv2 import UsacParams

Kind = Literal["similarity", "homography", "fundamental"]

SIDE = 640.0
"""The longer side of both images, in the unit of all lengths here."""

_FEWEST = 4  # fewer matches say nothing
_PARTNERS = 32  # wrong partners of each match, at most: …
_WRONG = 4096  # … so many wrong matches are enough
_THINNEST = 4.0  # inliers whose standard deviation across is less, in either photo, lie on a line
_MOST = 0.5  # of the matches: where so many agree with points, those that agree with lines cannot be as significant
_HYPOTHESES = 100  # similarities, of the most distinct matches
_TURN = math.cos(math.radians(30.0))  # of a similarity: a match may be turned otherwise by so much, as a cosine …
_GROWTH = 2.0  # … or grown otherwise by this factor
_TRIALS = 500  # of MAGSAC++, at most
_CONFIDENCE = 0.999  # of MAGSAC++
_KINDS = 3
_COMPLEX = np.array([1, 1j])  # takes (x, y) to x + iy
_SLOPE = np.array([1, 1j, 0])  # takes a line (a, b, c) to a + ib


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """The matched keypoints of one photo.

    Attributes:
        points: ``(M, 2)`` float64, (x, y).
        frames: ``(M,)`` complex128, of the scale's size and the angle's direction.
    """

    points: NDArray[np.float64]
    frames: NDArray[np.complex128]

    @property
    def positions(self) -> NDArray[np.complex128]:
        """The points as x + iy, ``(M,)``."""
        return np.asarray(self.points @ _COMPLEX, dtype=np.complex128)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One that explains some matches.

    Attributes:
        kind: what it is.
        matrix: ``(3, 3)`` float64: takes query points to candidate points, or candidate @ F @ query is 0.
        inliers: ``(M,)`` bool, the matches that agree with it.
        significance: see `placewise.chance`; above 0.
    """

    kind: Kind
    matrix: NDArray[np.float64]
    inliers: NDArray[np.bool_]
    significance: float


@dataclass(frozen=True, slots=True)
class _Law:
    """How matches agree with one kind of model: what determines it, and up to what error they agree."""

    kind: Kind
    determined_by: int
    models: int  # that so many matches determine
    tolerances: tuple[float, ...]
    wide: float  # at which wrong matches are counted
    power: int  # with which their number grows
    noise: float = math.nan  # the threshold of MAGSAC++


_SIMILARITY = _Law("similarity", 1, 1, (8.0, 16.0, 32.0), wide=48.0, power=2)
_HOMOGRAPHY = _Law("homography", 4, 1, (1.5, 3.0, 6.0), wide=32.0, power=2, noise=3.0)
_FUNDAMENTAL = _Law("fundamental", 7, 3, (1.5, 3.0, 6.0), wide=16.0, power=1, noise=1.5)


def explained(query: Ends, candidate: Ends) -> Model | None:
    """The model of highest significance; None where chance explains as much as any does.

    Args:
        query: one end of the matches, the most distinct match first.
        candidate: the other.
    """
    if len(query.points) < _FEWEST:
        return None
    partners = _partners(len(query.points))
    similarity = _best_similarity(query, candidate, partners)
    if similarity is None:
        return None
    points = query.points, candidate.points
    planar = _most_significant([similarity, _estimated(_HOMOGRAPHY, *points, partners)])
    if planar is None or np.count_nonzero(planar.inliers) >= _MOST * len(partners):
        return planar
    return _most_significant([planar, _estimated(_FUNDAMENTAL, *points, partners)])


def _best_similarity(query: Ends, candidate: Ends, partners: NDArray[np.int64]) -> Model | None:
    """The similarity of one match that explains the most others."""
    sources, targets, factors = query.positions, candidate.positions, candidate.frames / query.frames
    factor = factors[:_HYPOTHESES]
    offset = targets[:_HYPOTHESES] - factor * sources[:_HYPOTHESES]
    errors = _similarity_errors(factor[:, None], offset[:, None], sources, targets, factors)
    pairs = sources[:, None], targets[partners], candidate.frames[partners] * (1 / query.frames)[:, None]
    found: list[Model | None] = []
    for tolerance in _SIMILARITY.tolerances:
        best = int(np.count_nonzero(errors < tolerance, axis=1).argmax())
        a, b = factor[best], offset[best]
        matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0.0, 0.0, 1.0]])
        law = replace(_SIMILARITY, tolerances=(tolerance,), models=len(_SIMILARITY.tolerances))
        found.append(_judged(law, matrix, _similarity_errors(a, b, *pairs), (query.points, candidate.points)))
    return _most_significant(found)


def _similarity_errors(
    factor: NDArray[np.complex128],
    offset: NDArray[np.complex128],
    sources: NDArray[np.complex128],
    targets: NDArray[np.complex128],
    factors: NDArray[np.complex128],
) -> NDArray[np.float64]:
    """How far ``factor * source + offset`` is from the target; infinite where a match turns or grows otherwise."""
    relative = factors * (1 / factor)
    growth = np.sqrt(_squared(relative))
    alike = (relative.real > _TURN * growth) & (growth > 1 / _GROWTH) & (growth < _GROWTH)
    return np.where(alike, np.sqrt(_squared(factor * sources + offset - targets)), np.inf)


def _squared(values: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Squared absolute values; `numpy.abs` guards against overflow, which takes ten times as long."""
    return np.square(values.real) + np.square(values.imag)


def _estimated(
    law: _Law, query: NDArray[np.float64], candidate: NDArray[np.float64], partners: NDArray[np.int64]
) -> Model | None:
    """What MAGSAC++ finds, if it is significant; of points ``(M, 2)``."""
    import cv2

    if len(query) <= law.determined_by:
        return None
    find = cv2.findHomography if law.kind == "homography" else cv2.findFundamentalMat
    try:
        matrix, _ = find(query, candidate, _magsac(law.noise))
    except cv2.error:  # it gives up on some degenerate matches in this way, on others with None
        return None
    if matrix is None or matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return None
    errors = (_homography_errors if law.kind == "homography" else _epipolar_errors)(matrix, query, candidate, partners)
    return _judged(law, matrix, errors, (query, candidate))


def _magsac(noise: float) -> UsacParams:
    """MAGSAC++ without its local optimisation, a third of the time, that makes matches no more significant."""
    import cv2

    params = cv2.UsacParams()
    params.score = cv2.SCORE_METHOD_MAGSAC
    params.loMethod = cv2.LOCAL_OPTIM_NULL
    params.final_polisher = cv2.MAGSAC
    params.threshold = noise
    params.maxIterations = _TRIALS
    params.confidence = _CONFIDENCE
    return params


def _homography_errors(
    matrix: NDArray[np.float64],
    query: NDArray[np.float64],
    candidate: NDArray[np.float64],
    partners: NDArray[np.int64],
) -> NDArray[np.float64]:
    """How far points are from where their partners are taken, forth and back, the larger one; ``(M, S)``.

    Infinite for all where the homography mirrors, as no two photos of one thing do; and for what lies beyond the
    horizon.
    """
    determinant = float(np.linalg.det(matrix))
    if not determinant:
        return np.full(partners.shape, np.inf)
    forth, ahead = _transferred(matrix, query)
    back, behind = _transferred(np.asarray(np.linalg.inv(matrix), dtype=np.float64), candidate)
    side = math.copysign(1.0, determinant)  # of a matrix times -1, too, it is that of the depth where nothing mirrors
    here, there = query @ _COMPLEX, candidate @ _COMPLEX
    errors = np.sqrt(np.maximum(_squared(forth[:, None] - there[partners]), _squared(back[partners] - here[:, None])))
    return np.where((ahead * side > 0)[:, None] & (behind * side > 0)[partners], errors, np.inf)


def _transferred(
    matrix: NDArray[np.float64], points: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Where a homography takes points ``(M, 2)``, as x + iy, and their depths, both ``(M,)``."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    depth = np.where(np.abs(moved[:, 2]) < 1e-12, 1e-12, moved[:, 2])
    return (moved[:, :2] @ _COMPLEX) / depth, depth


def _epipolar_errors(
    matrix: NDArray[np.float64],
    query: NDArray[np.float64],
    candidate: NDArray[np.float64],
    partners: NDArray[np.int64],
) -> NDArray[np.float64]:
    """How far points are from the epipolar lines of their partners, the larger one; ``(M, S)``."""
    lines = query @ matrix[:, :2].T + matrix[:, 2]
    others = candidate @ matrix[:2] + matrix[2]
    x, y = candidate[:, 0][partners], candidate[:, 1][partners]
    products = np.abs(lines[:, :1] * x + lines[:, 1:2] * y + lines[:, 2:])
    slopes = np.minimum(_squared(lines @ _SLOPE)[:, None], _squared(others @ _SLOPE)[partners])
    errors: NDArray[np.float64] = products / np.sqrt(np.maximum(slopes, 1e-24))
    return errors


def _partners(count: int) -> NDArray[np.int64]:
    """Matches, ``(count, 1 + S)``: itself and S wrong ones for each, shifted along the order of distinctness."""
    wrong = min(_PARTNERS, count - 1, max(1, _WRONG // count))
    shifts = np.linspace(0, count - 1, 1 + wrong).astype(np.int64)
    partners: NDArray[np.int64] = (np.arange(count)[:, None] + shifts) % count
    return partners


def _judged(
    law: _Law,
    matrix: NDArray[np.float64],
    errors: NDArray[np.float64],
    points: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Model | None:
    """A model at the tolerance at which it is most significant; not where its inliers lie on a line.

    Args:
        law: of its kind.
        matrix: the model.
        errors: ``(M, 1 + S)``: of the matches, and of wrong ones.
        points: of the matches in both photos, ``(M, 2)`` each.
    """
    tries = _KINDS * len(law.tolerances) * law.models * math.comb(len(errors), law.determined_by)
    right, wrong = errors[:, 0], np.ascontiguousarray(errors[:, 1:])
    found = []
    for tolerance in law.tolerances:
        inliers = right < tolerance
        surely = significance(
            len(errors),
            int(np.count_nonzero(inliers)),
            probability=agreement(wrong, tolerance, wide=law.wide, power=law.power),
            determined_by=law.determined_by,
            tries=tries,
        )
        if surely > 0:
            found.append(Model(law.kind, matrix, inliers, surely))
    for model in sorted(found, key=lambda model: -model.significance):
        if min(_breadth(side[model.inliers]) for side in points) >= _THINNEST:
            return model
    return None


def _most_significant(models: Sequence[Model | None]) -> Model | None:
    """The first of those with the highest significance."""
    return max((model for model in models if model), key=lambda model: model.significance, default=None)


def _breadth(points: NDArray[np.float64]) -> float:
    """The standard deviation of points ``(M, 2)`` across the line that fits them best."""
    centred = points - points.mean(axis=0)
    xx, xy, yy = (float(one @ other) / len(points) for one, other in combinations_with_replacement(centred.T, 2))
    return math.sqrt(max(0.0, (xx + yy) / 2 - math.hypot((xx - yy) / 2, xy)))  # the smaller eigenvalue
