"""A finished evaluation → one self-contained HTML file. Computes no number: `placewise.figures` does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placewise import plots
from placewise.figures import figures_of, panels_of
from placewise.files import check_output
from placewise.machine import versions
from placewise.page import number, write_page
from placewise.scoring.wording import counts_text, heads_of, intervals_meaning, intervals_text, is_defined, words_of
from placewise.thumbnails import thumbnails

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from placewise.core import Source
    from placewise.evaluation import Evaluation
    from placewise.figures import Figures
    from placewise.metrics import Interval


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of numbers."""

    name: str
    value: str
    interval: str
    meaning: str
    better: str


def write_report(
    evaluation: Evaluation,
    source: Source,
    path: Path,
    *,
    title: str = "",
    command: str = "",
) -> None:
    """Write the report: numbers, curves, mistakes, places, the map, thresholds, and how all of it was made.

    Args:
        evaluation: what `placewise.evaluate.evaluate_source` returned.
        source: where the photos' files are, for thumbnails, and their positions.
        path: the HTML file; it needs no other file and no network to be read.
        title: the page's heading; the source's folder by default.
        command: the command line that made it, if it is to be shown.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    check_output(path, ".html")
    figures = figures_of(evaluation, source)
    panels = panels_of(evaluation.results, evaluation.tau)
    values = {
        "title": title or source.root.resolve().name,
        "evaluation": evaluation,
        "examination": evaluation.examination,
        "command": command,
        "versions": versions(),
        "figures": figures,
        "drawn": _drawn(evaluation, figures),
        "decided": not math.isnan(evaluation.tau),
        "labelled": evaluation.scores.protocol.labelled,
        "counts": counts_text(evaluation.scores),
        "intervals": intervals_text(evaluation.scores),
        "intervals_meaning": intervals_meaning(evaluation.scores),
        "headline": _rows(evaluation, heads_of(evaluation.scores)),
        "numbers": _rows(evaluation, evaluation.values),
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
    alone = evaluation.open_set["recall_at_100_precision"]
    return {
        "recall": plots.recall_plot(figures.recall),
        "answers": plots.share_plot(
            [("", figures.answers)],
            "recall",
            "precision of accepted answers",
            marks=[(alone, 1.0, f"R@100P {number(alone)}")] if alone > 0 else [],
        ),
        "roc": plots.share_plot(
            [("known, accepted", figures.roc), ("… and right", figures.oscr)],
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


def _rows(evaluation: Evaluation, names: Iterable[str]) -> list[Row]:
    """The tiles and the table: metrics by their names, with their intervals and what they mean."""
    return [row_of(name, evaluation.values[name], evaluation.intervals.get(name)) for name in names]


def row_of(name: str, value: float, interval: Interval | None) -> Row:
    """A metric as a page shows it."""
    words = words_of(name)
    better = ("higher" if words.higher_is_better else "lower") if words.meaning else ""
    return Row(words.label, number(value), interval_text(interval), words.meaning, better)


def interval_text(interval: Interval | None, *, sign: str = "") -> str:
    """An interval as a page shows it; empty where there is none."""
    if interval is None or not is_defined(interval):
        return ""
    return f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"
