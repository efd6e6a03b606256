"""Is a dataset fit for use? Findings, each with its kind, its severity, its photos and what to do.

Everything that is wrong is found in one run. Each photo is read and decoded once; only its digest and its outline (a
small gray image, see `placewise.outlines`) are kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.core import Finding, Photo, Severity, Source
from placewise.errors import ImageError, OptionError
from placewise.machine import usable_cores
from placewise.outlines import NEAR, SIDE, is_blank, near_pairs, outline

KINDS = (
    "bad_row",
    "missing",
    "unreadable",
    "truncated",
    "too_large",
    "too_small",
    "duplicate",
    "cross_split_duplicate",
    "near_duplicate",
    "cross_split_near_duplicate",
)
"""Every kind of finding, in the order in which they are reported."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What the doctor found.

    Attributes:
        records: Rows of the source, bad ones included.
        gallery: Usable rows of the gallery, whatever state their files are in.
        query: Usable rows of the queries.
        findings: Everything found, rows first, then photos in the order of the source, then groups.
    """

    records: int
    gallery: int
    query: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each kind, zeros included."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in KINDS}

    @property
    def has_errors(self) -> bool:
        """Whether a finding is an error, so that the data are not fit for use."""
        return any(finding.severity == "error" for finding in self.findings)


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
    looks: list[_Look] = []
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        for look in pool.map(partial(_look, source, min_side), source.photos):
            looks.append(look)
            if on_progress is not None:
                on_progress(len(looks), len(source.photos))
    findings = (
        *source.bad_rows,
        *(finding for look in looks for finding in look.findings),
        *_duplicates(looks),
        *_near_duplicates(looks, near_duplicate),
    )
    records = len(source.photos) + len(source.bad_rows)
    return Examination(records, len(source.of("gallery")), len(source.of("query")), findings)


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
    }


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of a photo: the digest of a file that decodes, and the outline of a picture that is not blank."""

    photo: Photo
    findings: tuple[Finding, ...] = ()
    digest: bytes | None = None
    outline: NDArray[np.uint8] | None = None


def _look(source: Source, min_side: int, photo: Photo) -> _Look:
    """Read, decode and judge one photo. Reduced decoding reads the whole stream too, so that a cut file shows."""
    try:
        data = images.read_bytes(source.file(photo))
        shorter = min(images.header_size(data))
        shown = outline(images.decode(data, at_least=2 * SIDE))
    except ImageError as error:
        return _Look(photo, (_finding(error.kind, "error", [photo], str(error)),))
    findings: tuple[Finding, ...] = ()
    if shorter < min_side:
        detail = f"the shorter side must have at least {min_side} pixels, got {shorter}; replace it by a larger photo"
        findings = (_finding("too_small", "warning", [photo], detail),)
    return _Look(photo, findings, hashlib.sha256(data).digest(), None if is_blank(shown) else shown)


def _finding(kind: str, severity: Severity, photos: Iterable[Photo], detail: str) -> Finding:
    """A finding about photos."""
    return Finding(kind, severity, tuple(str(photo.path) for photo in photos), detail)


def _duplicates(looks: Sequence[_Look]) -> Iterator[Finding]:
    """One finding for each group of files with the same bytes."""
    groups: defaultdict[bytes, list[Photo]] = defaultdict(list)
    for look in looks:
        if look.digest is not None:
            groups[look.digest].append(look.photo)
    for photos in groups.values():
        if len(photos) < 2:
            continue
        places = sorted({photo.place for photo in photos if photo.place is not None})
        quarrel = f"; they carry different places ({', '.join(places)}): correct them" if len(places) > 1 else ""
        if _crosses_splits(photos):
            detail = "the same file is in gallery and query: remove it from one of them, or results are too good"
            yield _finding("cross_split_duplicate", "error", photos, detail + quarrel)
        else:
            detail = f"{len(photos)} photos are the same file: keep one of them"
            yield _finding("duplicate", "error" if quarrel else "warning", photos, detail + quarrel)


def _near_duplicates(looks: Sequence[_Look], threshold: float) -> Iterator[Finding]:
    """One finding for each group of nearly equal pictures; of identical files, one in each split stands for all."""
    first = {(look.digest, look.photo.split): look for look in reversed(looks) if look.outline is not None}
    nodes = [look for look in looks if first.get((look.digest, look.photo.split)) is look]
    if len(nodes) < 2:
        return
    outlines = np.stack([look.outline for look in nodes if look.outline is not None])
    contents = np.unique([look.digest or b"" for look in nodes], return_inverse=True)[1]
    in_gallery = np.array([look.photo.split == "gallery" for look in nodes])
    pairs = near_pairs(outlines, contents, in_gallery, threshold=threshold)
    frames: dict[tuple[str, bool], list[Photo]] = {}
    for group in connected(len(nodes), contents, pairs):
        if len({nodes[i].digest for i in group}) > 1:
            photos = [nodes[i].photo for i in group]
            sequence = photos[0].sequence
            if sequence is not None and all(photo.sequence == sequence for photo in photos):
                frames.setdefault((sequence, _crosses_splits(photos)), []).extend(photos)
            else:
                yield _near_finding(photos)
    for (sequence, crosses), photos in frames.items():
        yield _frames_finding(sequence, photos, crosses=crosses)


def _frames_finding(sequence: str, photos: Sequence[Photo], *, crosses: bool) -> Finding:
    """The one finding for all frames of a sequence that are like others of it, as is to be expected of them."""
    kind = "cross_split_near_duplicate" if crosses else "near_duplicate"
    todo = "put the whole sequence on one side, or results are too good" if crosses else "nothing to do"
    detail = f"{len(photos)} frames of sequence {sequence!r} are nearly the same as others of it: {todo}"
    return _finding(kind, "info", photos, detail)


def _near_finding(photos: Sequence[Photo]) -> Finding:
    """The finding for a group of copies."""
    crosses = _crosses_splits(photos)
    kind = "cross_split_near_duplicate" if crosses else "near_duplicate"
    todo = (
        "of copies that gallery and query share, remove those on one side, or results are too good"
        if crosses
        else "if they are copies of one picture, keep one of them"
    )
    return _finding(kind, "warning", photos, f"{len(photos)} photos are nearly the same: {todo}")


def _crosses_splits(photos: Iterable[Photo]) -> bool:
    """Whether photos are in the gallery and among the queries."""
    return len({photo.split for photo in photos}) > 1


def connected(count: int, contents: NDArray[np.int64], pairs: NDArray[np.int64]) -> list[list[int]]:
    """Connected components, each in ascending order; equal contents are connected too."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    first = {int(content): node for node, content in reversed(list(enumerate(contents)))}
    for one, other in [*((first[int(content)], node) for node, content in enumerate(contents)), *pairs.tolist()]:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for node in range(count):
        groups[root(node)].append(node)
    return list(groups.values())
