"""A table of photos that show the same: ``frame, earlier_frame`` by number, or ``query, positive`` by path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from placewise.core import Source
from placewise.errors import SourceError
from placewise.sources.table import table

POSITIVES = "positives.csv"
"""What such a table is called where it lies beside the photos."""

_COLUMNS = (("frame", "earlier_frame"), ("query", "positive"))


def read_pairs(path: Path, source: Source) -> dict[PurePosixPath, tuple[PurePosixPath, ...]]:
    """For each photo those that show the same, in the order of the table.

    Raises:
        SourceError: if the table cannot be read, or names a photo that the source does not have.
    """
    try:
        header, rows = table(path)
    except OSError as error:
        message = f"{str(path)!r} must be a readable table of pairs, got {error.strerror}; correct the path"
        raise SourceError(message) from error
    names = next((names for names in _COLUMNS if set(names) <= set(header)), None)
    if names is None:
        message = f"{str(path)!r} must have the columns frame,earlier_frame or query,positive, got {','.join(header)!r}"
        message += "; rename them"
        raise SourceError(message)
    by_frame = names == _COLUMNS[0]
    known = {str(photo.frame if by_frame else photo.path): photo.path for photo in source.photos}
    found: dict[PurePosixPath, list[PurePosixPath]] = {}
    for line, row in rows:
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        pair = [cells.get(name, "") for name in names]
        pair = [str(int(cell)) if by_frame and cell.isdecimal() else cell for cell in pair]
        if not set(pair) <= known.keys():
            message = f"{str(path)!r}, line {line}, must name two photos of the source, got {','.join(pair)!r}"
            message += "; correct it"
            raise SourceError(message)
        found.setdefault(known[pair[0]], []).append(known[pair[1]])
    return {photo: tuple(others) for photo, others in found.items()}
