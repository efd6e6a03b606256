"""An examination → one self-contained HTML file. Computes no number: `placewise.survey` does."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from placewise import photo_plots
from placewise.files import check_output
from placewise.machine import versions
from placewise.page import write_page
from placewise.survey import Section, survey_of, telling
from placewise.thumbnails import thumbnails

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from placewise.core import Photo, Source
    from placewise.doctor import Examination, PhotoFacts

_LOOK = frozenset(
    {
        "too_small",
        "extreme_aspect",
        "blank",
        "exif_rotation",
        "mixed_resolutions",
        "near_duplicate",
        "cross_split_near_duplicate",
        "single_photo_place",
        "query_without_positives",
        "bad_position",
        "position_conflict",
    }
)
"""Kinds of findings where a look at the photos helps to judge; copies are seen in their groups."""

_LOOKS_SHOWN = 6
_GROUPS_SHOWN = 24
_COPIES_SHOWN = 6


def write_findings(examination: Examination, source: Source, path: Path, *, title: str = "", command: str = "") -> None:
    """Write the doctor's report: findings and what to do, copies side by side, how photos are spread.

    Args:
        examination: what the doctor found.
        source: what was examined; thumbnails are made of its files, those that are shown only.
        path: the HTML file; it needs no other file and no network to be read.
        title: the page's heading; the source's folder by default.
        command: the command line that made it, if it is to be shown.

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    check_output(path, ".html")
    survey = survey_of(examination, source)
    facts = {str(fact.photo.path): fact for fact in examination.facts}
    grouped = {str(photo.path) for group in survey.groups for photo in group.photos}
    looks = [_looked_at(section, facts, grouped) for section in survey.sections]
    groups = [(group, telling(group, _COPIES_SHOWN)) for group in survey.groups[:_GROUPS_SHOWN]]
    copies = (photo for _, shown in groups for photo, _ in shown)
    values = {
        "title": title or source.root.resolve().name,
        "examination": examination,
        "source": source,
        "command": command,
        "versions": versions(),
        "survey": survey,
        "facts": facts,
        "sections": list(zip(survey.sections, looks, strict=True)),
        "groups": groups,
        "sizes": photo_plots.size_plot(survey.sizes),
        "place_plot": photo_plots.place_plot(survey.places),
        "map": photo_plots.photo_map(survey.whereabouts) if survey.whereabouts else None,
        "thumbnails": thumbnails(source, itertools.chain(*looks, copies)),
    }
    write_page(path, "findings.html.j2", values)


def _looked_at(section: Section, facts: Mapping[str, PhotoFacts], grouped: Collection[str]) -> list[Photo]:
    """The first photos of a section, where a look at them helps and they are not seen in a group."""
    if section.kind.name not in _LOOK:
        return []
    seen_below = grouped if section.kind.name.endswith("near_duplicate") else ()
    found = (facts[name] for name in section.photos if name in facts and name not in seen_below)
    return [fact.photo for fact in itertools.islice((fact for fact in found if not fact.fault), _LOOKS_SHOWN)]
