"""Any source of photos → ``Photo`` rows; no image is ever opened here.

A source is a manifest (a CSV file with the columns ``path,place,split`` and optionally ``lat,lon,heading,sequence,
frame``) or a folder. What makes the source as a whole unusable is a ``SourceError``; a row that cannot be used becomes
a finding of kind ``bad_row`` beside the good rows, and names every fault it has.

Paths are judged by their text only: a row may not name a file outside the source's folder, but a symbolic link inside
the folder may lead anywhere, because that is how people share large photo collections.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from placewise.core import Finding, Photo, Position, Source, Split
from placewise.errors import OptionError, SourceError

MANIFEST = "manifest.csv"
REQUIRED = ("path", "place", "split")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".avif"})
"""Endings of photos' names in a folder, in lower case."""

_SPLITS: dict[str, Split] = {"gallery": "gallery", "query": "query"}
_MAX_FRAME = 2**63 - 1  # what a gallery file can store
_Value = TypeVar("_Value")


def read_source(path: Path | str) -> Source:
    """Read a manifest or a folder.

    Args:
        path: A file whose name ends in ``.csv``; or a folder with a ``manifest.csv``; or a folder with the folders
            ``gallery`` and ``query`` (either may be absent), where the first folder below them is the place; or a
            folder with one folder a place, where all photos belong to the gallery. Photos that lie in no such folder
            have no place. Hidden files and folders are skipped; the order is that of the names.

    Raises:
        SourceError: There is no such source, it holds no photo, or the file is no such CSV.
    """
    path = Path(path)
    try:
        for recognise, read in _READERS:
            if recognise(path):
                return read(path)
        what = "a file of another kind" if path.exists() else "nothing there"
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        message = f"the source {str(path)!r} cannot be read ({reason}); correct the path or its permissions"
        raise SourceError(message) from error
    message = f"a source must be a manifest that ends in .csv or a folder, got {str(path)!r}: {what}; correct the path"
    raise SourceError(message)


def _read_csv(path: Path) -> Source:
    """Read a manifest."""
    header, rows = _table(path)
    lines: dict[PurePosixPath, int] = {}
    photos: list[Photo] = []
    bad_rows: list[Finding] = []
    for line, row in rows:
        cells = dict.fromkeys(REQUIRED, "") | dict(zip(header, (cell.strip() for cell in row), strict=False))
        faults = [] if len(row) == len(header) else [f"must have {len(header)} columns like the header, got {len(row)}"]
        photo = _photo(cells, lines, line, faults)
        if photo is not None:
            photos.append(photo)
        else:
            bad_rows.append(_bad_row(cells["path"], f"line {line}: {'; '.join(faults)}; correct or remove the row"))
    return Source(path.parent, tuple(photos), tuple(bad_rows))


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and each row that is not blank with the number of its first line."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        message = f"the manifest {str(path)!r} must be a CSV file, got on line {line}: {error}; correct the line"
        raise SourceError(message) from error
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    if not set(REQUIRED) <= set(header) or len(set(header) - {""}) < sum(name != "" for name in header):
        message = (
            f"the manifest {str(path)!r} must start with a line that names the columns {','.join(REQUIRED)}, "
            f"each once and separated by commas, got {','.join(header)[:200]!r}; add or correct that line"
        )
        raise SourceError(message)
    if len(rows) == 1:
        message = f"the manifest {str(path)!r} must have a row for each photo, got only the header; add rows"
        raise SourceError(message)
    return header, rows[1:]


def _text(path: Path) -> str:
    """The text of a manifest, which is UTF-8 with or without a byte order mark."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"the manifest {str(path)!r} must be UTF-8 text, got other bytes on line {line}; save it as UTF-8"
        raise SourceError(message) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        message = f"the manifest {str(path)!r} must be text, got a NUL character on line {line}; save it again as CSV"
        raise SourceError(message)
    return text


def _photo(cells: dict[str, str], lines: dict[PurePosixPath, int], line: int, faults: list[str]) -> Photo | None:
    """One row as a photo, or None with a sentence in ``faults`` for each thing that is wrong with it.

    ``lines`` holds the line of each path that was seen before, and learns this one. A heading without a position says
    nothing of where the photo is and is dropped.
    """

    def attempt(read: Callable[[str], _Value], column: str) -> _Value | None:
        try:
            return read(cells.get(column, ""))
        except (ValueError, OptionError) as error:
            faults.append(str(error))
            return None

    path = attempt(_path, "path")
    if path is not None and lines.setdefault(path, line) != line:
        faults.append(f"path must not repeat, got the photo of line {lines[path]} again")
    split = attempt(_split, "split")
    lat, lon, heading = (attempt(partial(_degrees, name), name) for name in ("lat", "lon", "heading"))
    if bool(cells.get("lat")) != bool(cells.get("lon")):
        faults.append(f"lat and lon must come together, got only {'lat' if cells.get('lat') else 'lon'}")
    frame = attempt(_frame, "frame")
    if path is None or split is None or faults:
        return None
    position = None if lat is None or lon is None else Position(lat, lon, heading)
    return Photo(path, split, cells["place"] or None, position, cells.get("sequence") or None, frame)


def _path(text: str) -> PurePosixPath:
    """A path below the source's folder, with ``.`` and ``..`` resolved by their text."""
    if not text:
        message = "path must not be empty"
        raise ValueError(message)
    if text.startswith("/") or PureWindowsPath(text).drive:
        message = f"path must be relative to the manifest's folder, got {text!r}"
        raise ValueError(message)
    slashed = text.replace(os.sep, "/")
    path = PurePosixPath(posixpath.normpath(slashed))
    if path.is_absolute() or path.parts[:1] == ("..",) or not path.name:
        message = f"path must name a file below the manifest's folder, got {text!r}"
        raise ValueError(message)
    return path


def _split(text: str) -> Split:
    """``gallery`` or ``query``, in any case."""
    try:
        return _SPLITS[text.lower()]
    except KeyError:
        message = f"split must be gallery or query, got {text!r}"
        raise ValueError(message) from None


def _degrees(name: str, text: str) -> float | None:
    """A coordinate in the range that ``Position`` allows for it, or None where the cell is empty."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        message = f"{name} must be a number of degrees, got {text!r}"
        raise ValueError(message) from None
    Position(**({"lat": 0.0, "lon": 0.0} | {name: value}))
    return value


def _frame(text: str) -> int | None:
    """A frame's number, or None where the cell is empty."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _MAX_FRAME):
        message = f"frame must be a whole number from 0, got {text!r}"
        raise ValueError(message)
    return int(text)


def _bad_row(path: str, detail: str) -> Finding:
    """The finding for a row that cannot be used."""
    return Finding("bad_row", "error", (path,) if path else (), detail)


def _read_splits(folder: Path) -> Source:
    """Read a folder with the folders ``gallery`` and ``query``."""
    files = [file for name in _split_folders(folder) for file in _files(folder / name, PurePosixPath(name))]
    return _folder_source(folder, files, lambda path: _SPLITS[path.parts[0].lower()], depth=1)


def _read_places(folder: Path) -> Source:
    """Read a folder with one folder a place."""
    return _folder_source(folder, list(_files(folder, PurePosixPath())), lambda _: "gallery", depth=0)


def _folder_source(
    folder: Path, files: list[PurePosixPath], split: Callable[[PurePosixPath], Split], *, depth: int
) -> Source:
    """Photos of a folder; the place is the name of the folder ``depth`` levels below it."""
    if not files:
        message = (
            f"a folder must hold {MANIFEST}, or the folders gallery and query, or one folder a place, with photos "
            f"that end in {' '.join(sorted(SUFFIXES))}; found none in {str(folder)!r}"
        )
        raise SourceError(message)
    photos: list[Photo] = []
    bad_rows: list[Finding] = []
    for path in files:
        if _is_unicode(path):
            photos.append(Photo(path, split(path), path.parts[depth] if len(path.parts) > depth + 1 else None))
        else:
            name = os.fsencode(path).decode(errors="backslashreplace")
            bad_rows.append(_bad_row(name, "the file's name must be UTF-8, got other bytes; rename it"))
    return Source(folder, tuple(photos), tuple(bad_rows))


def _is_unicode(path: PurePosixPath) -> bool:
    """Whether a path can be stored as text; file systems allow names that are not."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _files(
    folder: Path, name: PurePosixPath, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[PurePosixPath]:
    """Photos below a folder as ``name/…``; a folder that contains itself by a link is not entered again."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry, name / entry.name, above | {here})
        elif entry.suffix.lower() in SUFFIXES:
            yield name / entry.name


def _split_folders(folder: Path) -> list[str]:
    """The names of the folders ``gallery`` and ``query``, as far as they are there, as they are written."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name.lower() in _SPLITS and entry.is_dir())


_READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Source]], ...] = (
    (lambda path: path.suffix.lower() == ".csv" and path.is_file(), _read_csv),
    (lambda path: (path / MANIFEST).is_file(), lambda path: _read_csv(path / MANIFEST)),
    (lambda path: path.is_dir() and bool(_split_folders(path)), _read_splits),
    (lambda path: path.is_dir(), _read_places),
)
"""How a source is recognised, and what reads it; the first that recognises it does."""
