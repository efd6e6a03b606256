"""The threshold: what it may be, what it decides, and what others would have decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from placewise.errors import OptionError
from placewise.metrics import OpenSetCounts, open_set_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

DEFAULT_TAU = 0.50
"""The threshold of the original design, chosen there on nine open-set queries: a convention, not a calibration."""

Method = Literal["auto", "similarity"]

SWEEP = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80)
"""The thresholds of the original design's sweep."""


def check_tau(tau: float) -> float:
    """Return ``tau`` if it can be compared with a cosine.

    Raises:
        OptionError: if it is NaN or outside -1..1.
    """
    if math.isnan(tau) or not -1 <= tau <= 1:
        message = f"tau must be between -1 and 1, got {tau}"
        raise OptionError(message)
    return tau


def check_rate(false_accept_rate: float) -> float:
    """Return ``false_accept_rate`` if it is a share that can be aimed at.

    Raises:
        OptionError: if it is NaN, 0, 1 or outside.
    """
    if not 0 < false_accept_rate < 1:
        message = f"false_accept_rate must be between 0 and 1, both excluded, got {false_accept_rate}"
        raise OptionError(message)
    return false_accept_rate


@dataclass(frozen=True, slots=True)
class Aim:
    """What a calibration is to achieve.

    Attributes:
        false_accept_rate: the wanted share of open-set queries that are answered KNOWN, between 0 and 1.
        method: ``auto`` makes the confidence a probability, learned from all evidence where that beats the best
            similarity; ``similarity`` keeps the best similarity as the confidence.
        seed: chooses the photos that ask and the cohort, where there are many.
    """

    false_accept_rate: float = 0.05
    method: Method = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a rate that is no share, and a method that there is not."""
        check_rate(self.false_accept_rate)
        if self.method not in get_args(Method):
            message = f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}"
            raise OptionError(message)


def is_known(confidence: float, tau: float) -> bool:
    """The decision.

    >>> is_known(0.5, 0.5), is_known(0.49, 0.5)
    (True, False)
    """
    return confidence >= tau


def sweep(
    known: ArrayLike, open_set: ArrayLike, taus: Sequence[float] = SWEEP
) -> tuple[tuple[float, OpenSetCounts], ...]:
    """The counts at each of several thresholds, so that a user sees what another tau would do.

    Args:
        known: confidences of the known queries, ``(N,)``.
        open_set: confidences of the open-set queries, ``(M,)``.
        taus: the thresholds.
    """
    return tuple((tau, open_set_counts(known, open_set, tau)) for tau in taus)
