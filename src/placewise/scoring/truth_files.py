"""What is right, read from a source, or from a solution of Google Landmarks, which names no gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from placewise.core import Photo
from placewise.errors import EvaluationError
from placewise.scoring.protocols import truth_of
from placewise.scoring.truth import Groups, Protocol, Rows, Truth, sharing
from placewise.sources import read_source
from placewise.sources.table import table

_IGNORED = "ignored"
"""The usage of a query that Google Landmarks does not score."""


def read_truth(path: Path, protocol: Protocol, *, columns: Mapping[str, str] | None = None) -> Truth:
    """What is right by a protocol.

    Args:
        path: a source; or a solution of Google Landmarks, ``id, landmarks, Usage`` for the protocol ``landmarks-gap``
            or ``id, images, Usage`` for ``pairs``, several names separated by spaces.
        protocol: see `find_protocol`.
        columns: as for `read_source`.

    Raises:
        SourceError: if it cannot be read.
        EvaluationError: if it lacks what the protocol needs.
    """
    named = _SOLUTIONS.get(protocol.kind)
    if named and not columns and path.suffix.lower() == ".csv" and path.is_file():
        header, rows = table(path)
        if {"id", named} <= set(header) and "path" not in header:
            return _solution([dict(zip(header, row, strict=False)) for _, row in rows], named, path)
    source = read_source(path, columns=columns)
    if source.bad_rows:
        first = source.bad_rows[0].detail
        message = f"every row of the truth must be usable, got {len(source.bad_rows)} bad (first: {first})"
        message += "; correct or remove them"
        raise EvaluationError(message)
    return truth_of(protocol, source)


_SOLUTIONS = {"landmarks-gap": "landmarks", "pairs": "images"}
"""The column of a solution that says what is right, by protocol."""


def _solution(rows: Sequence[dict[str, str]], column: str, path: Path) -> Truth:
    """A gallery of one photo for each name in a solution; others may have been predicted."""
    names = [[] if row.get(column, "").strip() in {"", "None"} else row[column].split() for row in rows]
    number_of = {name: number for number, name in enumerate(dict.fromkeys(name for some in names for name in some))}
    gallery = [Photo(PurePosixPath(name), "gallery", name if column == "landmarks" else None) for name in number_of]
    ids = [row["id"].strip() for row in rows]
    if len(set(ids)) < len(ids) or not all(ids):
        message = f"{str(path)!r} must have one line for each id, got an empty or repeated one; correct it"
        raise EvaluationError(message)
    queries = [
        Photo(PurePosixPath(name), "query", some[0] if some and column == "landmarks" else None)
        for name, some in zip(ids, names, strict=True)
    ]
    positives: list[Rows | None] = [
        None
        if row.get("usage", "").strip().lower() == _IGNORED
        else np.unique(np.array([number_of[name] for name in some], dtype=np.int64))
        for row, some in zip(rows, names, strict=True)
    ]
    if column == "landmarks":
        # An open-set query stands for itself: nothing is known of what it shows.
        keys = [(photo.place, None if photo.place else photo.path) for photo in queries]
        return Truth.of(gallery, queries, positives, Groups.of(keys, "places"), whole=False)
    there = [rows if rows is not None else np.empty(0, dtype=np.int64) for rows in positives]
    return Truth.of(gallery, queries, positives, sharing(there, ids), whole=False)
