"""The imagefolder of Hugging Face's datasets: ``metadata.csv`` or ``metadata.jsonl`` beside the photos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from placewise.core import Finding, Photo, Position, Source, Split
from placewise.errors import OptionError, SourceError
from placewise.sources.files import bad_row, path_of
from placewise.sources.table import table

_NAMES = ("metadata.csv", "metadata.jsonl")
_SPLITS: dict[str, Split] = {"train": "gallery", "gallery": "gallery", "test": "query", "validation": "query"}
_PLACE = ("place", "label", "place_id", "landmark_id", "class")
"""Columns that may hold the place, in this order."""


def recognises(path: Path) -> bool:
    """A folder with metadata that name files, or with folders that have it."""
    return path.is_dir() and bool(_metadata(path))


def read(folder: Path) -> Source:
    """Read the photos that the metadata name."""
    photos: dict[PurePosixPath, Photo] = {}
    bad_rows: list[Finding] = []
    for file in _metadata(folder):
        below = PurePosixPath(file.parent.relative_to(folder).as_posix())
        split = _SPLITS.get(below.parts[0].lower(), "gallery") if below.parts else None
        for line, fields in _rows(file, bad_rows):
            try:
                photo = _photo(fields, below, split)
                if photo.path in photos:
                    message = f"file_name must not repeat, got {photo.path} again"
                    raise ValueError(message)
                photos[photo.path] = photo
            except (ValueError, TypeError, OptionError) as error:
                name = str(fields.get("file_name", ""))
                bad_rows.append(bad_row(name, f"{file.name}, line {line}: {error}; correct or remove the row"))
    return Source(folder, tuple(photos.values()), tuple(bad_rows))


def _metadata(folder: Path) -> list[Path]:
    places = [folder, *sorted(entry for entry in folder.iterdir() if entry.name.lower() in _SPLITS)]
    return [place / name for place in places for name in _NAMES if _names_files(place / name)]


def _names_files(file: Path) -> bool:
    """Whether metadata begin with the names of files: others that are called so speak of something else."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        return "file_name" in opened.readline(65_536).lower()


def _rows(file: Path, bad_rows: list[Finding]) -> Iterator[tuple[int, dict[str, Any]]]:
    if file.suffix == ".csv":
        header, rows = table(file, bad_rows)
        yield from ((line, dict(zip(header, row, strict=False))) for line, row in rows)
        return
    for number, text in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            fields = {}
            message = f"line {number} of {str(file)!r} must be a JSON object, got {text[:40]!r}; correct it"
            raise SourceError(message) from error
        yield number, {key.lower(): value for key, value in fields.items()} if isinstance(fields, dict) else {}


def _photo(fields: dict[str, Any], below: PurePosixPath, split: Split | None) -> Photo:
    path = below / path_of(str(fields.get("file_name") or ""))
    named = path.parts[0].lower() if len(path.parts) > 1 else ""
    place = next((str(fields[name]) for name in _PLACE if fields.get(name) not in {None, ""}), None)
    lat, lon = fields.get("lat", fields.get("latitude")), fields.get("lon", fields.get("longitude"))
    position = None if lat in {None, ""} or lon in {None, ""} else Position(float(str(lat)), float(str(lon)))
    return Photo(path, split or _SPLITS.get(named, "gallery"), place, position)
