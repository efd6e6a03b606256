"""A model that learns from photos: on those of a source, or as a gallery has it already.

What is learned is learned once. A gallery that grows keeps the vocabulary that it was begun with, for its embeddings
are comparable with one another only by that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from placewise import images
from placewise.errors import ImageError
from placewise.gallery_file import GalleryFile
from placewise.models import load_model_of
from placewise.models.vlad import MOST_PHOTOS, VladEmbedder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.core import Embedder, Image, Photo, Source


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
        on_progress: called with (photos done, photos in all, each counted twice).

    Raises:
        ModelError: if there are too few photos to learn from.
    """
    if not _is_unfitted(embedder):
        return embedder
    photos = source.of("gallery") if photos is None else photos
    count = min(len(photos), MOST_PHOTOS)
    files = [source.file(photos[number * len(photos) // count]) for number in range(count)]
    return embedder.fit(_Readable(embedder, files), on_progress=on_progress)


def fitted_as(embedder: Embedder, gallery: Path | str) -> Embedder:
    """The model as a gallery has it, where it has to be fitted and the gallery is there; else the model as it is.

    Raises:
        GalleryError: if the file is no gallery.
        ModelError: if the gallery's vocabulary is damaged.
    """
    if not _is_unfitted(embedder) or not Path(gallery).exists():
        return embedder
    with GalleryFile.open(gallery) as opened:
        if opened.card.architecture != embedder.card.architecture:
            opened.check_model(embedder.card)
        opened.check_settings(embedder.card)
        return load_model_of(opened.card, vocabulary=opened.vocabulary)


def vocabulary_of(embedder: Embedder) -> bytes | None:
    """What a model has learned from photos; None for models that learn nothing."""
    return embedder.vocabulary if isinstance(embedder, VladEmbedder) else None


def _is_unfitted(embedder: Embedder) -> TypeGuard[VladEmbedder]:
    return isinstance(embedder, VladEmbedder) and embedder.vocabulary is None


class _Readable(Collection["Image"]):
    """The photos of some files as a model takes them, read anew each time; what cannot be used is passed over."""

    def __init__(self, embedder: VladEmbedder, files: Sequence[Path]) -> None:
        self._embedder, self._files = embedder, files

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Image]:
        for file in self._files:
            with contextlib.suppress(ImageError):
                yield self._embedder.read(images.read_bytes(file))

    def __contains__(self, image: object) -> bool:
        return any(image is other for other in self)
