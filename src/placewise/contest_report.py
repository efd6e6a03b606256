"""Several models on the same split → one self-contained HTML file. Computes no number."""

from __future__ import annotations

from pathlib import Path

from placewise.columns import figure, share
from placewise.contest import Contest
from placewise.core import Source
from placewise.files import check_output, write_atomically


def write_contest_report(contest: Contest, source: Source, path: Path, *, title: str = "") -> None:
    """Write the page: each model's numbers with intervals, and how it differs from the first.

    Args:
        contest: what `placewise.contest.contest_of` returned.
        source: what was evaluated.
        path: the HTML file; it needs no other file and no network to be read.
        title: the page's heading; the source's folder by default.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    import jinja2

    check_output(path, ".html")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("placewise", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["figure"] = figure
    environment.filters["share"] = share
    names = [name for name in contest.evaluations[0].retrieval if "@2" not in name]
    names += [name for name in ("auroc", "oscr", "gap") if name in contest.evaluations[0].open_set]
    html = environment.get_template("contest.html.j2").render(
        title=title or source.root.resolve().name, contest=contest, names=names
    )
    write_atomically(path, html.encode())
