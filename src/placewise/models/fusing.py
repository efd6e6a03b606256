"""Two models' embeddings → one, so that their similarities are added after each is brought to its own scale.

Similarities of different models differ in spread: a difference of 0.1 is much to one and little to another. Each is
divided by the standard deviation of the similarities between a gallery's photos of different places, and their mean is
the fused similarity. (Subtracting each one's mean, too, as the z-norm of speaker verification does, would move all
fused similarities alike and change no rank.) The mean of scaled cosines is the cosine of vectors that are put end to
end, so a fused embedding is an embedding like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from placewise.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placewise.core import Embeddings

_LEAST_SPREAD = 1e-3


def scales(parts: Sequence[Embeddings], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """What each model's similarities weigh, ``(P,)``, in all 1.

    Args:
        parts: each model's embeddings of the same N gallery photos, ``(N, dim)``.
        codes: ``(N,)`` which place each photo shows; -1 where none is known.
    """
    apart = (codes[:, None] != codes) | (codes < 0)
    np.fill_diagonal(apart, val=False)
    if np.count_nonzero(apart) < 2:
        return np.full(len(parts), 1 / len(parts), dtype=np.float32)
    spreads = np.array([np.std((part @ part.T)[apart]) for part in parts])
    weights = 1 / np.maximum(spreads, _LEAST_SPREAD)
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def fused(parts: Sequence[Embeddings], weights: NDArray[np.float32]) -> Embeddings:
    """Embeddings whose cosine is the weighted mean of the parts' cosines, ``(N, dim + dim + …)``.

    >>> one, other = np.eye(2, dtype=np.float32), np.ones((2, 1), dtype=np.float32)
    >>> both = fused([one, other], np.array([0.75, 0.25], dtype=np.float32))
    >>> (both @ both.T).round(3).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """
    if len({len(part) for part in parts}) != 1:
        message = f"parts must be of the same photos, got {', '.join(str(len(part)) for part in parts)}"
        raise OptionError(message)
    rows: Embeddings = np.concatenate(
        [np.sqrt(weight) * part for part, weight in zip(parts, weights, strict=True)], axis=1, dtype=np.float32
    )
    return rows
