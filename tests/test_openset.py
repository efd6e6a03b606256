"""The decision rule and the sweep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from placewise import openset
from placewise.errors import OptionError


def test_confidence_equal_to_tau_is_known() -> None:
    """Below tau is UNKNOWN; tau itself is KNOWN, in the decision and in the counts alike."""
    ((_, counts),) = openset.sweep([0.5], [0.5], [0.5])

    assert openset.is_known(0.5, 0.5)
    assert (counts.true_negatives, counts.false_negatives) == (1, 1)


def test_the_sweep_goes_from_040_to_080() -> None:
    """The default sweep is that of the original design, and UNKNOWN answers only grow along it."""
    rows = openset.sweep([0.45, 0.6, 0.9], [0.3, 0.5, 0.7])

    assert [tau for tau, _ in rows] == [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80]
    unknown = [counts.true_positives + counts.false_positives for _, counts in rows]
    assert unknown == sorted(unknown)
    assert unknown[0] == 1
    assert unknown[-1] == 5


@pytest.mark.parametrize("tau", [math.nan, 1.01, -2, math.inf])
def test_a_tau_that_is_no_cosine_is_refused(tau: float) -> None:
    """Such a tau would answer the same to every photo."""
    with pytest.raises(OptionError, match=rf"^tau must be between -1 and 1, got {tau}$"):
        openset.check_tau(tau)


def test_tau_from_a_gallery_is_a_quantile_of_similarities_between_places() -> None:
    """Photos of the same place do not count: tau is exceeded by the wanted share of best other-place similarities."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(40, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = np.repeat(directions, 2, axis=0).astype(np.float32)
    places = [f"place {number // 2}" for number in range(80)]
    naive = sorted(max(float(rows[i] @ rows[j]) for j in range(80) if places[j] != places[i]) for i in range(80))

    tau = openset.tau_from_gallery(rows, places, false_accept_rate=0.1)

    assert tau == pytest.approx(naive[72], abs=1e-6)
    assert tau < 0.999
    with_unlabelled = np.concatenate([rows, rows[:3]])
    assert openset.tau_from_gallery(with_unlabelled, [*places, None, None, None], false_accept_rate=0.1) == tau


def test_a_gallery_of_one_place_suggests_no_tau() -> None:
    """Without other places there is nothing to learn from, and the line says so."""
    rows = np.eye(3, dtype=np.float32)

    with pytest.raises(
        OptionError, match=r"^tau can be taken from a gallery of two or more places, got 1; name a tau$"
    ):
        openset.tau_from_gallery(rows, ["a", "a", None])
    with pytest.raises(OptionError, match=r"^false_accept_rate must be between 0 and 1, got 1$"):
        openset.tau_from_gallery(rows, ["a", "b", "c"], false_accept_rate=1)
