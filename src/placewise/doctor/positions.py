"""What positions say: such as are none, such as lie far from their place, such as EXIF data contradict."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from placewise.core import Finding, Photo, Position
from placewise.doctor.kinds import counted, finding, is_null, listed
from placewise.doctor.look import PhotoFacts
from placewise.openset.places import MATCH_M, points_of

_FAR_M = 1000.0
"""Parts of one place lie so far apart: from there no photo shows the same, but for mountains and skylines."""

_EXIF_FAR_M = 200.0
"""A row and EXIF data that differ more: receivers err by tens of metres between houses, not by this."""

_MAIN_PART = 3
"""A place with so many photos in one spot is there, and a single one elsewhere is wrong."""

_Points = NDArray[np.float64]
_Cell = tuple[int, int, int]


def judge_positions(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    """Findings about the positions of rows and of EXIF data."""
    yield from _no_positions(facts)
    yield from _exif_conflicts(facts)
    yield from _places_apart(facts)


def near_any(asking: Sequence[Position], held: Sequence[Position], *, radius_m: float = MATCH_M) -> list[bool]:
    """Whether each position has one of those held within a radius."""
    points = _points(held)
    cells = _cells(points, radius_m)
    return [
        any(
            math.dist(point, points[row]) <= radius_m
            for cell in _around(_cell(point, radius_m))
            for row in cells.get(cell, ())
        )
        for point in _points(asking)
    ]


def _no_positions(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    rows = [fact.photo for fact in facts if is_null(fact.photo.position)]
    if rows:
        detail = f"{counted(len(rows))} at latitude 0 and longitude 0, where nobody was: correct or empty the cells"
        yield finding("bad_position", rows, detail)
    exif = [fact.photo for fact in facts if fact.has_gps and fact.position is None]
    if exif:
        detail = f"{counted(len(exif))} with a position in EXIF that is none: state it in a manifest"
        yield finding("bad_position", exif, detail)
    unfixed = [fact.photo for fact in facts if is_null(fact.position) and fact.photo.position is None]
    if unfixed:
        detail = f"{counted(len(unfixed))} with (0, 0) in EXIF, of a receiver without a fix: not used as a position"
        yield finding("bad_position", unfixed, detail, "info")


def _exif_conflicts(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    pairs = [
        (fact.photo, fact.photo.position, fact.position)
        for fact in facts
        if fact.photo.position is not None and fact.position is not None and fact.photo.position != fact.position
        if not is_null(fact.position) and not is_null(fact.photo.position)
    ]
    if not pairs:
        return
    photos, rows, exif = zip(*pairs, strict=True)
    metres = np.linalg.norm(_points(rows) - _points(exif), axis=1)
    if (metres > _EXIF_FAR_M).any():
        found = [photo for photo, apart in zip(photos, metres, strict=True) if apart > _EXIF_FAR_M]
        detail = (
            f"{counted(len(found))} more than {_EXIF_FAR_M:.0f} m (up to {_length(metres.max())}) from where EXIF "
            f"says: look which is right"
        )
        yield finding("position_conflict", found, detail)


def _places_apart(facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    """One finding for single photos far from all others of their place, one for places in several parts."""
    members: defaultdict[str, list[tuple[Photo, Position]]] = defaultdict(list)
    for fact in facts:
        where = fact.photo.position or fact.position
        if fact.photo.place is not None and where is not None and not is_null(where):
            members[fact.photo.place].append((fact.photo, where))
    strays: list[tuple[str, float, list[Photo]]] = []
    conflicts: list[tuple[str, float, list[Photo]]] = []
    for place, rows in members.items():
        points = _points([where for _, where in rows])
        main, *others = sorted(_parts(points), key=len, reverse=True)
        if others:
            apart = max(math.dist(points[main[0]], points[part[0]]) for part in others)
            astray = len(main) >= _MAIN_PART and max(map(len, others)) == 1
            chosen = itertools.chain(*others) if astray else range(len(rows))
            (strays if astray else conflicts).append((place, apart, [rows[row][0] for row in chosen]))
    if strays:
        detail = f"far from all other photos of the place: {_apart(strays)}; correct the position or the place"
        yield finding("bad_position", (photo for *_, photos in strays for photo in photos), detail)
    if conflicts:
        detail = f"photos of one place lie more than 1 km apart: {_apart(conflicts)}; correct places or positions"
        yield finding("position_conflict", (photo for *_, photos in conflicts for photo in photos), detail)


def _parts(points: _Points) -> list[list[int]]:
    """Rows of what hangs together: between two parts lies a gap of `_FAR_M` or more."""
    cells = _cells(points, _FAR_M)
    parts: list[list[int]] = []
    while cells:
        part, reached = [], [next(iter(cells))]
        while reached:
            cell = reached.pop()
            if cell in cells:
                part += cells.pop(cell)
                reached += _around(cell)
        parts.append(sorted(part))
    return parts


def _points(positions: Iterable[Position]) -> _Points:
    return points_of(np.array([(where.lat, where.lon) for where in positions], dtype=np.float64).reshape(-1, 2))


def _cell(point: NDArray[np.float64], side_m: float) -> _Cell:
    x, y, z = (int(value) for value in np.floor(point / side_m))
    return x, y, z


def _cells(points: _Points, side_m: float) -> dict[_Cell, list[int]]:
    """Rows by the cube that they lie in."""
    cells: dict[_Cell, list[int]] = {}
    for row, (x, y, z) in enumerate(np.floor(points / side_m).astype(np.int64).tolist()):
        cells.setdefault((x, y, z), []).append(row)
    return cells


def _around(cell: _Cell) -> list[_Cell]:
    """A cube and its 26 neighbours."""
    x, y, z = cell
    return [(x + dx, y + dy, z + dz) for dx, dy, dz in itertools.product((-1, 0, 1), repeat=3)]


def _apart(found: Sequence[tuple[str, float, list[Photo]]]) -> str:
    return listed([f"{place} ({_length(metres)})" for place, metres, _ in found])


def _length(metres: float) -> str:
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.0f} km"
