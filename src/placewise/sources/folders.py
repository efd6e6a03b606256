"""Folders of photos: a folder a place, folders for gallery and queries, names or EXIF data that hold positions."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from placewise.core import Finding, Photo, Source, Split
from placewise.errors import OptionError, SourceError
from placewise.sources import exif
from placewise.sources.files import SUFFIXES, bad_name, bad_row, photo_files
from placewise.sources.utm import is_named, named_position

_ALONE: dict[str, Split] = {"gallery": "gallery", "query": "query"}
"""Folders that are splits even if the other one is absent."""

_PAIRS: tuple[tuple[str, str], ...] = (
    ("database", "queries"),
    ("database", "query"),
    ("train", "test"),
    ("ref", "query"),
    ("reference", "query"),
    ("index", "query"),
    ("index", "test"),
)
"""Folders that are gallery and queries if both are there; else they may be places."""


def recognises(path: Path) -> bool:
    """Any folder."""
    return path.is_dir()


def read(folder: Path) -> Source:
    """Read a folder: its splits, and its places or positions."""
    splits = _splits(folder)
    roots = sorted(splits) or ["."]
    found = [photo_files(folder / name, PurePosixPath(name)) for name in roots]
    files = [file for some, _ in found for file in some]
    if not files:
        message = (
            f"a folder must hold manifest.csv, or the folders gallery and query, or one folder a place, with photos "
            f"that end in {' '.join(sorted(SUFFIXES))}; found none in {str(folder)!r}"
        )
        raise SourceError(message)
    bad_rows = [finding for _, some in found for finding in some]
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
        shown=f"{' and '.join(sorted(splits, key=splits.__getitem__))}, {kind}" if splits else kind,
    )


def _splits(folder: Path) -> dict[str, Split]:
    """The names of the folders that are splits, as they are written."""
    names = {entry.name.lower(): entry.name for entry in folder.iterdir() if entry.is_dir()}
    found = {names[name]: split for name, split in _ALONE.items() if name in names}
    for gallery, queries in _PAIRS:
        if not any(split == "gallery" for split in found.values()) and {gallery, queries} <= names.keys():
            found = {names[gallery]: "gallery", names[queries]: "query"}
    return found


def _named(folder: Path, split_of: dict[PurePosixPath, Split], bad_rows: list[Finding]) -> Source:
    """Photos whose names hold their positions; the folders between say nothing."""
    photos: list[Photo] = []
    for file, split in split_of.items():
        try:
            photos.append(Photo(file, split, position=named_position(file.name)))
        except (ValueError, OptionError) as error:
            bad_rows.append(bad_row(str(file), f"{error}; rename the file"))
    return Source(folder, tuple(photos), tuple(bad_rows), shown="names with UTM coordinates")
