"""Gray image → RootSIFT descriptors on a grid, upright, at several scales, in a few milliseconds.

A descriptor is Lowe's, 4 x 4 cells of 8 directions, without a search for keypoints and without a turn: gradients are
shared between neighbouring cells and directions by their distance, cells are weighted by a Gaussian, values are cut
off, and the square roots of their shares are kept, as in `placewise.features`.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

DIM = 128
"""The length of a descriptor."""

_CELLS = 4
_DIRECTIONS = 8
_CELL = 6  # pixels
_STEP = 8  # pixels between descriptors
_SCALES = (0.5**0.5, 0.5, 0.5**1.5)  # a finer one finds no more that helps, and costs most
_LEAST = 6.0  # of gray values: the mean gradient of a descriptor that is more than noise
_OFF = (np.arange(_CELLS) - (_CELLS - 1) / 2) * _CELL  # of a cell's centre from the descriptor's
_WEIGHTS = np.exp(-np.add.outer(_OFF**2, _OFF**2) / (8 * _CELL**2)).astype(np.float32)
_CUT_OFF = 0.2  # of a descriptor of length 1; Lowe's


def describe(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors of an image: ``(N, 128)`` float32, rows of unit length; none of one without texture.

    Args:
        gray: ``(H, W)`` uint8.
    """
    return np.concatenate([_at_scale(gray, scale) for scale in _SCALES])


def has_texture(gray: NDArray[np.uint8]) -> bool:
    """Whether there is a descriptor at the coarsest scale, which is quickly found out."""
    return len(_at_scale(gray, _SCALES[-1])) > 0


def _at_scale(gray: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    import cv2

    height, width = (round(side * scale) for side in gray.shape)
    if min(height, width) < _CELLS * _CELL:
        return np.empty((0, DIM), np.float32)
    return _rooted(_cells(cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)))


def _cells(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, 128)``: sums of gradients, weighted by the distance from a cell's centre."""
    import cv2

    rise = np.arange(1, _CELL + 1, dtype=np.float32) / _CELL
    tent = np.concatenate((rise, rise[-2::-1]))
    across, down = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=1)
    magnitudes, angles = cv2.cartToPolar(across, down)
    turns = angles * np.float32(_DIRECTIONS / (2 * math.pi))
    rows, columns = (_centres(side) for side in image.shape)
    cells = np.empty((len(rows), len(columns), _CELLS, _CELLS, _DIRECTIONS), np.float32)
    for direction in range(_DIRECTIONS):
        apart = np.abs(turns - direction)
        shares = magnitudes * np.maximum(0, 1 - np.minimum(apart, _DIRECTIONS - apart))
        sums = cv2.sepFilter2D(shares, cv2.CV_32F, tent, tent, borderType=cv2.BORDER_CONSTANT)
        for y, x in itertools.product(range(_CELLS), repeat=2):
            at = _moved(rows, y), _moved(columns, x)
            cells[:, :, y, x, direction] = sums[at] * _WEIGHTS[y, x]
    return cells.reshape(-1, DIM)


def _centres(side: int) -> range:
    """Where descriptors are centred along one side: as many as fit, in the middle."""
    free = side - _CELLS * _CELL
    first = _CELLS * _CELL // 2 + free % _STEP // 2
    return range(first, first + free + 1 - free % _STEP // 2, _STEP)


def _moved(centres: range, cell: int) -> slice:
    """The centres of one cell of each descriptor."""
    off = int(_OFF[cell])
    return slice(centres.start + off, centres[-1] + off + 1, centres.step)


def _rooted(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those with texture as RootSIFT."""
    lengths = np.linalg.norm(cells, axis=1)
    kept = lengths > _LEAST * _CELL * _CELL
    values = np.minimum(cells[kept] / lengths[kept, np.newaxis], _CUT_OFF)
    rooted: NDArray[np.float32] = np.sqrt(values / values.sum(axis=1, keepdims=True))
    return rooted
