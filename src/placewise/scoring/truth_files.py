"""What is right, read from a source, or from a solution of Google Landmarks, which names no gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from placewise.core import Photo
from placewise.errors import EvaluationError
from placewise.scoring.protocols import truth_of
from placewise.scoring.truth import Groups, Protocol, Rows, Truth, sharing
from placewise.sources import read_source
from placewise.sources.table import table

Usage = Literal["public", "private", "all"]
"""Which queries of a solution count: those of the public or of the private leaderboard, or both."""

_IGNORED = "ignored"
"""The usage of a query that Google Landmarks does not score."""


def read_truth(
    path: Path, protocol: Protocol, *, columns: Mapping[str, str] | None = None, usage: Usage = "all"
) -> Truth:
    """What is right by a protocol.

    Args:
        path: a source; or a solution of Google Landmarks, ``id, landmarks, Usage`` for the protocol ``landmarks-gap``
            or ``id, images, Usage`` for ``pairs``, several names separated by spaces.
        protocol: see `find_protocol`.
        columns: as for `read_source`.
        usage: of a solution, which queries count; the others are excluded, as those that it ignores are.

    Raises:
        SourceError: if it cannot be read.
        EvaluationError: if it lacks what the protocol needs, or has no query of the usage.
    """
    named = _SOLUTIONS.get(protocol.kind)
    if named and not columns and path.suffix.lower() == ".csv" and path.is_file():
        header, rows = table(path)
        if {"id", named} <= set(header) and "path" not in header:
            return _solution([dict(zip(header, row, strict=False)) for _, row in rows], named, path, usage)
    if usage != "all":
        message = f"usage must come with a solution of Google Landmarks, got {usage} with {str(path)!r}; leave it out"
        raise EvaluationError(message)
    source = read_source(path, columns=columns)
    if source.bad_rows:
        first = source.bad_rows[0].detail
        message = f"every row of the truth must be usable, got {len(source.bad_rows)} bad (first: {first})"
        message += "; correct or remove them"
        raise EvaluationError(message)
    return truth_of(protocol, source)


_SOLUTIONS = {"landmarks-gap": "landmarks", "pairs": "images"}
"""The column of a solution that says what is right, by protocol."""


def _counts(said: str, usage: Usage) -> bool:
    """Whether a query of some usage is scored."""
    return said != _IGNORED if usage == "all" else said == usage


def _solution(rows: Sequence[dict[str, str]], column: str, path: Path, usage: Usage) -> Truth:
    """A gallery of one photo for each name in a solution; others may have been predicted."""
    counts = [_counts(row.get("usage", "").strip().lower(), usage) for row in rows]
    if not any(counts):
        message = f"{str(path)!r} must have a query whose usage is {usage}, got none; name another usage"
        raise EvaluationError(message)
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
        np.unique(np.array([number_of[name] for name in some], dtype=np.int64)) if there else None
        for there, some in zip(counts, names, strict=True)
    ]
    if column == "landmarks":
        # An open-set query stands for itself: nothing is known of what it shows.
        keys = [(photo.place, None if photo.place else photo.path) for photo in queries]
        return Truth.of(gallery, queries, positives, Groups.of(keys, "places"), whole=False)
    found = [rows if rows is not None else np.empty(0, dtype=np.int64) for rows in positives]
    return Truth.of(gallery, queries, positives, sharing(found, ids), whole=False)
