"""What may be taken for confidences, and for what came true of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placewise.errors import OptionError


def as_confidences(values: ArrayLike) -> NDArray[np.float64]:
    """The values as an array ``(N,)``.

    Raises:
        OptionError: if they have another shape, or one is NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any():
        message = f"confidences must be one-dimensional without NaN, got shape {array.shape}"
        raise OptionError(message)
    return array


def as_outcomes(values: ArrayLike, count: int) -> NDArray[np.bool_]:
    """The values as an array ``(count,)`` of bool.

    Raises:
        OptionError: if they have another shape; numpy would stretch a single one over all queries.
    """
    array = np.asarray(values, dtype=bool)
    if array.shape != (count,):
        message = f"outcomes must be one per confidence, shape ({count},), got shape {array.shape}"
        raise OptionError(message)
    return array
