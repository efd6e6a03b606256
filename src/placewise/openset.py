"""KNOWN or UNKNOWN: thresholds on the confidence. Arrays and floats only.

The rule: an answer is KNOWN when its confidence is at least tau, UNKNOWN below it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from placewise.errors import OptionError
from placewise.metrics import OpenSetCounts, open_set_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from placewise.core import Embeddings

DEFAULT_TAU = 0.50
"""The threshold of the original design, chosen there on nine open-set queries: a convention, not a calibration."""

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


def is_known(confidence: float, tau: float) -> bool:
    """The decision.

    >>> is_known(0.5, 0.5), is_known(0.49, 0.5)
    (True, False)
    """
    return confidence >= tau


def tau_from_gallery(embeddings: Embeddings, places: Sequence[str | None], *, false_accept_rate: float = 0.05) -> float:
    """The tau that a gallery suggests of itself, without any query: a starting point that promises no rate.

    Each photo asks the gallery without its own place, as an open-set query would; tau is the quantile of the best
    similarities that so many of them exceed.

    Args:
        embeddings: ``(N, dim)`` float32, rows of unit length.
        places: N labels; photos without one are left out.
        false_accept_rate: the share of these open-set answers that may be KNOWN, between 0 and 1.

    Raises:
        OptionError: if there are fewer than two places, or the rate is no share.
    """
    if not 0 < false_accept_rate < 1:
        message = f"false_accept_rate must be between 0 and 1, got {false_accept_rate}"
        raise OptionError(message)
    labelled = np.array([place is not None for place in places], dtype=bool)
    labels = np.array([place for place in places if place is not None])
    if len(np.unique(labels)) < 2:
        message = f"tau can be taken from a gallery of two or more places, got {len(np.unique(labels))}; name a tau"
        raise OptionError(message)
    rows = embeddings[labelled]
    best = [float(np.max(rows[labels != label] @ row)) for row, label in zip(rows, labels, strict=True)]
    return float(np.quantile(best, 1 - false_accept_rate, method="higher"))


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
