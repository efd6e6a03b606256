"""What numbers are called, what they mean, and what they count: the same words in tables, pages and sentences.

docs/metrics.md has the formulas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placewise.metrics import Interval
    from placewise.scoring.scores import Scores


@dataclass(frozen=True, slots=True)
class Words:
    """A metric in words.

    Attributes:
        label: what it is called in a table.
        meaning: what it says, in a line.
        higher_is_better: or else lower is.
    """

    label: str
    meaning: str
    higher_is_better: bool = True


_WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "map": Words("mAP", "mean over queries of the average precision over all their positives"),
        "map@100": Words("mAP@100", "likewise, over the first 100 hits, divided by the positives that fit in there"),
        "map@r": Words("MAP@R", "likewise, over as many hits as the query has positives"),
        "known_accepted_right": Words("known, right place", "share of known queries accepted and right, at tau"),
        "wrong_place_rate": Words("wrong-place rate", "share of known queries accepted and wrong, at tau", False),
        "false_reject_rate": Words("false-reject rate", "share of known queries answered UNKNOWN, at tau", False),
        "false_accept_rate": Words("false-accept rate", "share of open-set queries answered KNOWN, at tau", False),
        "unknown_precision": Words("UNKNOWN precision", "share of UNKNOWN answers that are right, at tau"),
        "unknown_recall": Words("UNKNOWN recall", "share of open-set queries answered UNKNOWN, at tau"),
        "unknown_f1": Words("UNKNOWN F1", "harmonic mean of UNKNOWN precision and recall, at tau"),
        "auroc": Words("AUROC", "probability that a known query is more confident than an open-set one"),
        "fpr95": Words(
            "FPR95, of open-set", "share of open-set queries accepted where 95 % of the known ones are", False
        ),
        "fpr95_open_set": Words(
            "FPR95, of known", "share of known queries flagged where 95 % of the open-set ones are", False
        ),
        "oscr": Words("OSCR", "probability that a known query is right and more confident than an open-set one"),
        "gap": Words("GAP", "micro-AP: all answers in one list by confidence, open-set queries among them"),
        "gap_in_order": Words("GAP, ties by id", "the same as the code of Google Landmarks orders ties"),
        "recall_at_100_precision": Words("R@100P", "share of known queries accepted before anything wrong is"),
        "auc_pr": Words("AUC-PR", "area under precision against recall of the answers"),
        "aurc": Words("AURC", "mean over all coverages of the share of accepted answers that is wrong", False),
        "ece": Words("ECE", "expected calibration error of the probability", False),
    }
)
"""The metrics by their names in JSON. Those with a K or a setup in their names are spelled by `_PATTERNS`."""

_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (r"recall@1", "Recall@1", "share of evaluated queries with a positive on top"),
    (r"recall@(\d+)", r"Recall@\1", r"share of evaluated queries with a positive among the first \1 gallery photos"),
    (r"map_revisited_(\w+)", r"mAP, \1", r"mean of the average precision by trapezoids, setup \1, junk removed"),
    (r"mp_revisited_(\w+)@(\d+)", r"mP@\2, \1", r"mean precision of the first \2 hits, setup \1, junk removed"),
)
"""(pattern of a name, label, meaning); higher is better."""

AT_TAU = (
    "known_accepted_right",
    "wrong_place_rate",
    "false_reject_rate",
    "false_accept_rate",
    "unknown_precision",
    "unknown_recall",
    "unknown_f1",
)
"""Metrics of decisions: there are none where nothing is decided."""

LOWER_IS_BETTER = frozenset(name for name, words in _WORDS.items() if not words.higher_is_better)


def words_of(metric: str) -> Words:
    """A metric in words; one that is not listed is called by its name and has no meaning."""
    if metric in _WORDS:
        return _WORDS[metric]
    for pattern, label, meaning in _PATTERNS:
        found = re.fullmatch(pattern, metric)
        if found:
            return Words(found.expand(label), found.expand(meaning))
    return Words(metric.replace("_", " "), "")


_COUNTS = {
    "evaluated": "evaluated",
    "without_positives": "of them without positives",
    "open_set": "open-set",
    "excluded": "excluded: nothing to judge them by",
    "without_prediction": "without a prediction: misses",
}


def counts_text(scores: Scores) -> str:
    """How many queries there are of each kind; kinds without any are left out."""
    counts = [f"{scores.counts[key]} {word}" for key, word in _COUNTS.items() if scores.counts[key]]
    return f"{counted(scores.counts['queries'], 'query', 'queries')}: {', '.join(counts)}"


def counted(count: int, one: str, more: str) -> str:
    """A number of things in words."""
    return f"{count} {one if count == 1 else more}"


def intervals_text(scores: Scores) -> str:
    """What the intervals draw; empty where none were asked for."""
    if not scores.intervals:
        return ""
    unit, groups = scores.outcomes.groups.unit, scores.outcomes.group_counts
    if not has_intervals(scores):
        return f"95 % intervals are not defined: {unit} are too few"
    kinds = {"known queries": groups["known"], "open-set ones": groups["open_set"]}
    return f"95 % intervals over {unit}, {' and '.join(f'{n} with {kind}' for kind, n in kinds.items() if n)}"


def intervals_meaning(scores: Scores) -> str:
    """What an interval says; empty where there is none to explain."""
    if not has_intervals(scores):
        return ""
    unit = scores.outcomes.groups.unit
    return (
        f"An interval is made so that in about 95 of 100 sets of {unit} like these it holds the value over all such "
        f"{unit}; with few of them it does so less often."
    )


def has_intervals(scores: Scores) -> bool:
    """Whether any metric has an interval to show."""
    return any(is_defined(interval) for interval in scores.intervals.values())


def is_defined(interval: Interval | None) -> bool:
    """Whether there is an interval to show."""
    return interval is not None and not math.isnan(interval.low)


def heads_of(scores: Scores) -> list[str]:
    """The metrics that a reader looks for first, eight at most, by protocol; what is not defined is left out."""
    retrieval = list(_RETRIEVAL.get(scores.protocol.kind, ("recall@1", "recall@5", "recall@10", "map")))
    of_tau = ["unknown_precision", "false_accept_rate", "auroc", "oscr"]
    confidence = ["auroc", "oscr", "auc_pr", "recall_at_100_precision"] if math.isnan(scores.tau) else of_tau
    decisions = scores.decisions
    values = {
        **scores.retrieval,
        **scores.open_set,
        **({name: getattr(decisions, name) for name in of_tau[:2]} if decisions else {}),
    }
    return [name for name in dict.fromkeys(retrieval + confidence) if not math.isnan(values.get(name, math.nan))]


_RETRIEVAL = {
    "revisited": ("map_revisited_easy", "map_revisited_medium", "map_revisited_hard", "mp_revisited_medium@10"),
    "landmarks-gap": ("gap", "gap_in_order", "map@100", "recall@1"),
}
"""What other protocols than those of Recall@K are about."""
