"""A model that learns from photos: on those of a source, or as a gallery has it already.

What is learned is learned once. A gallery that grows keeps what it was begun with, for its embeddings are comparable
with one another only by that.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from placewise import images
from placewise.errors import ImageError
from placewise.gallery_file import GalleryFile, begun_card
from placewise.models import check_vocabulary
from placewise.models.learning import MOST_PHOTOS, Lesson, is_unfitted, learns_alike, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from placewise.core import Embedder, Photo, Source

__all__ = ["fit_model", "fitted_as", "vocabulary_of"]


def fit_model(
    embedder: Embedder,
    source: Source,
    photos: Sequence[Photo] | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Embedder:
    """The model, fitted on photos if it has to be; any other model as it is.

    Args:
        embedder: the model.
        source: where the photos' files are.
        photos: which of its photos, of which at most 1000, evenly spread, are read; its gallery photos if None.
        on_progress: called with (photos done, photos in all, each counted as often as it is gone through).

    Raises:
        ModelError: if there are too few photos to learn from.
    """
    if not is_unfitted(embedder):
        return embedder
    lessons = _Readable(embedder, source, source.of("gallery") if photos is None else photos)
    return embedder.fit(lessons.some(MOST_PHOTOS), on_progress=on_progress)


def fitted_as(embedder: Embedder, gallery: Path | str) -> Embedder:
    """The model as a gallery has it, where it has to be fitted and the gallery is there; else the model as it is.

    Raises:
        GalleryError: if the file is no gallery.
        ModelMismatchError: if it holds another model's embeddings.
        ModelError: if the gallery's vocabulary is damaged.
    """
    if not is_unfitted(embedder) or begun_card(gallery) is None:
        return embedder
    with GalleryFile.open(gallery) as opened:
        if not learns_alike(embedder.card, opened.card):
            opened.check_model(embedder.card)
        opened.check_settings(embedder.card)
        return embedder.taught(check_vocabulary(opened.card, opened.vocabulary), opened.card)


class _Readable:
    """`placewise.models.learning.Lessons` of photos' files, read anew each time; what cannot be used is passed over."""

    def __init__(self, embedder: Embedder, source: Source, photos: Sequence[Photo]) -> None:
        self._embedder, self._source, self._photos = embedder, source, photos

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[Lesson]:
        for photo in self._photos:
            with contextlib.suppress(ImageError):
                yield Lesson(self._embedder.read(images.read_bytes(self._source.file(photo))), photo.place)

    def some(self, most: int) -> _Readable:
        """At most so many of them, evenly spread."""
        count = min(len(self), most)
        return _Readable(
            self._embedder, self._source, [self._photos[number * len(self) // count] for number in range(count)]
        )
