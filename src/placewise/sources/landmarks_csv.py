"""The tables of Google Landmarks: ``id`` and ``landmark_id`` or ``landmarks``, photos in ``a/b/c/abc….jpg``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from placewise.core import Finding, Photo, Source, Split
from placewise.sources.files import bad_row
from placewise.sources.table import table

_PLACES = ("landmark_id", "landmarks")
_QUERIES = ("test", "solution", "query")
"""Parts of the names of tables that hold queries."""
_FOLDERS = ("train", "index", "test", ".")


def recognises(path: Path) -> bool:
    """A table with these columns, and none called path."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = [name.strip().strip('"').lower() for name in file.readline(4096).split(",")]
    return "id" in header and "path" not in header and any(name in header for name in _PLACES)


def read(path: Path) -> Source:
    """Read one table; the photos of a table of queries are queries, others are gallery photos."""
    bad_rows: list[Finding] = []
    header, rows = table(path, bad_rows)
    column = next(name for name in _PLACES if name in header)
    split: Split = "query" if any(part in path.stem.lower() for part in _QUERIES) else "gallery"
    photos: dict[PurePosixPath, Photo] = {}
    for line, row in rows:
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        name = cells.get("id", "")
        if len(name) < 3 or not name.isalnum():
            bad_rows.append(bad_row(name, f"line {line}: id must be three or more letters and digits, got {name!r}"))
            continue
        file = _file(path.parent, name)
        if file in photos:
            detail = f"line {line}: id must not repeat, got {name!r} again; correct or remove the row"
            bad_rows.append(bad_row(name, detail))
            continue
        # Several landmarks: the first one stands for the place. None: an open-set query.
        photos[file] = Photo(file, split, cells.get(column, "").split(" ")[0] or None)
    return Source(path.parent, tuple(photos.values()), tuple(bad_rows))


def _file(root: Path, name: str) -> PurePosixPath:
    nested = PurePosixPath(name[0], name[1], name[2], f"{name}.jpg")
    return next(
        (folder / nested for folder in map(PurePosixPath, _FOLDERS) if (root / folder / nested).exists()), nested
    )
