"""A finished evaluation → one self-contained HTML file. Computes no number: `placewise.figures` does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placewise import plots
from placewise.figures import figures_of, outcome
from placewise.files import check_output
from placewise.machine import versions
from placewise.page import number, write_page
from placewise.thumbnails import thumbnails

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from placewise.core import Hit, Photo, Source
    from placewise.doctor import Examination
    from placewise.evaluation import Evaluation, QueryResult
    from placewise.figures import Figures, Outcome

_PANEL = 8
"""Queries shown of each kind of mistake, the most confident mistakes first."""

_HITS_SHOWN = 5

_PANELS: tuple[tuple[Outcome, str, str, bool, int], ...] = (
    (
        "wrong place",
        "Wrong place",
        "Known queries that were accepted with another place, the most confident first.",
        True,
        _PANEL,
    ),
    ("false accept", "False accepts", "Open-set queries answered KNOWN, the most confident first.", True, _PANEL),
    ("false reject", "False rejects", "Known queries answered UNKNOWN, the least confident first.", False, _PANEL),
    ("right", "Right and sure", "Known queries answered with their place, the most confident first.", True, 3),
)
"""(outcome, heading, explanation, whether the most confident come first, how many are shown)."""

_METRICS = {
    "map": ("mAP", "mean over known queries of the average precision over all their positives", True),
    "known_accepted_right": ("Known, right place", "share of known queries accepted with their place, at tau", True),
    "wrong_place_rate": ("Known, wrong place", "share of known queries accepted with another place, at tau", False),
    "false_reject_rate": ("False-reject rate", "share of known queries answered UNKNOWN, at tau", False),
    "false_accept_rate": ("False-accept rate", "share of open-set queries answered KNOWN, at tau", False),
    "unknown_precision": ("UNKNOWN precision", "share of UNKNOWN answers that are right, at tau", True),
    "unknown_recall": ("UNKNOWN recall", "share of open-set queries answered UNKNOWN, at tau", True),
    "unknown_f1": ("UNKNOWN F1", "harmonic mean of UNKNOWN precision and recall, at tau", True),
    "auroc": ("AUROC", "probability that a known query is more confident than an open-set one", True),
    "oscr": ("OSCR", "the same, where its place is right too", True),
    "gap": ("GAP", "micro-AP of one answer a query, open-set queries among them", True),
    "fpr95": ("FPR95", "share of open-set queries accepted where 95 % of the known ones are", False),
    "fpr95_open_set": (
        "FPR95, open-set positive",
        "share of known queries flagged where 95 % of the open-set ones are",
        False,
    ),
    "aurc": ("AURC", "mean over all coverages of the share of accepted answers that is wrong", False),
    "ece": ("ECE", "expected calibration error of the probability", False),
}
"""Metric → (name, meaning, whether higher is better), in the order of the table; others follow under their own name."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table of numbers."""

    name: str
    value: str
    interval: str
    meaning: str
    better: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """A hit beside its query.

    Attributes:
        rank: from 1.
        hit: the gallery photo; None where only its rank was kept.
        right: whether it shows the query's place.
        matches: (x0, y0, x1, y1) of matched keypoints in the query and in the hit, as shares of width and height.
    """

    rank: int
    hit: Hit | None
    right: bool
    matches: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class _Panel:
    """The queries of one outcome: how many there are, and those that are shown with their hits."""

    heading: str
    explanation: str
    count: int
    queries: tuple[tuple[QueryResult, tuple[_Shown, ...]], ...]

    @property
    def photos(self) -> Iterator[Photo]:
        """Every photo that is shown."""
        for result, hits in self.queries:
            yield result.query
            yield from (shown.hit.photo for shown in hits if shown.hit)


def write_report(
    evaluation: Evaluation,
    source: Source,
    path: Path,
    *,
    examination: Examination | None = None,
    title: str = "",
    command: str = "",
) -> None:
    """Write the report: numbers, curves, mistakes, places, the map, thresholds, and how all of it was made.

    Args:
        evaluation: what `placewise.evaluate.evaluate_source` returned.
        source: where the photos' files are, for thumbnails, and their positions.
        path: the HTML file; it needs no other file and no network to be read.
        examination: the doctor's findings, if they are to be shown.
        title: the page's heading; the source's folder by default.
        command: the command line that made it, if it is to be shown.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    check_output(path, ".html")
    figures = figures_of(evaluation, source)
    panels = _panels(evaluation)
    values = {
        "title": title or source.root.resolve().name,
        "evaluation": evaluation,
        "examination": examination,
        "command": command,
        "versions": versions(),
        "figures": figures,
        "drawn": _drawn(evaluation, figures),
        "headline": _headline(evaluation),
        "numbers": _numbers(evaluation),
        "panels": panels,
        "thumbnails": thumbnails(source, (photo for panel in panels for photo in panel.photos)),
    }
    write_page(path, "report.html.j2", values)


def _drawn(evaluation: Evaluation, figures: Figures) -> dict[str, object]:
    """The geometry of every plot; None for what is not defined."""
    counts, right = evaluation.counts, evaluation.open_set["known_accepted_right"]
    far, accepted = counts.false_accept_rate, 1 - counts.false_reject_rate
    flagged = (counts.unknown_recall, counts.unknown_precision, f"at tau: recall {number(counts.unknown_recall)}")
    tau = evaluation.tau if evaluation.reliability is None else None  # of the similarity
    return {
        "recall": plots.recall_plot(figures.recall),
        "answers": plots.share_plot([("", figures.answers)], "recall", "precision of accepted answers"),
        "roc": plots.share_plot(
            [("known, accepted", figures.roc), ("… with their place", figures.oscr)],
            "open-set queries accepted",
            "known queries accepted",
            marks=[(far, accepted, f"at tau: {number(accepted)}"), (far, right, f"at tau: {number(right)}")],
            key="bottom right",
            diagonal=True,
        ),
        "unknown": plots.share_plot(
            [("", figures.unknown)], "recall of UNKNOWN", "precision of UNKNOWN", marks=[flagged]
        ),
        "confidence": None
        if evaluation.reliability is None
        else plots.ridges(figures.confidence, "probability that the place is right", evaluation.tau),
        "similarity": plots.ridges(figures.similarity, "similarity of the best hit", tau),
        "risk": plots.share_plot([("", figures.risk)], "share of the queries accepted", "share of those that is wrong"),
        "reliability": plots.reliability_plot(evaluation.reliability) if evaluation.reliability else None,
        "map": plots.map_of(figures.ground) if figures.ground else None,
    }


def _values(evaluation: Evaluation) -> dict[str, float]:
    """Every metric by its name."""
    counts = evaluation.counts
    at_tau = {
        "unknown_precision": counts.unknown_precision,
        "unknown_recall": counts.unknown_recall,
        "unknown_f1": counts.unknown_f1,
        "false_accept_rate": counts.false_accept_rate,
        "false_reject_rate": counts.false_reject_rate,
    }
    return {**evaluation.retrieval, **at_tau, **evaluation.open_set}


def _headline(evaluation: Evaluation) -> list[_Row]:
    """The tiles: what a reader looks for first."""
    names = ("recall@1", "recall@5", "recall@10", "map", "unknown_precision", "unknown_recall", "auroc", "oscr")
    values = _values(evaluation)
    return [_metric(evaluation, name, values[name]) for name in names if name in values]


def _numbers(evaluation: Evaluation) -> list[_Row]:
    """The table: every metric, those of retrieval first."""
    values = _values(evaluation)
    order = dict.fromkeys((*evaluation.retrieval, *_METRICS, *values))
    return [_metric(evaluation, name, values[name]) for name in order if name in values]


def _metric(evaluation: Evaluation, name: str, value: float) -> _Row:
    kind, _, k = name.partition("@")
    if kind == "recall" and k.isdigit():
        first = f"among the first {k} gallery photos" if k != "1" else "on top"
        label, meaning, better = f"Recall@{k}", f"share of known queries with a positive {first}", "higher"
    else:
        label, meaning, higher = _METRICS.get(name, (name.replace("_", " "), "", None))
        better = {True: "higher", False: "lower", None: ""}[higher]
    interval = evaluation.intervals.get(name)
    shown = ""
    if interval is not None and not math.isnan(interval.low):
        shown = f"{number(interval.low)} to {number(interval.high)}"
    return _Row(label, number(value), shown, meaning, better)


def _panels(evaluation: Evaluation) -> list[_Panel]:
    """One panel for each outcome worth looking at."""
    return [
        _panel(
            heading,
            explanation,
            sorted(
                (result for result in evaluation.results if outcome(result, evaluation.tau) == wanted),
                key=lambda result: result.confidence,
                reverse=descending,
            ),
            most,
        )
        for wanted, heading, explanation, descending, most in _PANELS
    ]


def _panel(heading: str, explanation: str, results: Sequence[QueryResult], most: int) -> _Panel:
    return _Panel(heading, explanation, len(results), tuple((result, _hits(result)) for result in results[:most]))


def _hits(result: QueryResult) -> tuple[_Shown, ...]:
    """The first hits, and the first right one where it is not among them."""
    positives = set(result.positive_ranks.tolist())
    first = min(positives, default=0)
    later = first >= _HITS_SHOWN
    best = result.hits[: _HITS_SHOWN - later]
    shown = [_Shown(rank, hit, rank in positives) for rank, hit in enumerate(best, 1)]
    if later:
        kept = result.hits[first - 1] if first <= len(result.hits) else result.first_right
        shown.append(_Shown(first, kept, right=True))
    return tuple(shown)
