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
from placewise.metrics.intervals import Interval, Method
from placewise.metrics.open_set import (
    OpenSetCounts,
    auroc,
    ccr_at_fpr,
    fpr95,
    fpr95_open_set,
    open_set_counts,
    oscr,
    wrong_place_rate,
)
from placewise.metrics.open_set_resampling import Answered, bootstrap_open_set, paired_bootstrap_open_set
from placewise.metrics.ranks import Ranks, ranks_of
from placewise.metrics.recognition import auc_pr, gap, gap_in_order, recall_at_100_precision
from placewise.metrics.resampling import bootstrap, bootstrap_means, paired_bootstrap
from placewise.metrics.retrieval import (
    RecallCounts,
    WithoutPositives,
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    mean_average_precision,
    mean_average_precision_at_k,
    mean_average_precision_at_r,
    recall_at_k,
    recall_counts,
)
from placewise.metrics.revisited import (
    GradedRanks,
    RevisitedScores,
    Setup,
    revisited_average_precision,
    revisited_precision_at_k,
    revisited_scores,
)

__all__ = [
    "Answered",
    "Curve",
    "GradedRanks",
    "Interval",
    "Method",
    "OpenSetCounts",
    "Ranks",
    "RecallCounts",
    "Reliability",
    "RevisitedScores",
    "RiskCoverage",
    "Setup",
    "WithoutPositives",
    "answer_curve",
    "auc_pr",
    "auroc",
    "average_precision",
    "average_precision_at_k",
    "average_precision_at_r",
    "bootstrap",
    "bootstrap_means",
    "bootstrap_open_set",
    "ccr_at_fpr",
    "fpr95",
    "fpr95_open_set",
    "gap",
    "gap_in_order",
    "mean_average_precision",
    "mean_average_precision_at_k",
    "mean_average_precision_at_r",
    "open_set_counts",
    "oscr",
    "oscr_curve",
    "paired_bootstrap",
    "paired_bootstrap_open_set",
    "ranks_of",
    "recall_at_100_precision",
    "recall_at_k",
    "recall_counts",
    "recall_curve",
    "reliability",
    "revisited_average_precision",
    "revisited_precision_at_k",
    "revisited_scores",
    "risk_coverage",
    "roc_curve",
    "unknown_curve",
    "wrong_place_rate",
]
