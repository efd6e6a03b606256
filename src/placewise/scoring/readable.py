"""What of a source can be measured: without the photos that cannot be read, but never of another dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placewise.errors import EvaluationError
from placewise.scoring.protocols import truth_of

if TYPE_CHECKING:
    from placewise.core import Source
    from placewise.embed import Embedded, Failure
    from placewise.scoring.truth import Protocol, Truth


def check_rows(source: Source) -> None:
    """Refuse a source with rows that cannot be used.

    Raises:
        EvaluationError: if there are any.
    """
    if source.bad_rows:
        first = source.bad_rows[0]
        message = (
            f"every row must be usable, or the numbers would be of another dataset; got {len(source.bad_rows)} bad "
            f"(first: {first.detail}); see them all with 'placewise validate'"
        )
        raise EvaluationError(message)


def still_whole(protocol: Protocol, source: Source, wanted: Truth, gallery: Embedded, queries: Embedded) -> Truth:
    """The truth for what could be read.

    Raises:
        EvaluationError: if unreadable photos would change what is right for a query.
    """
    if not gallery.failures and not queries.failures:
        return wanted
    failures = {failure.photo: failure for failure in (*gallery.failures, *queries.failures)}
    there = {photo.path for photo in gallery.photos}
    for query, rows in zip(wanted.queries, wanted.positives, strict=True):
        lost = [wanted.gallery[row] for row in rows.tolist()]
        if lost and query not in failures and not any(photo.path in there for photo in lost):
            what = f"gallery photo of {query.place!r}" if protocol.labelled else f"positive of {query.path}"
            raise _unreadable(what, failures[lost[0]])
    left = {photo.path for photo in queries.photos}
    asking = zip(wanted.queries, wanted.evaluated | wanted.open_set, strict=True)
    if not any(known and photo.path in left for photo, known in asking):
        raise _unreadable("query with a place" if protocol.labelled else "query", queries.failures[0])
    if wanted.asks_itself:
        return truth_of(protocol, source, gallery=gallery.photos, queries=())
    return truth_of(protocol, source, gallery=gallery.photos, queries=queries.photos)


def _unreadable(what: str, failure: Failure) -> EvaluationError:
    message = f"at least one {what} must be readable, got none ({failure.photo.path}: {failure.reason}); "
    return EvaluationError(message + "mend the files or drop the rows")
