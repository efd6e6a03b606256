"""Two models on the same queries → what differs, how sure that is, and a plain sentence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from placewise import metrics
from placewise.errors import EvaluationError
from placewise.metrics import Interval
from placewise.scoring.scores import Outcomes, Scores, confidence_metrics, decisions_at, mean, rates_of
from placewise.scoring.wording import LOWER_IS_BETTER

_HEADLINES = {"revisited": "map_revisited_medium", "landmarks-gap": "gap"}
"""The metric that the sentence speaks of, by protocol; else Recall@1."""

_EQUAL = 1e-12
"""How much draws of one difference differ by rounding."""

_SAYS = {
    "recall@1": ("finds the right place more often", "Recall@1"),
    "gap": ("names the right place more reliably", "GAP"),
    "map_revisited_medium": ("ranks what is right higher", "mAP of the medium setup"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models.

    Attributes:
        metric: its name.
        first: its value of the first model.
        second: its value of the second.
        interval: of the second's minus the first's, by a paired bootstrap.
    """

    metric: str
    first: float
    second: float
    interval: Interval

    @property
    def difference(self) -> float:
        """The second's value minus the first's."""
        return self.second - self.first

    @property
    def better(self) -> float:
        """The share of draws in which the second model is better; of ties one half."""
        share = self.interval.share_above_zero
        return 1 - share if self.metric in LOWER_IS_BETTER else share


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same queries by the same protocol.

    Attributes:
        names: of the two.
        protocol: its spelling.
        queries: how many are evaluated.
        groups: how many groups those are.
        unit: what a group is, in the plural.
        differences: one a metric.
        sentence: what the headline says, in plain words.
    """

    names: tuple[str, str]
    protocol: str
    queries: int
    groups: int
    unit: str
    differences: tuple[Difference, ...]
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One side of a comparison.

    Attributes:
        name: what to call it.
        protocol: the spelling of its protocol.
        law: what that counts as right.
        gallery: how many photos it was searched in.
        tau: the threshold of its decisions; NaN where it has none.
        outcomes: what came of each query.
    """

    name: str
    protocol: str
    law: str
    gallery: int
    tau: float
    outcomes: Outcomes

    @classmethod
    def of(cls, name: str, scores: Scores) -> Compared:
        """What was just scored."""
        return cls(
            name, scores.protocol.spelled, scores.protocol.law, scores.counts["gallery"], scores.tau, scores.outcomes
        )


def compare(first: Compared, second: Compared) -> Comparison:
    """Compare two models by a bootstrap that draws the same queries of both.

    Raises:
        EvaluationError: if they are not of the same queries by the same protocol.
    """
    a, b = first.outcomes, _in_order(second, first)
    codes = a.groups.codes
    differences = [
        Difference(
            name, mean(a.values[name]), mean(b.values[name]), _unless_equal(metrics.paired_bootstrap(*pair, codes))
        )
        for name in a.values
        if name in b.values and not np.isnan(a.values[name]).all()
        for pair in [(a.values[name], b.values[name])]
    ]
    if a.decided.size and a.has_confidence and b.has_confidence:
        differences += _of_confidence(a, b, (first.tau, second.tau))
    names = (first.name, second.name)
    groups = int(np.unique(codes[a.evaluated]).size)
    found = Comparison(names, first.protocol, int(a.evaluated.sum()), groups, a.groups.unit, tuple(differences), "")
    headline = _HEADLINES.get(first.protocol.partition(":")[0], "recall@1")
    return dataclasses.replace(found, sentence=_sentence(found, headline, alike=_are_alike(a, b, headline)))


def _are_alike(a: Outcomes, b: Outcomes, metric: str) -> bool:
    """Whether no query has another value of the metric."""
    if metric in a.values and metric in b.values:
        return np.array_equal(a.values[metric], b.values[metric], equal_nan=True)
    return np.array_equal(a.confidence, b.confidence) and np.array_equal(a.correct, b.correct)


def _unless_equal(interval: Interval) -> Interval:
    """The interval, or none where all draws have one difference: a handful of places that agree prove nothing."""
    return Interval(math.nan, math.nan, math.nan) if interval.high - interval.low <= _EQUAL else interval


def _of_confidence(a: Outcomes, b: Outcomes, taus: tuple[float, float]) -> list[Difference]:
    sides = a.answered(taus[0]), b.answered(taus[1])
    values = [
        {**confidence_metrics(side, tau), **(rates_of(counts) if (counts := decisions_at(side, tau)) else {})}
        for side, tau in zip((a, b), taus, strict=True)
    ]
    intervals = metrics.paired_bootstrap_open_set(*sides, a.groups.codes[a.decided])
    return [
        Difference(name, values[0][name], values[1][name], _unless_equal(interval))
        for name, interval in intervals.items()
        if not math.isnan(values[0].get(name, math.nan)) and not math.isnan(values[1].get(name, math.nan))
    ]


def _sentence(found: Comparison, headline: str, *, alike: bool) -> str:
    """What the headline metric says; ``alike`` if no query has another value of it."""
    row = next((one for one in found.differences if one.metric == headline), None)
    of = f"{found.queries} {'query' if found.queries == 1 else 'queries'} in {found.groups} {found.unit}"
    if row is None:
        return f"Nothing can be said with {of}: there are too few to draw from."
    does, label = _SAYS[headline]
    if math.isnan(row.interval.low):
        if alike:
            return f"Both answered alike: none of {of} differs in {label}."
        return (
            f"Nothing can be said with {of}: there are too few to draw from; they differ by "
            f"{100 * row.difference:+.1f} points of {label}."
        )
    low, high = row.interval.low, row.interval.high
    if low <= 0 <= high:
        return (
            f"No difference can be seen with {of}: {100 * row.difference:+.1f} points of {label} "
            f"({100 * low:+.1f} to {100 * high:+.1f})."
        )
    name, sign = (found.names[1], 1) if row.difference > 0 else (found.names[0], -1)
    low, high = sorted((sign * low, sign * high))
    return (
        f"{name} {does}: {100 * sign * row.difference:+.1f} points of {label} "
        f"({100 * low:.1f} to {100 * high:.1f}), with {of}."
    )


def _check_kinship(first: Compared, second: Compared) -> None:
    """Refuse two that are not by the same protocol, of the same queries in a gallery of the same size."""
    a, b = first.outcomes, second.outcomes
    if (first.protocol, first.law) != (second.protocol, second.law):
        message = f"two evaluations must be by the same protocol, got {first.protocol} and {second.protocol}"
        message += f" ({first.law}; {second.law})" if first.protocol == second.protocol else ""
        message += "; evaluate both by one"
        raise EvaluationError(message)
    if set(a.queries) != set(b.queries):
        only = sorted(set(a.queries) ^ set(b.queries))
        message = f"two evaluations must be of the same queries, got {len(only)} that only one has, {only[0]!r} first"
        message += "; evaluate both on one set"
        raise EvaluationError(message)
    if first.gallery != second.gallery:
        message = f"two evaluations must be of the same gallery, got {first.gallery} and {second.gallery} photos"
        message += "; evaluate both on one set"
        raise EvaluationError(message)


def _in_order(second: Compared, first: Compared) -> Outcomes:
    """The second's outcomes in the order of the first's queries, with the first's groups."""
    a, b = first.outcomes, second.outcomes
    _check_kinship(first, second)
    row_of = {name: row for row, name in enumerate(b.queries)}
    order = np.array([row_of[name] for name in a.queries], dtype=np.int64)
    if not np.array_equal(a.positives, b.positives[order]) or not np.array_equal(a.open_set, b.open_set[order]):
        message = "two evaluations must be of the same gallery, got the same queries with other positives"
        message += "; evaluate both on one set"
        raise EvaluationError(message)
    return Outcomes(
        queries=a.queries,
        places=a.places,
        groups=a.groups,
        positives=a.positives,
        evaluated=a.evaluated,
        open_set=a.open_set,
        first_rank=b.first_rank[order],
        confidence=b.confidence[order],
        correct=b.correct[order],
        values={name: values[order] for name, values in b.values.items()},
    )


def comparison_json(comparison: Comparison) -> dict[str, object]:
    """A comparison as one JSON document; what is undefined is null."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "names": list(comparison.names),
        "protocol": comparison.protocol,
        "queries": comparison.queries,
        "groups": {"unit": comparison.unit, "count": comparison.groups},
        "sentence": comparison.sentence,
        "differences": {
            one.metric: {
                "first": number(one.first),
                "second": number(one.second),
                "difference": number(one.difference),
                "interval": [number(one.interval.low), number(one.interval.high)],
                "second_is_better": number(one.better),
            }
            for one in comparison.differences
        },
    }
