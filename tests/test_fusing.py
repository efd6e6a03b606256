"""Two models' similarities, added after each is brought to its own scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from placewise.errors import OptionError
from placewise.models.fusing import fused, scales

if TYPE_CHECKING:
    from placewise.core import Embeddings


def unit(seed: int, spread: float) -> Embeddings:
    """60 rows around one direction; the less spread, the more alike."""
    rng = np.random.default_rng(seed)
    rows = np.eye(32)[0] + spread * rng.normal(size=(60, 32))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_the_fused_cosine_is_the_mean_of_scaled_cosines() -> None:
    """Ranks of fused embeddings are those of summed z-scores, each model by its own spread between places."""
    one, other, codes = unit(0, 0.05), unit(1, 0.4), np.repeat(np.arange(6), 10)
    both = fused([one, other], scales([one, other], codes))
    apart = codes[:, None] != codes
    z = sum((part @ part.T - (part @ part.T)[apart].mean()) / (part @ part.T)[apart].std() for part in (one, other))
    similar = both @ both.T
    line = np.polyfit(z.ravel(), similar.ravel(), 1)

    np.testing.assert_allclose(np.polyval(line, z), similar, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)


def test_without_photos_of_different_places_models_weigh_the_same() -> None:
    """A gallery of one place says nothing of spreads."""
    rows = unit(0, 0.1)

    assert scales([rows, rows], np.zeros(60, dtype=np.int64)).tolist() == [0.5, 0.5]


def test_parts_of_different_photos_are_refused() -> None:
    """Rows belong together by position."""
    with pytest.raises(OptionError, match="parts must be of the same photos, got 60, 59"):
        fused([unit(0, 1), unit(0, 1)[1:]], np.array([0.5, 0.5], dtype=np.float32))
