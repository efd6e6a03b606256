"""Folders of photos: a folder a place, folders for gallery and queries, names or EXIF data that hold positions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from placewise.core import Finding, Photo, Source, Split
from placewise.errors import OptionError, SourceError
from placewise.sources import exif
from placewise.sources.files import SUFFIXES, bad_name, bad_row, listed, photo_files, skipped
from placewise.sources.utm import is_named, named_position

_ALONE: dict[str, Split] = {"gallery": "gallery", "query": "query"}
"""Folders that are splits even if the other one is absent."""

_PAIRS: tuple[tuple[str, str], ...] = (
    ("database", "queries"),
    ("database", "query"),
    ("train", "test"),
    ("train", "val"),
    ("train", "valid"),
    ("train", "validation"),
    ("ref", "query"),
    ("reference", "query"),
    ("index", "query"),
    ("index", "test"),
)
"""Folders that are gallery and queries if both are there; else they may be places."""

_VALIDATION = ("val", "valid", "validation")
"""Folders of queries beside ``train``, whether or not ``test`` is there too."""


def recognises(path: Path) -> bool:
    """Any folder."""
    return path.is_dir()


def read(folder: Path) -> Source:
    """Read a folder: its splits, and its places or positions."""
    files, unread, closed = photo_files(folder)
    splits = _splits(folder, files)
    inside = [file for file in files if not splits or (len(file.parts) > 1 and file.parts[0] in splits)]
    if not inside:
        but = f" but {_endings(unread)}, which are not read" if unread else ""
        message = (
            f"a folder must hold manifest.csv, or the folders gallery and query, or one folder a place, with photos "
            f"that end in {' '.join(sorted(SUFFIXES))}; found none in {str(folder)!r}{but}"
        )
        raise SourceError(message)
    bad_rows = [finding for finding in closed if not splits or finding.photos[0].split("/")[0] in splits]
    source = _read(folder, inside, splits, bad_rows)
    return replace(source, skipped=(*_outside(files, splits), *_unread(unread)))


def _read(folder: Path, files: list[PurePosixPath], splits: dict[str, Split], bad_rows: list[Finding]) -> Source:
    """The photos of a folder as they are named, or as their EXIF data say, or with the places of their folders."""
    bad_rows += [finding for file in files if (finding := bad_name(file))]
    files = [file for file in files if not bad_name(file)]
    depth = 1 if splits else 0
    split_of = {file: splits[file.parts[0]] if splits else "gallery" for file in files}
    if files and all(is_named(file.name) for file in files):
        return _named(folder, split_of, bad_rows)
    flat = all(len(file.parts) == depth + 1 for file in files)
    if flat and (photos := exif.photos(folder, split_of)):
        return Source(folder, photos, tuple(bad_rows), shown="flat folder with GPS in EXIF data")
    photos = tuple(
        Photo(file, split_of[file], file.parts[depth] if len(file.parts) > depth + 1 else None) for file in files
    )
    kind = "flat folder" if flat else "folder per place"
    return Source(
        folder,
        photos,
        tuple(bad_rows),
        shown=f"{_in_words(splits)}, {kind}" if splits else kind,
    )


def _splits(folder: Path, files: Sequence[PurePosixPath]) -> dict[str, Split]:
    """The folders that are splits, by their names as they are written.

    One split alone may as well be a place among others: it is none if another folder holds photos.
    """
    names: defaultdict[str, list[str]] = defaultdict(list)
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            names[entry.name.lower()].append(entry.name)
    splits = {name: split for name, split in _ALONE.items() if name in names}
    if "gallery" not in splits:
        gallery, queries = next((pair for pair in _PAIRS if {*pair} <= names.keys()), ("", ""))
        if gallery:
            splits = {gallery: "gallery", queries: "query"}
    if "train" in splits:
        splits |= dict.fromkeys((name for name in _VALIDATION if name in names), "query")
    found = {name: split for lower, split in splits.items() for name in names[lower]}
    holding = {file.parts[0] for file in files if len(file.parts) > 1}
    alone = len({*found.values()}) == 1 and holding - found.keys()
    return {} if alone or not holding & found.keys() else found


def _in_words(splits: dict[str, Split]) -> str:
    """The names of splits, those of the gallery first."""
    *names, last = sorted(splits, key=splits.__getitem__)
    return f"{', '.join(names)} and {last}" if names else last


def _outside(files: Sequence[PurePosixPath], splits: dict[str, Split]) -> tuple[Finding, ...]:
    """The finding for photos beside the folders that are splits."""
    found = [file for file in files if splits and (len(file.parts) < 2 or file.parts[0] not in splits)]
    folders = sorted({file.parts[0] for file in found if len(file.parts) > 1})
    where = f"in {listed(folders)}" if folders else "in no folder"
    detail = (
        f"{len(found)} photos lie beside {_in_words(splits)}, {where}: move them into one of these, or leave them out"
        if splits
        else ""
    )
    return skipped(found, detail)


def _unread(files: Sequence[PurePosixPath]) -> tuple[Finding, ...]:
    """The finding for pictures in formats that are not read."""
    return skipped(files, f"{_endings(files)}, which are not read: convert them to JPEG, or leave them out")


def _endings(files: Sequence[PurePosixPath]) -> str:
    """How many pictures there are, and how their names end."""
    return f"{len(files)} that end in {' '.join(sorted({file.suffix.lower() for file in files}))}"


def _named(folder: Path, split_of: dict[PurePosixPath, Split], bad_rows: list[Finding]) -> Source:
    """Photos whose names hold their positions; the folders between say nothing."""
    photos: list[Photo] = []
    for file, split in split_of.items():
        try:
            photos.append(Photo(file, split, position=named_position(file.name)))
        except (ValueError, OptionError) as error:
            bad_rows.append(bad_row(str(file), f"{error}; rename the file"))
    return Source(folder, tuple(photos), tuple(bad_rows), shown="names with UTM coordinates")
