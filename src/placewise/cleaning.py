"""An examined source → rows that are fit for use, and why the others are not.

The law of this module: after it, the doctor finds no error any more. It changes rows, never files, and only where the
data say what is right; what only a person can judge is left as it is, or marked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from placewise.core import Photo, Position, Source, Split
from placewise.doctor import Examination, Group
from placewise.doctor.copies import places_of
from placewise.doctor.kinds import listed
from placewise.doctor.positions import is_null
from placewise.errors import SourceError
from placewise.manifest import DROPPED, check_manifest, dropped_path, write_manifest, write_table


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is left out; a bad one has no place and no split, and perhaps no path."""

    path: str
    reason: str
    place: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Rows that are fit for use.

    Attributes:
        photos: those that stay, in the order of the source.
        reasons: by path, why a row is not what it was, or what to look at.
        dropped: those that are left out, bad rows first.
    """

    photos: tuple[Photo, ...]
    reasons: Mapping[PurePosixPath, str]
    dropped: tuple[Dropped, ...]

    def of(self, split: Split) -> tuple[Photo, ...]:
        """The photos of one split."""
        return tuple(photo for photo in self.photos if photo.split == split)


def clean(source: Source, examination: Examination) -> Cleaned:
    """Leave out what is of no use, keep one of each file, and keep copies on one side.

    - Bad rows, and photos that do not decode, are left out.
    - Of photos that are the same file one is kept: one with a place before one without, then one with a position, then
      one of the gallery, then the first. If any was in the gallery, it is in the gallery.
    - The same file with different places is left out altogether, since nothing says which is right.
    - Photos that are nearly the same are in the gallery if any of them was. If they carry different places they may
      be different, and are only marked.
    - The position (0, 0) is emptied.

    Raises:
        SourceError: if nothing is left.
    """
    changes = dict(_broken(examination))
    for group in examination.groups:
        changes.update(_judged(group))
    photos: list[Photo] = []
    reasons: dict[PurePosixPath, str] = {}
    dropped = [Dropped(" ".join(row.photos), f"bad_row: {row.detail}") for row in source.bad_rows]
    for photo in source.photos:
        change = changes.get(photo.path, _Change(photo.split))
        if change.split is None:
            dropped.append(Dropped(str(photo.path), change.reason, photo.place or "", photo.split))
            continue
        where, note = _without_null(photo.position)
        photos.append(replace(photo, split=change.split, position=where))
        if reason := "; ".join(filter(None, (change.reason, note))):
            reasons[photo.path] = reason
    if not photos:
        message = f"a clean manifest must have a photo left, got none of {examination.records}; mend the source first"
        raise SourceError(message)
    return Cleaned(tuple(photos), reasons, tuple(dropped))


def check_clean(source: Source, path: Path, *, source_path: Path) -> None:
    """Refuse a clean manifest, or the table beside it, before the work is done.

    Raises:
        OptionError: as `placewise.manifest.check_manifest`.
    """
    check_manifest(source, path, source_path=source_path)
    check_manifest(source, dropped_path(path), source_path=source_path)


def write_clean(source: Source, cleaned: Cleaned, path: Path) -> None:
    """Write a clean manifest, and beside it the table of what was left out.

    Raises:
        OptionError: as `placewise.manifest.write_manifest`.
    """
    write_table(dropped_path(path), DROPPED, [(row.path, row.place, row.split, row.reason) for row in cleaned.dropped])
    write_manifest(source, cleaned.photos, path, reasons=cleaned.reasons)


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of a row: its split from now on, None to leave it out, and why."""

    split: Split | None
    reason: str = ""


def _broken(examination: Examination) -> Iterator[tuple[PurePosixPath, _Change]]:
    """The photos that do not decode are left out."""
    details = {(found.kind, name): found.detail for found in examination.findings for name in found.photos[:1]}
    for fact in examination.facts:
        if fact.fault:
            detail = details[fact.fault, str(fact.photo.path)]
            yield fact.photo.path, _Change(None, f"{fact.fault}: {detail}")


def _judged(group: Group) -> Iterator[tuple[PurePosixPath, _Change]]:
    """What becomes of copies of one picture; labels that differ speak against pictures that are nearly the same."""
    files: defaultdict[int, list[Photo]] = defaultdict(list)
    for photo, content in zip(group.photos, group.contents, strict=True):
        files[content].append(photo)
    copies = len(group.places) < 2
    for same in files.values():
        places = places_of(same)
        if len(places) > 1:
            reason = f"place_conflict: the same file carries different places ({listed(places)})"
            yield from ((photo.path, _Change(None, reason)) for photo in same)
            continue
        kept = min(same, key=_preference)
        for photo in same:
            if photo is not kept:
                kind = "duplicate" if photo.split == kept.split else "cross_split_duplicate"
                yield photo.path, _Change(None, f"{kind}: the same file as {kept.path}")
        yield kept.path, _kept(kept, same, group.photos if copies else same, None if copies else group)


def _preference(photo: Photo) -> tuple[bool, bool, bool]:
    """Of the same files the first by this order is kept: a place, a position, the gallery."""
    return photo.place is None, photo.position is None, photo.split != "gallery"


def _kept(kept: Photo, same: Sequence[Photo], copies: Sequence[Photo], conflict: Group | None) -> _Change:
    """What becomes of the one of the same files that is kept: it goes where one of its copies is in the gallery."""
    split, reasons = kept.split, []
    held = [photo for photo in (*same, *copies) if photo.split == "gallery"]
    if kept.split == "query" and held:
        split = "gallery"
        reasons.append(
            f"cross_split_duplicate: moved to the gallery in the place of {held[0].path}, the same file"
            if held[0] in same
            else f"cross_split_near_duplicate: moved to the gallery, where {held[0].path} is nearly the same"
        )
    others = [photo for photo in conflict.photos if photo.place not in {None, kept.place}] if conflict else []
    if others and kept.place is not None:
        reasons.append(f"place_conflict: nearly the same as {others[0].path} of {others[0].place}; look which is right")
    return _Change(split, "; ".join(reasons))


def _without_null(where: Position | None) -> tuple[Position | None, str]:
    """A position, unless it is latitude 0 and longitude 0, and what was done."""
    if where is not None and is_null(where):
        return None, "bad_position: latitude 0 and longitude 0 were emptied"
    return where, ""
