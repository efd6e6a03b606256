"""A manifest: a CSV file with one row for each photo."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from placewise.core import Finding, Photo, Position, Source, Split
from placewise.errors import OptionError, SourceError
from placewise.sources.files import bad_row, path_of
from placewise.sources.utm import position_of

MANIFEST = "manifest.csv"
REQUIRED = ("path", "place", "split")
OPTIONAL = ("lat", "lon", "heading", "sequence", "frame", "utm_east", "utm_north", "utm_zone")
_ALIASES = {
    "path": ("file", "filename", "file_name", "filepath", "image", "image_path", "img", "relpath", "photo", "name"),
    "place": ("label", "lab", "landmark", "landmark_id", "place_id", "class", "category", "location"),
    "split": ("subset", "set", "partition"),
}
"""What other tables may call our columns."""
_SPLITS: dict[str, Split] = {"gallery": "gallery", "query": "query"}
_MAX_FRAME = 2**63 - 1  # what a gallery file can store
_Value = TypeVar("_Value")


def recognises(path: Path) -> bool:
    """A file whose name ends in ``.csv``, or a folder that holds a ``manifest.csv``."""
    return (path.suffix.lower() == ".csv" and path.is_file()) or (path / MANIFEST).is_file()


def read(path: Path, columns: Mapping[str, str] | None = None) -> Source:
    """Read a manifest.

    Args:
        path: the file, or its folder.
        columns: our name of a column → the table's.
    """
    path = path / MANIFEST if path.is_dir() else path
    bad_rows: list[Finding] = []
    written, rows = table(path, bad_rows)
    header = _renamed(written, columns or {}, path)
    in_gallery = {"split": "gallery"} if columns and "split" not in header else {}
    if not {*REQUIRED} - {*in_gallery} <= {*header} or len(set(header) - {""}) < sum(name != "" for name in header):
        raise SourceError(_without_columns(written, columns or {}, path))
    if not rows and not bad_rows:
        message = f"the manifest {str(path)!r} must have a row for each photo, got only the header; add rows"
        raise SourceError(message)
    lines: dict[PurePosixPath, int] = {}
    photos: list[Photo] = []
    for line, row in rows:
        cells = dict.fromkeys(REQUIRED, "") | in_gallery
        cells |= dict(zip(header, (cell.strip() for cell in row), strict=False))
        faults = [] if len(row) == len(header) else [f"must have {len(header)} columns like the header, got {len(row)}"]
        photo = _photo(cells, lines, line, faults)
        if photo is not None:
            photos.append(photo)
        else:
            bad_rows.append(bad_row(cells["path"], f"line {line}: {'; '.join(faults)}; correct or remove the row"))
    return Source(path.parent, tuple(photos), tuple(bad_rows))


def _renamed(header: list[str], columns: Mapping[str, str], path: Path) -> list[str]:
    """The header with our names in the place of the table's."""
    ours = {theirs.strip().lower(): name for name, theirs in columns.items()}
    if len(ours) < len(columns):
        message = f"columns must name each column of {str(path)!r} once, got {_pairs(columns)}; correct the names"
        raise SourceError(message)
    for name, theirs in columns.items():
        if name not in {*REQUIRED, *OPTIONAL} or theirs.strip().lower() not in header:
            message = (
                f"columns must map one of {', '.join((*REQUIRED, *OPTIONAL))} to a column of {str(path)!r}, which are "
                f"{','.join(header)[:200]}, got {name}={theirs}; correct the names"
            )
            raise SourceError(message)
    # A column of the table that has one of our names, but is not the one that was meant, is another one.
    return [ours.get(name, "" if name in columns else name) for name in header]


def _without_columns(header: Sequence[str], columns: Mapping[str, str], path: Path) -> str:
    """What is said of a table that lacks columns: how to call it with those that it has, if that can be guessed."""
    got = f"got {','.join(header)[:200]!r}" + (f" and --columns {_pairs(columns)}" if columns else "")
    there = [] if columns else [name for name in (*REQUIRED, *OPTIONAL) if name in header]
    free = [name for name in header if name and name not in {*columns.values(), *there}]
    guess = dict(columns)
    for ours, theirs in _ALIASES.items():
        if ours not in {*guess, *there} and free:
            likely = next((name for name in (ours, *theirs) if name in free), free[0] if ours != "split" else "")
            guess |= {ours: likely} if likely else {}
            free = [name for name in free if name != likely]
    unique = len(set(header)) == len(header)
    todo = (
        f"correct that line, or say which columns these are, as in --columns {_pairs(guess)}"
        if guess != dict(columns) and {"path", "place"} <= {*guess, *there} and unique
        else "add or correct that line"
    )
    return (
        f"the manifest {str(path)!r} must start with a line that names the columns {','.join(REQUIRED)}, "
        f"each once and separated by commas, {got}; {todo}"
    )


def _pairs(columns: Mapping[str, str]) -> str:
    """Names of columns as they are typed."""
    return ",".join(f"{ours}={theirs}" for ours, theirs in columns.items())


def table(path: Path, bad_rows: list[Finding] | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and each row that is not blank with the number of its first line.

    ``bad_rows`` learns of rows with a cell that is too long for a photo's row; without it cells may have any length.
    """
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    while True:
        try:
            with long_cells(len(text) if bad_rows is None else 0):
                row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            too_long = str(error).startswith("field larger")
            # Where the row spans lines a quote may be open, and hide all that follows.
            if too_long and bad_rows is not None and rows and reader.line_num == line:
                detail = f"a cell must have at most {csv.field_size_limit()} characters; correct or remove the row"
                bad_rows.append(bad_row("", f"line {line}: {detail}"))
                line = reader.line_num + 1
                continue
            message = f"the manifest {str(path)!r} must be a CSV file, got on line {line}: {error}; correct the line"
            raise SourceError(message) from error
        if any(cell.strip() for cell in row):
            rows.append((line, row))
        line = reader.line_num + 1
    return [name.strip().lower() for name in rows[0][1]] if rows else [], rows[1:]


@contextmanager
def long_cells(length: int) -> Iterator[None]:
    """Let cells be as long as a text that is in memory already; the limit of ``csv`` is for all of the process."""
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, length))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


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

    path = attempt(path_of, "path")
    if path is not None and lines.setdefault(path, line) != line:
        faults.append(f"path must not repeat, got the photo of line {lines[path]} again")
    split = attempt(_split, "split")
    lat, lon, heading = (attempt(partial(_degrees, name), name) for name in ("lat", "lon", "heading"))
    if bool(cells.get("lat")) != bool(cells.get("lon")):
        faults.append(f"lat and lon must come together, got only {'lat' if cells.get('lat') else 'lon'}")
    frame = attempt(_frame, "frame")
    utm = None
    if any(cells.get(name) for name in ("utm_east", "utm_north", "utm_zone")):
        utm = attempt(lambda zone: position_of(cells.get("utm_east", ""), cells.get("utm_north", ""), zone), "utm_zone")
    if path is None or split is None or faults:
        return None
    position = utm if lat is None or lon is None else Position(lat, lon, heading)
    return Photo(path, split, cells["place"] or None, position, cells.get("sequence") or None, frame)


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
