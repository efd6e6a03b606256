"""An examination → what its page shows: findings by kind, copies by how serious they are, how photos are spread.

`placewise.findings_report` shows it. Files are not read again.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise.doctor import BY_NAME, KINDS, Kind
from placewise.doctor.kinds import is_null
from placewise.figures.ground import on_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from placewise.core import Finding, Photo, Position, Severity, Source
    from placewise.doctor import Examination, Group, PhotoFacts

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The worst first."""

_DOUBTFUL = frozenset({"bad_position", "position_conflict"})


@dataclass(frozen=True, slots=True)
class Section:
    """All findings of one kind and one severity.

    Attributes:
        kind: what it means.
        severity: how bad it is here.
        findings: one or more, in the order of the examination.
        photos: what they name, each photo once.
    """

    kind: Kind
    severity: Severity
    findings: tuple[Finding, ...]
    photos: tuple[str, ...]

    @property
    def todo(self) -> str:
        """What to do; empty where a finding is milder than its kind and says so itself."""
        return self.kind.todo if self.severity in {self.kind.severity, "error"} else ""


@dataclass(frozen=True, slots=True)
class Spread:
    """How many photos there are of something.

    Attributes:
        name: a place, a format, a shape or a sequence.
        gallery: photos in the gallery.
        query: queries.
        size_bytes: what their files take together, where that was seen.
    """

    name: str
    gallery: int
    query: int
    size_bytes: int = 0

    @property
    def photos(self) -> int:
        """All of them."""
        return self.gallery + self.query


@dataclass(frozen=True, slots=True)
class Sides:
    """The longer sides of the photos of one split, in pixels: the smallest, the usual one (median), the largest."""

    split: str
    photos: int
    smallest: int
    usual: int
    largest: int


@dataclass(frozen=True, slots=True, eq=False)
class Whereabouts:
    """Where photos were taken, by their rows or else by EXIF data, in metres (east, north) of the middle.

    Attributes:
        gallery: ``(G, 2)`` float64.
        query: ``(Q, 2)`` float64.
        doubtful: photos of which a finding says that their position is wrong, which are among the above too.
        beyond: doubtful photos so far off that the others would shrink to a dot: they are not on the map.
        missing: photos without a position, or at latitude 0 and longitude 0.
    """

    gallery: NDArray[np.float64]
    query: NDArray[np.float64]
    doubtful: tuple[tuple[Photo, tuple[float, float]], ...]
    beyond: tuple[Photo, ...]
    missing: int


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the page shows of an examination.

    Attributes:
        severities: findings of each severity, the worst first, zeros included.
        sections: the worst first, then in the order of the kinds.
        groups: copies, the most serious first.
        places: by number of photos, the largest first; photos without a place do not count.
        unlabelled: photos without a place.
        sizes: (width, height, split) → photos that decode.
        sides: a line for each split that has photos which decode.
        formats: of photos that decode, the most frequent first.
        shapes: likewise: landscape, portrait, square.
        sequences: by name.
        whereabouts: None where no position is known.
    """

    severities: dict[Severity, int]
    sections: tuple[Section, ...]
    groups: tuple[Group, ...]
    places: tuple[Spread, ...]
    unlabelled: int
    sizes: dict[tuple[int, int, str], int]
    sides: tuple[Sides, ...]
    formats: tuple[Spread, ...]
    shapes: tuple[Spread, ...]
    sequences: tuple[Spread, ...]
    whereabouts: Whereabouts | None


def survey_of(examination: Examination, source: Source) -> Survey:
    """Everything that the page shows beside the examination itself.

    Args:
        examination: what the doctor found.
        source: what was examined.
    """
    sound = [fact for fact in examination.facts if not fact.fault]
    rows = [fact for fact in examination.facts if fact.photo.place is not None]
    frames = [fact for fact in examination.facts if fact.photo.sequence is not None]
    severities = Counter(found.severity for found in examination.findings)
    places = _spread(rows, lambda fact: fact.photo.place or "")
    return Survey(
        severities={severity: severities[severity] for severity in SEVERITIES},
        sections=_sections(examination.findings),
        groups=serious_first(examination.groups),
        places=places,
        unlabelled=len(source.photos) - sum(place.photos for place in places),
        sizes=dict(Counter((fact.width, fact.height, fact.photo.split) for fact in sound)),
        sides=_sides(sound),
        formats=_spread(sound, lambda fact: fact.format),
        shapes=_spread(sound, shape_of),
        sequences=tuple(sorted(_spread(frames, lambda fact: fact.photo.sequence or ""), key=lambda row: row.name)),
        whereabouts=_whereabouts(examination),
    )


def by_severity(findings: Iterable[Finding]) -> dict[tuple[Severity, str], list[Finding]]:
    """Findings by (severity, kind), the worst first, then in the order of the kinds."""
    found: defaultdict[tuple[Severity, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.severity, finding.kind].append(finding)
    order = sorted(found, key=lambda key: (SEVERITIES.index(key[0]), KINDS.index(key[1])))
    return {key: found[key] for key in order}


def serious_first(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups of copies: what is in both splits first, then what carries several places, same files, large groups."""
    return tuple(
        sorted(
            groups,
            key=lambda group: (
                not (group.crosses_splits and has_same_file(group)),
                not group.crosses_splits,
                len(group.places) < 2,
                not has_same_file(group),
                -len(group.photos),
            ),
        )
    )


def has_same_file(group: Group) -> bool:
    """Whether a group holds one file twice."""
    return len(set(group.contents)) < len(group.contents)


def telling(group: Group, most: int) -> tuple[tuple[Photo, int], ...]:
    """The photos that tell what is wrong with a group, and the number of each one's file, from 0.

    Each split is there, then each place and each file as far as there is room; what is chosen is in the order of the
    source, the gallery first.
    """
    rows = list(zip(group.photos, group.contents, strict=True))
    firsts: list[dict[object, int]] = [{}, {}, {}]
    for number, (photo, content) in enumerate(rows):
        for first, key in zip(firsts, (photo.split, photo.place, content), strict=True):
            first.setdefault(key, number)
    order = dict.fromkeys(itertools.chain(*(first.values() for first in firsts), range(len(rows))))
    chosen = sorted(itertools.islice(order, most), key=lambda number: (rows[number][0].split, number))
    files: dict[int, int] = {}
    return tuple((rows[number][0], files.setdefault(rows[number][1], len(files))) for number in chosen)


def shape_of(fact: PhotoFacts) -> str:
    """What a photo is in a word."""
    if fact.width == fact.height:
        return "square"
    return "landscape" if fact.width > fact.height else "portrait"


def _sections(findings: Iterable[Finding]) -> tuple[Section, ...]:
    return tuple(
        Section(
            BY_NAME[kind],
            severity,
            tuple(alike),
            tuple(dict.fromkeys(name for found in alike for name in found.photos)),
        )
        for (severity, kind), alike in by_severity(findings).items()
    )


def _spread(facts: Iterable[PhotoFacts], name: Callable[[PhotoFacts], str]) -> tuple[Spread, ...]:
    """Photos by a name, the most frequent first, then in the order of the alphabet."""
    counts: dict[str, list[int]] = {}
    for fact in facts:
        count = counts.setdefault(name(fact), [0, 0, 0])
        count[fact.photo.split == "query"] += 1
        count[2] += fact.size_bytes
    rows = [Spread(key, *count) for key, count in counts.items()]
    return tuple(sorted(rows, key=lambda row: (-row.photos, row.name)))


def _sides(facts: Sequence[PhotoFacts]) -> tuple[Sides, ...]:
    rows = []
    for split in ("gallery", "query"):
        sides = [max(fact.width, fact.height) for fact in facts if fact.photo.split == split]
        if sides:
            rows.append(Sides(split, len(sides), min(sides), round(float(np.median(sides))), max(sides)))
    return tuple(rows)


def _whereabouts(examination: Examination) -> Whereabouts | None:
    """Positions on a plane around all that are not in doubt."""
    named = {name for found in examination.findings if found.kind in _DOUBTFUL for name in found.photos}
    placed = [
        (fact.photo, where)
        for fact in examination.facts
        if (where := fact.photo.position or fact.position) is not None and not is_null(where)
    ]
    if not placed:
        return None
    doubted = np.array([str(photo.path) in named for photo, _ in placed])
    inside = _inside(_points(placed), ~doubted) if not doubted.all() else np.ones(len(placed), dtype=bool)
    beyond = tuple(photo for (photo, _), near in zip(placed, inside, strict=True) if not near)
    shown = [row for row, near in zip(placed, inside, strict=True) if near]
    points = _points(shown)  # again: the plane is true around what is on it
    in_gallery = np.array([photo.split == "gallery" for photo, _ in shown])
    spots = [(photo, (east, north)) for (photo, _), (east, north) in zip(shown, points.tolist(), strict=True)]
    return Whereabouts(
        gallery=points[in_gallery],
        query=points[~in_gallery],
        doubtful=tuple(spot for spot in spots if str(spot[0].path) in named),
        beyond=beyond,
        missing=len(examination.facts) - len(placed),
    )


def _points(placed: Sequence[tuple[Photo, Position]]) -> NDArray[np.float64]:
    """Positions as ``(N, 2)`` spots on a plane."""
    return np.array(on_plane([where for _, where in placed]), dtype=np.float64)


def _inside(points: NDArray[np.float64], sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of ``(N, 2)`` spots lie among the sure ones, or no farther off than these reach."""
    low, high = points[sure].min(axis=0), points[sure].max(axis=0)
    reach = max(math.dist(low, high), 1000.0)
    inside: NDArray[np.bool_] = ((points >= low - reach) & (points <= high + reach)).all(axis=1)
    return inside
