"""The ANN index beside a gallery: tied to the gallery's content, brought up to date or refused, never used stale."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from placewise.errors import GalleryError
from placewise.search.ann import AnnSearcher
from placewise.search.exact import ExactSearcher
from placewise.search.tuning import AnnReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.core import Searcher
    from placewise.gallery_file import GalleryFile

ANN_FROM = 50_000
"""Photos from which an ANN index pays: below, exact search takes less than a few milliseconds."""

_DRIFT = 0.1
"""The share of changed photos from which an index is built anew: what is added is searched exactly until then."""

_ROWS = 8192

_CONVERTED_VALUES = 1 << 27
"""Values of a float16 gallery up to which exact search holds them in float32: 512 MiB."""

SearcherKind = Literal["auto", "exact", "ann"]


def ann_path(gallery: Path) -> Path:
    """Where the ANN index of a gallery lies."""
    return gallery.with_name(f"{gallery.name}.ann")


def build_ann(gallery: GalleryFile, *, on_progress: Callable[[int, int], None] | None = None) -> AnnReport:
    """Build the ANN index of a gallery anew and write it beside the gallery.

    Args:
        gallery: an open gallery.
        on_progress: called with (photos done, photos in all).

    Raises:
        GalleryError: if an embedding is damaged, or the index cannot be written.
    """
    with gallery.reading():
        revision, ids = gallery.revision, gallery.ids()
    # An id stands for one embedding for ever, so these may be read while others write.
    searcher = AnnSearcher.build(gallery.card.dim, ids, gallery.vectors, on_progress=on_progress)
    searcher.save(ann_path(gallery.path), revision)
    return searcher.report


def open_ann(gallery: GalleryFile, ids: NDArray[np.int64]) -> AnnSearcher:
    """The ANN index beside a gallery, brought up to the photos that are ``ids``.

    The gallery must stay open: the searcher reads embeddings from it.

    Raises:
        GalleryError: if there is none, it is damaged, or it does not fit the gallery; it must be built again.
    """
    path = ann_path(gallery.path)
    hint = f"type 'placewise gallery ann {gallery.path}'"
    if not path.is_file():
        message = f"an ANN index must lie beside the gallery, got no file {path}; {hint}"
        raise GalleryError(message)
    searcher, stamp = AnnSearcher.load(path, gallery.card.dim, gallery.vectors)
    if gallery.changes_since(stamp) is None:
        message = f"{path} must be of this gallery, got one of another content; {hint}"
        raise GalleryError(message)
    follow(searcher, gallery, ids)
    if searcher.changed > _DRIFT * searcher.trained_on:
        message = f"{path} must fit the gallery, got one that {searcher.changed} changes have outdated; {hint}"
        raise GalleryError(message)
    return searcher


def open_searcher(gallery: GalleryFile, ids: NDArray[np.int64], kind: SearcherKind = "auto") -> Searcher:
    """What searches the photos ``ids`` of a gallery; inside `GalleryFile.reading`, so that they are of one state.

    ``auto`` takes the ANN index of a gallery of `ANN_FROM` photos or more if it fits, and searches exactly otherwise.

    Raises:
        GalleryError: if an embedding is damaged, or ``ann`` is asked for and there is no index that fits.
    """
    if kind == "ann" or (kind == "auto" and len(ids) >= ANN_FROM):
        try:
            return open_ann(gallery, ids)
        except GalleryError as error:
            if kind == "ann":
                raise
            warnings.warn(f"searching exactly, which takes longer: {error}", stacklevel=2)
    # Converting at every search is slow; for a small gallery the memory is no concern.
    large = gallery.storage == "float16" and len(ids) * gallery.card.dim > _CONVERTED_VALUES
    dtype = np.float16 if large else np.float32
    searcher = ExactSearcher(gallery.card.dim, dtype)
    searcher.upsert(*gallery.matrix(dtype))
    return searcher


def searches_approximately(gallery: GalleryFile, ids: NDArray[np.int64]) -> bool:
    """Whether `open_searcher` takes an index by itself: so queries are answered where nobody says otherwise."""
    if len(ids) < ANN_FROM:
        return False
    try:
        open_ann(gallery, ids).close()
    except GalleryError:
        return False
    return True


def follow(searcher: Searcher, gallery: GalleryFile, ids: NDArray[np.int64]) -> None:
    """Make a searcher hold exactly the embeddings of ``ids``, given that it held an earlier state of this gallery."""
    searcher.delete(np.setdiff1d(searcher.ids, ids, assume_unique=True))
    new = np.setdiff1d(ids, searcher.ids, assume_unique=True)
    for start in range(0, len(new), _ROWS):
        searcher.upsert(*gallery.vectors(new[start : start + _ROWS]))


def renew_ann(gallery: GalleryFile, *, on_progress: Callable[[int, int], None] | None = None) -> bool:
    """See that a large gallery has an ANN index that fits it; returns whether one was written.

    A gallery that has one keeps it, whatever its size. It is built anew when a tenth of the photos has changed; until
    then the changes are brought in when it is opened.

    Raises:
        GalleryError: if an embedding is damaged, or the index cannot be written.
    """
    path = ann_path(gallery.path)
    if len(gallery) < ANN_FROM and not path.exists():
        return False
    changes = _changes(gallery)
    if changes is not None and changes <= _DRIFT * len(gallery):
        return False
    build_ann(gallery, on_progress=on_progress)
    return True


def ann_info(gallery: GalleryFile) -> dict[str, object] | None:
    """What is known of the ANN index beside a gallery, JSON-ready; None if there is none.

    ``current`` says whether it is of this gallery, or of an earlier state of it that is caught up when it is opened;
    ``recall@10`` was measured on the gallery's own photos when it was built.
    """
    path = ann_path(gallery.path)
    if not path.exists():
        return None
    try:
        stamp, report = AnnSearcher.stamp_of(path)
    except GalleryError as error:
        return {"current": False, "problem": str(error)}
    current = gallery.changes_since(stamp) is not None
    return {"current": current, **report_json(report), "size_bytes": path.stat().st_size}


def report_json(report: AnnReport) -> dict[str, object]:
    """What an index is and how much it found when it was built; exhaustive search of small galleries finds all."""
    return {
        "recall@10": report.recall_at_10,
        "queries": report.queries,
        "lists": report.lists,
        "nprobe": report.nprobe,
        "candidates": report.candidates,
    }


def _changes(gallery: GalleryFile) -> int | None:
    """Embeddings added and removed since the index beside the gallery was written; None if that is not of it."""
    try:
        stamp, _ = AnnSearcher.stamp_of(ann_path(gallery.path))
    except GalleryError:
        return None
    return gallery.changes_since(stamp)
