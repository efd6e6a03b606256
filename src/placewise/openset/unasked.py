"""What a gallery does about UNKNOWN when nobody says how: the one rule of `index`, `evaluate` and `ablate`.

It calibrates itself wherever it can, for the default rate: from two places on. So few promise little, and say so, but a
fixed tau promises nothing, and accepts nearly all photos of unknown places (docs/ranking.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from placewise.errors import CalibrationError, FeaturesDamagedError
from placewise.openset.exam import SAMPLED_PHOTOS
from placewise.openset.rule import DEFAULT_TAU

VERIFIED_UNASKED = 400
"""Photos that ask where hits are verified and nobody asked for a calibration: each costs 10 to 20 matches of 5 ms."""

FALLBACK = f"until then tau {DEFAULT_TAU:.2f} on the plain similarity decides, which promises nothing"
"""What decides where a gallery cannot calibrate itself, in words."""

T = TypeVar("T")


def calibrated_unasked(calibrating: Callable[[int], T], *, verifies: bool) -> tuple[T | None, str]:
    """What a gallery learns of itself, or None and why it cannot.

    Args:
        calibrating: learns, given how many photos may ask.
        verifies: whether hits are verified.
    """
    try:
        return calibrating(VERIFIED_UNASKED if verifies else SAMPLED_PHOTOS), ""
    except (CalibrationError, FeaturesDamagedError) as error:
        return None, f"not calibrated: {error}"
