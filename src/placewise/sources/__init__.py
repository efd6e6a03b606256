"""However people keep their photos → ``Photo`` rows; only EXIF data are ever read of an image.

A source is recognised by looking. What makes it as a whole unusable is a ``SourceError``; a row that cannot be used
becomes a finding of kind ``bad_row`` beside the good rows, and names every fault it has. docs/sources.md shows each
format.

Paths are judged by their text only: a row may not name a file outside the source's folder, but a symbolic link inside
the folder may lead anywhere, because that is how people share large photo collections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from placewise.core import Source
from placewise.errors import SourceError
from placewise.sources import folders, frames, imagefolder, kapture, landmarks_csv, revisitop, table

__all__ = ["read_source"]

_READERS: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], Source]], ...] = (
    ("Google Landmarks", landmarks_csv.recognises, landmarks_csv.read),
    ("manifest", table.recognises, table.read),
    ("revisited Oxford or Paris", revisitop.recognises, revisitop.read),
    ("kapture", kapture.recognises, kapture.read),
    ("frame sequence", frames.recognises, frames.read),
    ("imagefolder", imagefolder.recognises, imagefolder.read),
    ("folder", folders.recognises, folders.read),
)
"""The kinds of source; the first that recognises a path reads it."""


def read_source(path: Path | str, *, columns: Mapping[str, str] | None = None) -> Source:
    """Read a manifest, a folder, or what another tool keeps its photos in.

    Args:
        path: a file or a folder; docs/sources.md shows what it may be.
        columns: for a table, what its columns are called: our name → the table's. A table that is read in this way
            and has no column of splits is a gallery.

    Raises:
        SourceError: There is no such source, it holds no photo, or it is damaged as a whole.
    """
    path = Path(path)
    try:
        if columns and (path.is_file() or path.is_dir()):
            return _shown("table", table.read(path, columns))
        for kind, recognises, read in _READERS:
            if recognises(path):
                return _shown(kind, read(path))
        what = "a file of another kind" if path.exists() else "nothing there"
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        message = f"the source {str(path)!r} cannot be read ({reason}); correct the path or its permissions"
        raise SourceError(message) from error
    message = f"a source must be a manifest that ends in .csv or a folder, got {str(path)!r}: {what}; correct the path"
    raise SourceError(message)


def _shown(kind: str, source: Source) -> Source:
    """A source with the line that shows it back."""
    queries = len(source.of("query"))
    facts = [
        _counted(len(source.of("gallery")), "gallery photo" if queries else "photo"),
        _counted(queries, "query", "queries"),
        _counted(len({photo.place for photo in source.photos} - {None}), "place"),
        _counted(sum(photo.position is not None for photo in source.photos), "position"),
        _counted(len({photo.sequence for photo in source.photos} - {None}), "sequence"),
        _counted(len(source.positives), "photo with known matches", "photos with known matches"),
        _counted(len(source.bad_rows), "bad row"),
        _counted(sum(len(finding.photos) for finding in source.skipped), "picture skipped", "pictures skipped"),
    ]
    what = ", ".join(fact for fact in facts if not fact.startswith("0 "))
    return dataclasses.replace(source, shown=f"{source.shown or kind}: {what or 'nothing'}")


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
