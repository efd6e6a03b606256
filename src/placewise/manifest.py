"""Photos → a manifest: what is written here, `placewise.sources` reads back as it was. Nothing is replaced unasked."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from placewise.core import Photo, Source
from placewise.errors import OptionError
from placewise.files import check_output, write_atomically
from placewise.sources.table import MANIFEST

_COLUMNS = ("path", "place", "split", "lat", "lon", "heading", "sequence", "frame")
_REASON = "reason"

DROPPED = ("path", "place", "split", _REASON)
"""The columns of what was left out."""


def check_manifest(source: Source, path: Path, *, source_path: Path, force: bool = False) -> None:
    """Refuse a manifest before the work that fills it is done.

    Args:
        source: what the manifest will name photos of.
        path: where it is to be.
        source_path: where the source was read from, a file or a folder; it is never replaced.
        force: replace a table that is there.

    Raises:
        OptionError: if it cannot be there.
    """
    check_output(path, ".csv")
    _below(source, path)
    if path.exists() and any(one.exists() and one.samefile(path) for one in (source_path, source_path / MANIFEST)):
        message = f"a manifest must not replace the source that it is made from, got {path}; name another file"
        raise OptionError(message)
    _check_table(path, force=force)


def write_manifest(
    source: Source,
    photos: Sequence[Photo],
    path: Path,
    *,
    reasons: Mapping[PurePosixPath, str] | None = None,
    force: bool = False,
) -> None:
    """Write photos of a source as a manifest, whole or not at all.

    Args:
        source: where the photos are.
        photos: the rows.
        path: the file.
        reasons: by photo's path, why a row is not what it was; if given, there is a column for them.
        force: replace a table that is there.

    Raises:
        OptionError: if the file cannot be written, is there already, is no ``.csv``, or lies where it cannot name the
            photos.
    """
    below = _below(source, path)
    rows = [[*_cells(photo, below), *([] if reasons is None else [reasons.get(photo.path, "")])] for photo in photos]
    write_table(path, _COLUMNS if reasons is None else (*_COLUMNS, _REASON), rows, force=force)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], *, force: bool = False) -> None:
    """Write a table, whole or not at all, and over another one only with ``force``."""
    _check_table(path, force=force)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    table.writerow(columns)
    for row in rows:  # Python before 3.13 quotes a cell with a line feed, but not one with a carriage return
        (quoted if any("\r" in str(cell) for cell in row) else table).writerow(row)
    write_atomically(path, text.getvalue().encode())


def dropped_path(path: Path) -> Path:
    """The table beside a clean manifest that names what was left out of it."""
    return path.with_name(f"{path.stem}-dropped.csv")


def free_path(path: Path) -> Path:
    """A name for a manifest under which neither it nor the table beside it is there: the path, or one with a number."""
    names = (path, *(path.with_name(f"{path.stem}-{number}.csv") for number in range(2, 1000)))
    return next((name for name in names if not (name.exists() or dropped_path(name).exists())), path)


def _check_table(path: Path, *, force: bool) -> None:
    """Refuse a name that is no table's, and to replace a table: its rows may be somebody's work."""
    check_output(path, ".csv")
    if path.suffix.lower() != ".csv":
        message = f"a manifest must end in .csv, got {path}; name another file"
        raise OptionError(message)
    if path.exists() and not force:
        message = f"a table must be new, got {path}, which is there; name another file, or add --force to replace it"
        raise OptionError(message)


def _below(source: Source, path: Path) -> PurePosixPath:
    """The photos' folder as seen from the manifest's."""
    for root, folder in (
        (source.root.absolute(), path.parent.absolute()),
        (source.root.resolve(), path.parent.resolve()),
    ):
        below = Path(os.path.relpath(root, folder))
        if ".." not in below.parts and (folder / below).exists() and (folder / below).samefile(source.root):
            return PurePosixPath(below.as_posix())
    message = f"a manifest must lie in the photos' folder or above it, got {path} for {source.root}; name another"
    raise OptionError(message)


def _cells(photo: Photo, below: PurePosixPath) -> list[object]:
    where = photo.position
    position = (where.lat, where.lon, "" if where.heading is None else where.heading) if where else ("", "", "")
    name = str(below / photo.path)
    name = name if name == name.strip() else f"./{name}/."  # spaces around a cell do not count, those in a name do
    frame = "" if photo.frame is None else photo.frame
    return [name, photo.place or "", photo.split, *position, photo.sequence or "", frame]
