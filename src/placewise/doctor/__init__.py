"""Is a dataset fit for use? Findings, each with its kind, its severity, its photos and what to do.

Everything that is wrong is found in one run. Each photo is read and decoded once; of its pixels only an outline (a
small gray image, see `placewise.outlines`) is kept, and only until copies have been searched.
docs/findings.md explains every kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from placewise.core import Finding, Photo, Source
from placewise.doctor.copies import Group, connected, find_copies
from placewise.doctor.kinds import BY_NAME, KINDS, TABLE, Kind
from placewise.doctor.labels import judge_labels
from placewise.doctor.look import Look, PhotoFacts, look
from placewise.doctor.pictures import judge_pictures
from placewise.doctor.positions import judge_positions
from placewise.errors import OptionError
from placewise.machine import usable_cores
from placewise.outlines import NEAR

__all__ = [
    "BY_NAME",
    "KINDS",
    "TABLE",
    "Examination",
    "Group",
    "Kind",
    "PhotoFacts",
    "connected",
    "examine",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class Examination:
    """What the doctor found.

    Attributes:
        records: Rows of the source, bad ones included.
        gallery: Usable rows of the gallery, whatever state their files are in.
        query: Usable rows of the queries.
        findings: Everything found: rows, pictures skipped, then photos in the order of the source, then copies, then
            what only shows when all photos are seen together.
        facts: What was seen of each photo, in the order of the source.
        groups: Copies of one picture, both the same file and nearly the same; frames of one sequence are none.
    """

    records: int
    gallery: int
    query: int
    findings: tuple[Finding, ...]
    facts: tuple[PhotoFacts, ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each kind, zeros included."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in KINDS}

    @property
    def has_errors(self) -> bool:
        """Whether a finding is an error, so that the data are not fit for use."""
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def readable(self) -> tuple[Photo, ...]:
        """The photos that decode, in the order of the source."""
        return tuple(facts.photo for facts in self.facts if not facts.fault)


def examine(
    source: Source,
    *,
    min_side: int = 64,
    near_duplicate: float = NEAR,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Examination:
    """Examine every photo of a source.

    Args:
        source: Photos and bad rows.
        min_side: A photo whose shorter side is below this many pixels is ``too_small``.
        near_duplicate: Similarity, above 0 and up to 1, from which two aligned photos are near-duplicates.
        on_progress: Called in this thread with the number of photos read so far and their total.
        workers: Threads that read and decode; one per processor where absent.
    """
    if not 0 < near_duplicate <= 1:
        message = f"near_duplicate must be above 0 and at most 1, got {near_duplicate}"
        raise OptionError(message)
    if workers is not None and workers < 1:
        message = f"workers must be 1 or more, got {workers}"
        raise OptionError(message)
    looks: list[Look] = []
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        for seen in pool.map(partial(look, source, min_side), source.photos):
            looks.append(seen)
            if on_progress is not None:
                on_progress(len(looks), len(source.photos))
    groups, copies = find_copies(looks, near_duplicate)
    facts = tuple(seen.facts for seen in looks)
    findings = (
        *source.bad_rows,
        *source.skipped,
        *(seen.finding for seen in looks if seen.finding is not None),
        *copies,
        *judge_pictures(facts),
        *judge_labels(source),
        *judge_positions(facts),
    )
    records = len(source.photos) + len(source.bad_rows)
    return Examination(records, len(source.of("gallery")), len(source.of("query")), findings, facts, groups)


def to_json(examination: Examination) -> dict[str, Any]:
    """An examination as the JSON document of ``placewise validate``."""
    return {
        "records": examination.records,
        "gallery": examination.gallery,
        "query": examination.query,
        "counts": examination.counts,
        "findings": [
            {"kind": found.kind, "severity": found.severity, "photos": list(found.photos), "detail": found.detail}
            for found in examination.findings
        ],
        "groups": [_names(group.photos) for group in examination.groups],
    }


def _names(photos: Sequence[Photo]) -> list[str]:
    return [str(photo.path) for photo in photos]
