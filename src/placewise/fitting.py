"""The model of a gallery: as it was begun, or a new one; what learns from photos, fitted on those of a source.

What is learned is learned once. A gallery that grows keeps what it was begun with, for its embeddings are comparable
with one another only by that.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from placewise import images
from placewise.errors import ImageError
from placewise.gallery_file import GalleryFile, begun_card
from placewise.models import DEFAULT_MODEL, Look, check_vocabulary, load_model, load_model_of
from placewise.models.cards import VLAD
from placewise.models.learning import MOST_PHOTOS, Lesson, is_unfitted, learns_alike, vocabulary_of
from placewise.models.looks import seen_with
from placewise.presets import DEFAULT_PRESET, find_preset, look_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from placewise.core import Embedder, ModelCard, Photo, Source
    from placewise.models import Decode, Device, Precision

__all__ = ["fit_model", "fitted_as", "model_for", "vocabulary_of"]


def model_for(  # noqa: PLR0913  # each is a choice that a user makes
    gallery: Path | str,
    name: str | None = None,
    *,
    preset: str | None = None,
    look: Look | None = None,
    weights: Path | str | None = None,
    precision: Precision | None = None,
    decode: Decode | None = None,
    device: Device = "auto",
) -> Embedder:
    """The model to index into a gallery with; what is not said is as the gallery was begun.

    What is said otherwise than that is for `Gallery.open_for` to refuse, unless no gallery of this model can have it.
    A new gallery takes the default model, which must still be fitted where it learns from photos, see `fit_model`.

    Args:
        gallery: the file.
        name: of the model, as for `load_model`; where the gallery is there, for a model that has moved.
        preset: whose look it is to have.
        look: one that the user names instead.
        weights: as for `load_model`; where the gallery is there, for weights that have moved.
        precision: as for `load_model`.
        decode: likewise.
        device: likewise.

    Raises:
        GalleryError: if the file is no gallery, or another model's.
        ModelError: if the model, its weights or its vocabulary is not there or damaged.
        OptionError: if an option has a value that does not exist, or that the model cannot have.
    """
    look, chosen = look or Look(), find_preset(preset) if preset else None
    card = begun_card(gallery)
    if card is None:
        name, precision = name or DEFAULT_MODEL, precision or "auto"
        seen = look_for(name, (chosen or find_preset(DEFAULT_PRESET)).look, look, precision)
        return load_model(name, look=seen, weights=weights, precision=precision, decode=decode or "fast", device=device)
    with GalleryFile.open(gallery) as opened:
        vocabulary = opened.vocabulary
    card = _as_said(seen_with(card, chosen.look) if chosen else card, precision, decode)
    return load_model_of(card, name=name or "", look=look, weights=weights, device=device, vocabulary=vocabulary)


def _as_said(card: ModelCard, precision: Precision | None, decode: Decode | None) -> ModelCard:
    """A card, and those of its parts, with what a user says of precision and decoding."""
    parts = tuple(_as_said(part, None if part.architecture == VLAD else precision, decode) for part in card.parts)
    return dataclasses.replace(card, precision=precision or card.precision, decode=decode or card.decode, parts=parts)


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
