"""Frames of one camera: ``frames.csv`` (path, frame), and ``positives.csv`` (frame, earlier_frame) beside it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from placewise.core import Finding, Photo, Source
from placewise.errors import SourceError
from placewise.sources.files import bad_row, path_of
from placewise.sources.table import table

_FRAMES, _POSITIVES = "frames.csv", "positives.csv"


def recognises(path: Path) -> bool:
    """A folder with ``frames.csv``."""
    return (path / _FRAMES).is_file()


def read(folder: Path) -> Source:
    """Read the frames as one sequence, and for each frame the earlier ones that show the same."""
    photos: dict[int, Photo] = {}
    bad_rows: list[Finding] = []
    for line, (name, frame) in _columns(folder / _FRAMES, ("path", "frame"), bad_rows):
        try:
            photo = Photo(path_of(name), "gallery", sequence=folder.resolve().name, frame=_whole(frame))
            if _whole(frame) in photos:
                message = f"frame must not repeat, got {frame} again"
                raise ValueError(message)
            photos[_whole(frame)] = photo
        except ValueError as error:
            bad_rows.append(bad_row(name, f"{_FRAMES}, line {line}: {error}; correct or remove the row"))
    positives: dict[PurePosixPath, list[PurePosixPath]] = {}
    if (folder / _POSITIVES).is_file():
        for line, pair in _columns(folder / _POSITIVES, ("frame", "earlier_frame"), bad_rows):
            try:
                late, early = (photos[_whole(number)].path for number in pair)
                positives.setdefault(late, []).append(early)
            except (ValueError, KeyError):
                detail = f"{_POSITIVES}, line {line}: must name two frames, got {','.join(pair)}; correct or remove it"
                bad_rows.append(bad_row("", detail))
    matches = {path: tuple(others) for path, others in positives.items()}
    return Source(folder, tuple(photos.values()), tuple(bad_rows), positives=matches)


def _columns(file: Path, names: tuple[str, str], bad_rows: list[Finding]) -> list[tuple[int, tuple[str, str]]]:
    header, rows = table(file, bad_rows)
    if not set(names) <= set(header):
        message = f"{str(file)!r} must have the columns {','.join(names)}, got {','.join(header)[:200]!r}; add them"
        raise SourceError(message)
    one, other = (header.index(name) for name in names)
    padded = [(line, [*row, *[""] * len(header)]) for line, row in rows]
    return [(line, (row[one].strip(), row[other].strip())) for line, row in padded]


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        message = f"frame must be a whole number from 0, got {text!r}"
        raise ValueError(message)
    return int(text)
