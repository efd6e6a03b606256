"""Several models on the same split → one self-contained HTML file. Computes no number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placewise.figures import disagreements_of
from placewise.files import check_output
from placewise.forest import forest_of
from placewise.machine import versions
from placewise.page import write_page
from placewise.scoring.wording import counts_text, heads_of, intervals_meaning, intervals_text, words_of
from placewise.thumbnails import thumbnails

if TYPE_CHECKING:
    from pathlib import Path

    from placewise.contest import Contest
    from placewise.core import Source
    from placewise.forest import Forest
    from placewise.scoring.comparing import Comparison


def write_contest_report(
    contest: Contest,
    source: Source,
    path: Path,
    *,
    title: str = "",
    command: str = "",
) -> None:
    """Write the page: each model's numbers with intervals, how it differs from the first, and on which queries.

    Args:
        contest: what `placewise.contest.contest_of` returned.
        source: what was evaluated; where the photos' files are.
        path: the HTML file; it needs no other file and no network to be read.
        title: the page's heading; the source's folder by default.
        command: the command line that made it, if it is to be shown.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    check_output(path, ".html")
    first = contest.evaluations[0]
    names = heads_of(first.scores)
    apart = [
        disagreements_of(comparison.names, first.results, other.results)
        for comparison, other in zip(contest.comparisons, contest.evaluations[1:], strict=True)
    ]
    values = {
        "title": title or source.root.resolve().name,
        "contest": contest,
        "examination": first.examination,
        "command": command,
        "versions": versions(),
        "counts": counts_text(first.scores),
        "intervals": intervals_text(first.scores),
        "intervals_meaning": intervals_meaning(first.scores),
        "headline": [(name, words_of(name)) for name in names],
        "words": words_of,
        "side_by_side": [(name, words_of(name), _side_by_side(contest, name)) for name in names],
        "differences": [_differences(comparison, names) for comparison in contest.comparisons],
        "apart": apart,
        "thumbnails": thumbnails(source, (photo for pair in apart for one in pair for photo in one.photos)),
    }
    write_page(path, "contest.html.j2", values)


def _side_by_side(contest: Contest, name: str) -> Forest | None:
    """One metric of all models."""
    rows = [(one.card.name, one.values[name], one.intervals.get(name)) for one in contest.evaluations]
    return forest_of(rows, words_of(name).label)


def _differences(comparison: Comparison, names: list[str]) -> Forest | None:
    """The headline metrics of one comparison, but for those of which lower is better: right of zero is a gain."""
    found = {one.metric: one for one in comparison.differences if words_of(one.metric).higher_is_better}
    rows = [(words_of(name).label, found[name].difference, found[name].interval) for name in names if name in found]
    return forest_of(rows, f"{comparison.names[1]} minus {comparison.names[0]}", differences=True)
