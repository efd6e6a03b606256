"""Two models as one: its embedding is theirs put end to end, each scaled, so that their similarities are added.

Photo, decoded once → each part's input → each part's embedding → one, by `placewise.models.fusing`. The scales are
learned from a gallery's photos, and so is the vocabulary of a part that learns; the gallery keeps both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from itertools import islice, permutations
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.core import Embedder, ModelCard
from placewise.errors import ModelError, OptionError
from placewise.models.cards import FUSED, JOINED
from placewise.models.fusing import fused, scales
from placewise.models.learning import Lesson, check_count, is_unfitted, learns_alike, vocabulary_of
from placewise.openset import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from placewise.core import Embeddings, Image
    from placewise.models.learning import Lessons

    Input = NDArray[np.uint8]

_PHOTOS = 300
"""Whose similarities are looked at: 45,000 pairs say enough of how they spread."""

_BATCH = 32
_PARTS = 2
_STEP = 1000
"""Scales are whole thousandths, so that rounding errors of networks do not make another model."""

_MAGIC = b"PWS1"
_HEADER = struct.Struct("<4s2f2Q")  # magic, scales, bytes of each part's vocabulary
_SHAPE = struct.Struct("<3I")


@runtime_checkable
class Part(Embedder, Protocol):
    """A model that can be fused."""

    @property
    def at_least(self) -> int | None:
        """The shorter side in pixels below which photos must not be decoded; None where they are decoded whole."""

    def admit(self, image: Image) -> Input:
        """What `read` makes of a decoded photo; ImageError if it cannot be embedded."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fusion:
    """All that is learned from a gallery.

    Attributes:
        scales: what each part's similarities weigh, in all 1.
        vocabularies: what each part has learned; None for one that learns nothing.
    """

    scales: tuple[float, float]
    vocabularies: tuple[bytes | None, bytes | None]

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        parts = [vocabulary or b"" for vocabulary in self.vocabularies]
        return _HEADER.pack(_MAGIC, *self.scales, *map(len, parts)) + b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Fusion:
        """What `to_bytes` made bytes of.

        Raises:
            ModelError: if they are damaged or something else.
        """
        try:
            magic, one, other, first, second = _HEADER.unpack_from(data)
        except struct.error:
            magic, one, other, first, second = b"", 0.0, 0.0, 0, 0
        whole = magic == _MAGIC and len(data) == _HEADER.size + first + second
        if not (whole and 0 < one < 1 and 0 < other < 1 and abs(one + other - 1) < 1 / _STEP):
            message = f"scales must be the bytes that were learned, got {len(data)} others; restore a copy"
            raise ModelError(message)
        start, end = _HEADER.size, _HEADER.size + first
        return cls((one, other), (data[start:end] or None, data[end:] or None))


class FusedEmbedder:
    """A `placewise.core.Embedder` once it is fitted: what `fit` returns, or what a gallery keeps."""

    def __init__(self, parts: Sequence[Embedder], vocabulary: bytes | None = None) -> None:
        """Put two models together; without what was learned of them, as bytes, they can only be fitted.

        They come in the order of their names, so that ``b+a`` is ``a+b``; where they have learned, in the order in
        which they did.

        Raises:
            OptionError: if they are not two models that can be fused.
            ModelError: if what was learned is damaged.
        """
        self._parts = _checked(parts if vocabulary is not None else sorted(parts, key=lambda part: part.card.name))
        self.vocabulary = vocabulary
        self._scales = None if vocabulary is None else np.array(Fusion.from_bytes(vocabulary).scales, np.float32)
        self.card = _card([part.card for part in self._parts], vocabulary)
        self.variant = JOINED.join(part.variant for part in self._parts)
        sides = [part.at_least for part in self._parts]
        self._at_least = None if None in sides else max(side or 0 for side in sides)

    def fit(self, lessons: Lessons, *, on_progress: Callable[[int, int], None] | None = None) -> FusedEmbedder:
        """Let the parts learn that have to, then learn their scales; see `learning.Learner.fit`.

        Args:
            lessons: the photos; scales are learned from those of different places, of all where no place is known.
            on_progress: called for each part that learns, then for the scales, each from the start.

        Raises:
            ModelError: if they are too few.
        """
        check_count(self.card.name, len(lessons))
        parts = [
            part.fit(_OfPart(lessons, number), on_progress=on_progress) if is_unfitted(part) else part
            for number, part in enumerate(self._parts)
        ]
        found, places = _embedded(parts, lessons.some(_PHOTOS), on_progress or (lambda _done, _total: None))
        check_count(self.card.name, len(places))
        one = round(float(scales(found, Places.of_labels(places).codes)[0]) * _STEP)
        one = min(max(one, 1), _STEP - 1)
        first, second = (vocabulary_of(part) for part in parts)
        return FusedEmbedder(parts, Fusion((one / _STEP, 1 - one / _STEP), (first, second)).to_bytes())

    def taught(self, vocabulary: bytes, kept: ModelCard) -> FusedEmbedder:
        """The model that has learned this, and so have its parts, in their order; see `learning.Learner.taught`."""
        learned = Fusion.from_bytes(vocabulary).vocabularies
        orders = (dict(zip(kept.parts, order, strict=False)) for order in permutations(self._parts))
        alike = (order for order in orders if all(learns_alike(part.card, card) for card, part in order.items()))
        parts = [
            part.taught(own, card) if own is not None and is_unfitted(part) else part
            for (card, part), own in zip(next(alike, {}).items(), learned, strict=False)
        ]
        return FusedEmbedder(parts, vocabulary)

    def read(self, data: bytes) -> Input:
        """Decode the bytes of a photo file to both parts' inputs, one row of bytes.

        Raises:
            ImageError: if it cannot be decoded, or one part cannot embed it.
        """
        image = images.decode(data, at_least=self._at_least)
        return _packed([part.admit(image) for part in self._parts])

    def prepare(self, image: Image) -> Input:
        """Make both parts' inputs of one image, one row of bytes."""
        return _packed([part.prepare(image) for part in self._parts])

    def infer(self, inputs: Sequence[Input]) -> Embeddings:
        """Embed prepared inputs: ``(N, dim)`` float32, rows of unit length, in order; zeros where one part's are.

        Raises:
            ModelError: if the model is not fitted.
        """
        if self._scales is None:
            message = f"{self.card.name} must learn from photos before it embeds, got none; call fit first"
            raise ModelError(message)
        rows = fused(found := _each(self._parts, inputs), self._scales)
        rows[~_all_see(found)] = 0
        return rows

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images of any sizes: ``(N, dim)`` float32, rows of unit length, in order."""
        return self.infer([self.prepare(image) for image in images])


class _OfPart:
    """Lessons as one of the parts takes them."""

    def __init__(self, lessons: Lessons, number: int) -> None:
        self._lessons, self._number = lessons, number

    def __len__(self) -> int:
        return len(self._lessons)

    def __iter__(self) -> Iterator[Lesson]:
        return (lesson._replace(input=_unpacked(lesson.input)[self._number]) for lesson in self._lessons)

    def some(self, most: int) -> _OfPart:
        return _OfPart(self._lessons.some(most), self._number)


def _each(parts: Sequence[Embedder], inputs: Sequence[Input]) -> list[Embeddings]:
    """Each part's embeddings of the same photos."""
    sides = [_unpacked(row) for row in inputs]
    return [part.infer([side[number] for side in sides]) for number, part in enumerate(parts)]


def _all_see(found: Sequence[Embeddings]) -> NDArray[np.bool_]:
    """Which photos every part finds something in: ``(N,)``."""
    return np.asarray(np.logical_and.reduce([part.any(axis=1) for part in found]))


def _embedded(
    parts: Sequence[Embedder], lessons: Lessons, say: Callable[[int, int], None]
) -> tuple[list[Embeddings], list[str | None]]:
    """Each part's embeddings of photos, a few at a time, and their places; of those that every part can embed."""
    batches: list[list[Embeddings]] = []
    places: list[str | None] = []
    todo = iter(lessons)
    while batch := list(islice(todo, _BATCH)):
        found = _each(parts, [lesson.input for lesson in batch])
        usable = _all_see(found)
        batches.append([part[usable] for part in found])
        places += [lesson.place for lesson, good in zip(batch, usable, strict=True) if good]
        say(len(places), len(lessons))
    return [np.concatenate(part) for part in zip(*batches, strict=True)], places


def _checked(parts: Sequence[Embedder]) -> list[Part]:
    """The parts, which must be two different models, neither of them fused."""
    names = [part.card.name for part in parts]
    found = [part for part in parts if isinstance(part, Part)]
    if not len(set(names)) == len(found) == len(parts) == _PARTS:
        message = f"two different models can be fused, neither fused itself, got {' and '.join(names)}; name two"
        raise OptionError(message)
    return found


def _card(parts: Sequence[ModelCard], vocabulary: bytes | None) -> ModelCard:
    """The card of the parts together, with the digest of what was learned."""
    weights = " + ".join(part.weights_file or "no weights" for part in parts)
    sizes = [part.size_bytes for part in parts if part.size_bytes is not None]
    if vocabulary is not None:
        weights += ", scaled {:.3f} and {:.3f}".format(*Fusion.from_bytes(vocabulary).scales)
    return ModelCard(
        name=JOINED.join(part.name for part in parts),
        architecture=FUSED,
        dim=sum(part.dim for part in parts),
        input=parts[0].input,
        pooling=FUSED,
        weights_file=weights,
        source=" + ".join(part.source for part in parts),
        licence=" + ".join(part.licence for part in parts),
        size_bytes=sum(sizes) if len(sizes) == len(parts) else None,
        weights_sha256="" if vocabulary is None else hashlib.sha256(vocabulary).hexdigest(),
        precision=parts[0].precision if parts[0].precision != "auto" else parts[1].precision,
        decode=parts[0].decode,
        parts=tuple(parts),
    )


def _packed(inputs: Sequence[Input]) -> Input:
    """Inputs as one row of bytes: of each its height, width and channels, little-endian uint32, then its values."""
    shapes = [np.frombuffer(_SHAPE.pack(*image.shape), np.uint8) for image in inputs]
    return np.concatenate([part for pair in zip(shapes, inputs, strict=True) for part in (pair[0], pair[1].ravel())])


def _unpacked(row: Input) -> list[Input]:
    """The inputs that `_packed` made a row of."""
    found, start = [], 0
    while start < len(row):
        height, width, channels = _SHAPE.unpack(row[start : start + _SHAPE.size].tobytes())
        start += _SHAPE.size
        end = start + height * width * channels
        found.append(row[start:end].reshape(height, width, channels))
        start = end
    return found
