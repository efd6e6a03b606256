"""Retrieval and open-set metrics: arrays in, floats out.

The laws of this module:

* Similarity and confidence are higher-is-better; an answer is UNKNOWN when its confidence is below tau, so a
  confidence equal to tau is KNOWN.
* The positive class of every ``unknown_*`` metric is the open-set query.
* What is undefined (no queries, one class only, nothing predicted) is NaN, never a silent 0 or 1.
* Ranks count from 1. How ties are ranked is the ranking's business; threshold metrics are exact under ties.
"""

from placewise.metrics.calibration import Reliability, RiskCoverage, reliability, risk_coverage
from placewise.metrics.curves import Curve, answer_curve, oscr_curve, recall_curve, roc_curve, unknown_curve
from placewise.metrics.open_set import (
    OpenSetCounts,
    auroc,
    fpr95,
    fpr95_open_set,
    gap,
    open_set_counts,
    oscr,
    wrong_place_rate,
)
from placewise.metrics.resampling import Interval, bootstrap
from placewise.metrics.retrieval import Ranks, average_precision, mean_average_precision, recall_at_k

__all__ = [
    "Curve",
    "Interval",
    "OpenSetCounts",
    "Ranks",
    "Reliability",
    "RiskCoverage",
    "answer_curve",
    "auroc",
    "average_precision",
    "bootstrap",
    "fpr95",
    "fpr95_open_set",
    "gap",
    "mean_average_precision",
    "open_set_counts",
    "oscr",
    "oscr_curve",
    "recall_at_k",
    "recall_curve",
    "reliability",
    "risk_coverage",
    "roc_curve",
    "unknown_curve",
    "wrong_place_rate",
]
