"""The model without anybody's weights: sums of local descriptors about words that it learns from a gallery's photos.

Photo → RootSIFT descriptors on a grid (`placewise.models.dense`) and at keypoints (`placewise.features`) → of each
kind the sums of their differences from the nearest word, each of length 1, their signed roots
(`placewise.models.words`) → 1024 values.

VLAD: H. Jégou, M. Douze, C. Schmid and P. Pérez, "Aggregating local descriptors into a compact image representation",
CVPR 2010. Sums of length 1: R. Arandjelović and A. Zisserman, "All about VLAD", CVPR 2013.

Descriptors are whitened, by half. Embeddings are not: of a few photos of a few places, the directions in which they
differ most are those that tell the places apart. benchmarks/RESULTS.md has the numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from placewise import features, images
from placewise.errors import ImageError, ModelError
from placewise.machine import usable_cores
from placewise.models import dense
from placewise.models.learning import check_count
from placewise.models.words import FOLD, Projection, Vocabulary, learn_directions, learn_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from placewise.core import Embeddings, Image, ModelCard
    from placewise.models.learning import Lessons
    from placewise.models.words import Words

_T = TypeVar("_T")

_WORDS = (256, 64)
"""On a grid and at keypoints."""

_KEYPOINTS_SHARE = np.float32(0.7)
"""The length of the keypoints' part beside the grid's, which is 1."""

_LONGER_SIDE = 512  # of the image in which keypoints are sought, in pixels
_DESCRIPTORS = 60_000  # of each kind that words are learned from
_DECODE_MARGIN = 1.25


class VladEmbedder:
    """A `placewise.core.Embedder` once it is fitted: what `fit` returns, or what a gallery keeps."""

    def __init__(self, card: ModelCard, vocabulary: bytes | None = None) -> None:
        """Take what was learned, as bytes; without it the model can only be fitted.

        Raises:
            ModelError: if it is damaged.
        """
        self.vocabulary = vocabulary
        self.card = card
        self.variant = f"vlad-{card.decode}"
        self.at_least = int(_DECODE_MARGIN * card.input.resize) if card.decode == "fast" else None
        if vocabulary is not None:
            learned = Vocabulary.from_bytes(vocabulary)
            self.card = dataclasses.replace(
                card,
                weights_sha256=hashlib.sha256(vocabulary).hexdigest(),
                weights_file=f"words of {learned.photos} photos",
                size_bytes=len(vocabulary),
            )
            self._words = learned.words
            self._projection = Projection(learned.directions, card.dim)

    def fit(self, lessons: Lessons, *, on_progress: Callable[[int, int], None] | None = None) -> VladEmbedder:
        """Learn from photos with texture, which are gone through twice; see `learning.Learner.fit`.

        Raises:
            ModelError: if they are too few.
        """
        total = len(lessons)
        _check_count(total)
        say = on_progress or (lambda _done, _total: None)
        kinds: tuple[list[NDArray[np.float32]], ...] = ([], [])
        rng = np.random.default_rng(0)
        for done, found in enumerate(_mapped(_descriptors, _images(lessons)), 1):
            for kept, part in zip(kinds, found, strict=True):
                kept.append(part[rng.permutation(len(part))[: max(1, _DESCRIPTORS // total)]])
            say(done, 2 * total)
        used = sum(len(part) > 0 for part in kinds[0])
        _check_count(used)
        learned = [learn_words(np.concatenate(part), count) for part, count in zip(kinds, _WORDS, strict=True)]
        words = (learned[0], learned[1])
        rows = []
        for done, row in enumerate(_mapped(lambda photo: _sums(words, photo), _images(lessons)), 1):
            rows.append(row)
            say(total + done, 2 * total)
        directions = learn_directions([row for row in rows if row.any()], self.card.dim - FOLD)
        return VladEmbedder(self.card, Vocabulary(words, directions, used).to_bytes())

    def taught(self, vocabulary: bytes, kept: ModelCard) -> VladEmbedder:  # noqa: ARG002  # see Learner
        """The model that has learned this; see `learning.Learner.taught`."""
        return VladEmbedder(self.card, vocabulary)

    def read(self, data: bytes) -> Image:
        """Decode the bytes of a photo file, its shorter side 384 pixels.

        Raises:
            ImageError: if it cannot be decoded, or shows nothing that could be described.
        """
        return self.admit(images.decode(data, at_least=self.at_least))

    def admit(self, image: Image) -> Image:
        """What `read` makes of a decoded photo.

        Raises:
            ImageError: if it shows nothing that could be described.
        """
        image = self.prepare(image)
        if not dense.has_texture(_gray(image)):
            message = "a photo must have texture to be described, got one without; replace the photo"
            raise ImageError(message, kind="unusable")
        return image

    def prepare(self, image: Image) -> Image:
        """Resize one image as the card says, ``(h, w, 3)`` uint8."""
        return images.prepare(image, self.card.input)

    def infer(self, inputs: Sequence[Image]) -> Embeddings:
        """Embed prepared images: ``(N, 1024)`` float32, rows of unit length, in order; zeros for one without texture.

        Raises:
            ModelError: if the model is not fitted.
        """
        if self.vocabulary is None:
            message = f"{self.card.name} must learn from photos before it embeds, got none; call fit first"
            raise ModelError(message)
        words, project = self._words, self._projection.project
        rows = list(_mapped(lambda image: project(_sums(words, image)), inputs))
        return np.array(rows, np.float32).reshape(len(inputs), self.card.dim)

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images of any sizes: ``(N, 1024)`` float32, rows of unit length, in order."""
        return self.infer([self.prepare(image) for image in images])


def _images(lessons: Lessons) -> Iterator[Image]:
    return (lesson.input for lesson in lessons)


def _mapped(function: Callable[[Image], _T], photos: Iterable[Image]) -> Iterator[_T]:
    """What a function makes of each photo, in order; a few at a time, so that photos need not all be in memory."""
    cores = usable_cores()
    todo = iter(photos)
    with ThreadPoolExecutor(cores, thread_name_prefix="describe") as workers:
        while some := list(islice(todo, 4 * cores)):
            yield from workers.map(function, some)


def _gray(image: Image) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _descriptors(image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """On a grid and at keypoints, ``(N, 128)`` and ``(M, 128)``, rows of unit length."""
    found = features.extract(image, longer_side=_LONGER_SIDE).descriptors.astype(np.float32)
    return dense.describe(_gray(image)), found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1)


def _sums(words: tuple[Words, Words], image: Image) -> NDArray[np.float32]:
    """The long row that becomes an embedding: of unit length, or zeros."""
    grid, keypoints = (kind.sums(found) for kind, found in zip(words, _descriptors(image), strict=True))
    row = np.concatenate((grid, _KEYPOINTS_SHARE * keypoints))
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-9), np.float32)


def _check_count(photos: int) -> None:
    check_count("vlad", photos, what="readable photos with texture")
