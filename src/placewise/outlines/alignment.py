"""How much are two small gray images the same picture, once one is scaled and shifted onto the other?

The law of this module: a similarity is the correlation of slopes (differences of neighbouring pixels) after alignment,
-1 to 1, higher is better, over the five sixths of the picture that agree best, so that a caption, a logo or a passer-by
that was added does not hide a copy; its inside must agree as well as the whole. Only scale and shift along each axis
are sought, as a crop or a border need them: a photo that was taken from another point cannot be aligned in this way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placewise.errors import OptionError

Pictures = NDArray[np.float32]
"""``(N, side, side)`` gray images."""

Motions = NDArray[np.float32]
"""``(N, 4)``: scale - 1 and shift along x, then along y; shifts in parts of the side."""

_LIMIT = np.array([0.16, 0.09, 0.16, 0.09], np.float32)  # of motions: somewhat more than a crop of 10 % needs
_ROUGH_STEPS, _FINE_STEPS = 3, 2  # of the alignment at half and at full resolution; more change nothing
_ROUGH_MARGIN = 0.2  # what the similarity at half resolution may lack, since that resolution blurs crops
_CELLS = 6  # along each axis, whose agreement is judged together
_LEFT_OUT = 1 / 6  # of the cells: those that agree least


def similarities(
    fixed: NDArray[np.uint8], moving: NDArray[np.uint8], motions: Motions, *, threshold: float
) -> NDArray[np.float64]:
    """Similarities ``(N,)`` of ``fixed`` and ``moving``, each ``(N, side, side)``; -1 where certainly below threshold.

    ``motions`` is where the alignment starts. It goes from coarse to fine: pairs that do not agree at half resolution
    are not looked at further.
    """
    if fixed.shape != moving.shape or len(motions) != len(fixed):
        message = f"fixed, moving and motions must match, got {fixed.shape}, {moving.shape} and {motions.shape}"
        raise OptionError(message)
    found = np.full(len(fixed), -1.0)
    half, other_half = _standardised(_halved(fixed)), _standardised(_halved(moving))
    motions = _aligned(half, other_half, motions, _ROUGH_STEPS)
    rough = np.flatnonzero(_similarity(half, _moved(other_half, motions)) >= threshold - _ROUGH_MARGIN)
    if rough.size:
        full, other_full = _standardised(fixed[rough]), _standardised(moving[rough])
        aligned = _moved(other_full, _aligned(full, other_full, motions[rough], _FINE_STEPS))
        found[rough] = _similarity(full, aligned)
    return found


def _aligned(fixed: Pictures, moving: Pictures, motions: Motions, steps: int) -> Motions:
    """Motions after Gauss-Newton steps on the squared difference, with a free gain and offset of brightness.

    B. D. Lucas and T. Kanade, "An iterative image registration technique", IJCAI 1981. Both are standardised.
    """
    count, side = fixed.shape[:2]
    centred = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side
    target = fixed.reshape(count, -1, 1)
    for _ in range(steps):
        moved = _moved(moving, motions)
        along_x, along_y = np.zeros_like(moved), np.zeros_like(moved)
        along_x[:, :, 1:-1] = (moved[:, :, 2:] - moved[:, :, :-2]) * (side / 2)
        along_y[:, 1:-1] = (moved[:, 2:] - moved[:, :-2]) * (side / 2)
        columns = (along_x * centred, along_x, along_y * centred[:, None], along_y, moved, np.ones_like(moved))
        jacobian = np.stack(columns, axis=1).reshape(count, 6, -1)
        normal = (jacobian @ jacobian.transpose(0, 2, 1)).astype(np.float64)
        normal += (np.trace(normal, axis1=1, axis2=2) * 1e-6)[:, None, None] * np.eye(6)  # flat pictures stay solvable
        step = np.linalg.solve(normal, (jacobian @ target).astype(np.float64))[..., 0]
        motions = motions + (step[:, :4] / np.maximum(step[:, 4:5], 0.2)).astype(np.float32)
        motions = np.clip(motions, -_LIMIT, _LIMIT)
    return motions


def _moved(pictures: Pictures, motions: Motions) -> Pictures:
    """Pictures sampled linearly at scaled and shifted pixel centres; beyond the edge it repeats."""
    side = pictures.shape[1]
    pixels = np.arange(side, dtype=np.float32)
    centre = (side - 1) / 2
    scale, shift = motions[:, 0::2, None], motions[:, 1::2, None] * side
    at = np.clip((1 + scale) * (pixels - centre) + shift + centre, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(at[..., None] - pixels))
    moved: Pictures = weights[:, 1] @ pictures @ weights[:, 0].transpose(0, 2, 1)
    return moved


def _similarity(one: Pictures, other: Pictures) -> NDArray[np.float64]:
    """The lower of the trimmed correlations of the whole and of its inside, since frames alone make no copy."""
    slopes, others = _unit_slopes(one), _unit_slopes(other)
    sums = np.stack([_cell_sums(product) for product in (slopes * others, slopes * slopes, others * others)])
    lower: NDArray[np.float64] = np.minimum(_trimmed_correlation(sums), _trimmed_correlation(sums[..., 1:-1, 1:-1]))
    return lower


def _trimmed_correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation from sums over cells, ``(3, N, cells, cells)``, but for the sixth of them that differs most.

    The sums are of products of both, of squares of one, and of squares of the other.
    """
    sums = sums.reshape(*sums.shape[:2], -1)
    kept = np.argsort(2 * sums[0] - sums[1] - sums[2], axis=1)[:, round(_LEFT_OUT * sums.shape[2]) :]
    both, first, second = np.take_along_axis(sums, kept[None], axis=2).sum(axis=2)
    correlation: NDArray[np.float64] = both / np.sqrt(np.maximum(first * second, 1e-12))
    return correlation


def _unit_slopes(pictures: Pictures) -> NDArray[np.float32]:
    """Differences along both axes of means of 2 x 2 pixels, ``(N, 2, side - 4, side - 4)`` of unit length.

    The means hide what sampling at other points changes; the outermost pixels are left out.
    """
    inner = pictures[:, 1:-1, 1:-1]
    means = inner[:, :-1] + inner[:, 1:]
    means = means[:, :, :-1] + means[:, :, 1:]
    corner = means[:, :-1, :-1]
    slopes = np.stack((means[:, :-1, 1:] - corner, means[:, 1:, :-1] - corner), axis=1)
    slopes /= np.maximum(np.sqrt(np.sum(slopes * slopes, axis=(1, 2, 3), keepdims=True)), 1e-6)
    return slopes


def _cell_sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums ``(N, 6, 6)`` over the cells of a grid; what remains at the right and at the bottom is left out."""
    size = values.shape[2] // _CELLS
    kept = values[:, :, : _CELLS * size, : _CELLS * size].sum(axis=1)
    sums: NDArray[np.float64] = kept.reshape(len(values), _CELLS, size, _CELLS, size).sum(axis=(2, 4)).astype(float)
    return sums


def _halved(pictures: NDArray[np.uint8]) -> Pictures:
    """Sums of 2 x 2 pixels."""
    rows = pictures[:, 0::2].astype(np.uint16) + pictures[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]).astype(np.float32)


def _standardised(pictures: NDArray[np.uint8] | Pictures) -> Pictures:
    """Pictures with mean 0 and standard deviation 1 each."""
    values = pictures.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= np.maximum(values.std(axis=(1, 2), keepdims=True), 1e-6)
    return values
