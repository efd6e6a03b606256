"""A finished evaluation → one self-contained HTML file. Computes no number."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

from placewise import images
from placewise.errors import ImageError
from placewise.files import check_output, write_atomically
from placewise.openset import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from placewise.core import Photo, Source
    from placewise.doctor import Examination
    from placewise.evaluation import Evaluation, QueryResult

_PANEL = 8
"""Queries shown of each kind of mistake, the most confident mistakes first."""

_HITS_SHOWN = 4
_THUMBNAIL_PX = 240


def write_report(
    evaluation: Evaluation, source: Source, path: Path, *, examination: Examination | None = None, title: str = ""
) -> None:
    """Write the report: tables, the tau sweep, and the queries that went wrong with their best hits.

    Args:
        evaluation: what `placewise.evaluate.evaluate_source` returned.
        source: where the photos' files are, for thumbnails.
        path: the HTML file; it needs no other file and no network to be read.
        examination: the doctor's findings, if they are to be shown.
        title: the page's heading; the source's folder by default.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    import jinja2

    check_output(path, ".html")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("placewise", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    thumbnails: dict[Photo, str] = {}

    def thumbnail(photo: Photo) -> str:
        if photo not in thumbnails:
            thumbnails[photo] = _thumbnail(source, photo)
        return thumbnails[photo]

    html = environment.get_template("report.html.j2").render(
        title=title or source.root.resolve().name,
        evaluation=evaluation,
        examination=examination,
        panels=_panels(evaluation),
        curve=_points(evaluation.risk.coverage, evaluation.risk.risk),
        bins=_bins(evaluation),
        hits_shown=_HITS_SHOWN,
        thumbnail=thumbnail,
    )
    write_atomically(path, html.encode())


def _panels(evaluation: Evaluation) -> list[tuple[str, str, list[QueryResult]]]:
    """(heading, explanation, queries) of each kind of answer worth looking at."""
    tau = evaluation.tau

    def pick(wanted: Callable[[QueryResult], bool], *, descending: bool) -> list[QueryResult]:
        chosen: Iterable[QueryResult] = (result for result in evaluation.results if wanted(result))
        return sorted(chosen, key=lambda result: result.confidence, reverse=descending)[:_PANEL]

    return [
        (
            "Wrong place",
            "Known queries that were accepted with another place's photo on top",
            pick(lambda r: r.open_set is False and r.confidence >= tau and not r.correct, descending=True),
        ),
        (
            "False accepts",
            "Open-set queries that were answered KNOWN",
            pick(lambda r: r.open_set is True and r.confidence >= tau, descending=True),
        ),
        (
            "False rejects",
            "Known queries that were answered UNKNOWN",
            pick(lambda r: r.open_set is False and r.confidence < tau, descending=False),
        ),
        (
            "Right and sure",
            "Known queries answered with their place, the most confident first",
            pick(lambda r: r.open_set is False and r.confidence >= tau and r.correct, descending=True)[:3],
        ),
    ]


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else percent(share)


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[tuple[float, float, float]]:
    """Points of a plot, each with a size of 1."""
    return [(*point, 1.0) for point in zip(x.tolist(), y.tolist(), strict=True)]


def _bins(evaluation: Evaluation) -> list[tuple[float, float, float]]:
    """(probability, share right, share of the queries) of each bin that is not empty."""
    bins = evaluation.reliability
    if bins is None:
        return []
    share = bins.count / bins.count.sum()
    rows = zip(bins.confidence.tolist(), bins.accuracy.tolist(), share.tolist(), strict=True)
    return [row for row in rows if row[2]]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _thumbnail(source: Source, photo: Photo) -> str:
    """A data address of a small JPEG; empty where the photo has become unreadable."""
    try:
        image = images.decode(images.read_bytes(source.file(photo)), at_least=_THUMBNAIL_PX)
    except ImageError:
        return ""
    jpeg = images.thumbnail(image, longer_side=_THUMBNAIL_PX)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
