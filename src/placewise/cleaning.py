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
from placewise.doctor.kinds import is_null, listed
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
        matches_lost: photos of which the source states known matches, which a manifest cannot hold.
    """

    photos: tuple[Photo, ...]
    reasons: Mapping[PurePosixPath, str]
    dropped: tuple[Dropped, ...]
    matches_lost: int = 0

    def of(self, split: Split) -> tuple[Photo, ...]:
        """The photos of one split."""
        return tuple(photo for photo in self.photos if photo.split == split)


def clean(source: Source, examination: Examination) -> Cleaned:
    """Leave out what is of no use, keep one of each file, and keep copies on one side.

    - Bad rows, and photos that do not decode, are left out.
    - Of photos that are the same file one is kept: one with a place before one without, then one with a position, then
      one of the gallery, then the first. If any was in the gallery, it is in the gallery. What its row does not say,
      the rows of the others do.
    - The same file with different places is left out altogether, since nothing says which is right.
    - A query is put into the gallery if a photo that is nearly the same is there, and carries its place or none. If it
      carries another they may be different, and are only marked.
    - The position (0, 0) is emptied.

    Raises:
        SourceError: if nothing is left.
    """
    changes = _changes(examination)
    photos: list[Photo] = []
    reasons: dict[PurePosixPath, str] = {}
    dropped = [Dropped(" ".join(row.photos), f"bad_row: {row.detail}") for row in source.bad_rows]
    for photo in source.photos:
        change = changes.get(photo.path, _Change(photo))
        if change.photo is None:
            dropped.append(Dropped(str(photo.path), change.reason, photo.place or "", photo.split))
            continue
        where, note = _without_null(change.photo.position)
        photos.append(replace(change.photo, position=where))
        if reason := "; ".join(filter(None, (change.reason, note))):
            reasons[photo.path] = reason
    if not photos:
        message = f"a clean manifest must have a photo left, got none of {examination.records}; mend the source first"
        raise SourceError(message)
    return Cleaned(tuple(photos), reasons, tuple(dropped), len({*source.positives, *source.grades}))


def leaves_nothing(examination: Examination) -> bool:
    """Whether no photo would be left in a clean manifest."""
    dropped = sum(change.photo is None for change in _changes(examination).values())
    return examination.gallery + examination.query <= dropped


def check_clean(source: Source, path: Path, *, source_path: Path, force: bool = False) -> None:
    """Refuse a clean manifest, or the table beside it, before the work is done.

    Raises:
        OptionError: as `placewise.manifest.check_manifest`.
    """
    check_manifest(source, path, source_path=source_path, force=force)
    check_manifest(source, dropped_path(path), source_path=source_path, force=force)


def write_clean(source: Source, cleaned: Cleaned, path: Path, *, force: bool = False) -> None:
    """Write a clean manifest, and beside it the table of what was left out, if anything was.

    Raises:
        OptionError: as `placewise.manifest.write_manifest`.
    """
    beside = dropped_path(path)
    if cleaned.dropped or beside.exists():  # one that is there speaks of an earlier manifest
        rows = [(row.path, row.place, row.split, row.reason) for row in cleaned.dropped]
        write_table(beside, DROPPED, rows, force=force)
    write_manifest(source, cleaned.photos, path, reasons=cleaned.reasons, force=force)


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of a row: the row from now on, None to leave it out, and why."""

    photo: Photo | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file that stays: its row, the rows that it had, and what they told each other."""

    photo: Photo
    same: tuple[Photo, ...]
    learnt: str

    @property
    def held(self) -> Photo | None:
        """The first of its rows in the gallery, if there is one."""
        return next((photo for photo in self.same if photo.split == "gallery"), None)


def _changes(examination: Examination) -> dict[PurePosixPath, _Change]:
    """By path, what becomes of the rows that do not stay as they are."""
    changes = dict(_broken(examination))
    for group in examination.groups:
        changes.update(_judged(group))
    return changes


def _broken(examination: Examination) -> Iterator[tuple[PurePosixPath, _Change]]:
    """The photos that do not decode are left out."""
    details = {(found.kind, name): found.detail for found in examination.findings for name in found.photos[:1]}
    for fact in examination.facts:
        if fact.fault:
            detail = details[fact.fault, str(fact.photo.path)]
            yield fact.photo.path, _Change(None, f"{fact.fault}: {detail}")


def _judged(group: Group) -> Iterator[tuple[PurePosixPath, _Change]]:
    """What becomes of copies of one picture."""
    files: defaultdict[int, list[Photo]] = defaultdict(list)
    for photo, content in zip(group.photos, group.contents, strict=True):
        files[content].append(photo)
    staying: list[_Kept] = []
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
        staying.append(_merged(kept, same))
    for kept_file in staying:
        yield kept_file.photo.path, _placed(kept_file, staying)


def _preference(photo: Photo) -> tuple[bool, bool, bool]:
    """Of the same files the first by this order is kept: a place, a position, the gallery."""
    return photo.place is None, _without_null(photo.position)[0] is None, photo.split != "gallery"


def _merged(kept: Photo, same: Sequence[Photo]) -> _Kept:
    """The row that is kept, with what only other rows of the same file say."""
    photo, learnt = kept, []
    for other in sorted(same, key=_preference):
        there, where = other.position, _without_null(photo.position)[0]
        if there is not None and not is_null(there) and where is None:
            photo = replace(photo, position=there)
            learnt.append(f"position of {other.path}")
        elif there is not None and where is not None and there != where == replace(there, heading=None):
            photo = replace(photo, position=there)
            learnt.append(f"heading of {other.path}")
        if photo.sequence is None and other.sequence is not None:
            photo = replace(photo, sequence=other.sequence, frame=other.frame)
            learnt.append(f"sequence of {other.path}")
        elif photo.frame is None and other.frame is not None and photo.sequence == other.sequence:
            photo = replace(photo, frame=other.frame)
            learnt.append(f"frame of {other.path}")
    return _Kept(photo, tuple(same), f"duplicate: {', '.join(learnt)}, the same file" if learnt else "")


def _placed(kept: _Kept, staying: Sequence[_Kept]) -> _Change:
    """What becomes of a file that stays: it goes where one of its copies is in the gallery, and not another place's.

    A photo without a place may be of any: through it, copies of different places belong on one side too.
    """
    photo, reasons = kept.photo, [kept.learnt]
    if photo.split == "query":
        unlabelled = any(one.photo.place is None for one in staying)
        held = [one.held for one in staying if one.held and (unlabelled or one.photo.place == photo.place)]
        if kept.held:
            reasons.append(
                f"cross_split_duplicate: moved to the gallery in the place of {kept.held.path}, the same file"
            )
        elif held:
            reasons.append(f"cross_split_near_duplicate: moved to the gallery, where {held[0].path} is nearly the same")
        photo = replace(photo, split="gallery") if kept.held or held else photo
    others = [one.photo for one in staying if one.photo.place not in {None, photo.place}]
    if others and photo.place is not None:
        reasons.append(f"place_conflict: nearly the same as {others[0].path} of {others[0].place}; look which is right")
    return _Change(photo, "; ".join(filter(None, reasons)))


def _without_null(where: Position | None) -> tuple[Position | None, str]:
    """A position, unless it is latitude 0 and longitude 0, and what was done."""
    if where is not None and is_null(where):
        return None, "bad_position: latitude 0 and longitude 0 were emptied"
    return where, ""
