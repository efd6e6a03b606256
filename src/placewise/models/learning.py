"""What models that learn from a gallery's photos have in common: what they are taught by, and what they keep of it."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from placewise.core import Embedder
from placewise.errors import ModelError
from placewise.models.cards import LEARNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from placewise.core import ModelCard

FEWEST_PHOTOS = 10
"""Fewer photos do not say what photos look like."""

MOST_PHOTOS = 1000
"""More are not worth the time: 0.2 s each."""


class Lesson(NamedTuple):
    """A photo to learn from: what `Embedder.read` makes of it, and the place that it shows, where that is known."""

    input: NDArray[np.uint8]
    place: str | None = None


class Lessons(Protocol):
    """Photos to learn from. They may be gone through several times, and need not all be in memory."""

    def __len__(self) -> int:
        """How many there are; those that cannot be read count, too."""

    def __iter__(self) -> Iterator[Lesson]:
        """Those that can be read, in order."""

    def some(self, most: int) -> Lessons:
        """At most so many of them, evenly spread."""


@runtime_checkable
class Learner(Embedder, Protocol):
    """A model that learns from photos before it embeds; what it has learned is part of its card."""

    @property
    def vocabulary(self) -> bytes | None:
        """What it has learned, for a gallery to keep; None before."""

    def fit(self, lessons: Lessons, *, on_progress: Callable[[int, int], None] | None = None) -> Self:
        """Learn from photos; returns the model that has.

        Args:
            lessons: the photos, at least `FEWEST_PHOTOS`.
            on_progress: called with (photos done, photos in all, each counted as often as it is gone through).

        Raises:
            ModelError: if they are too few.
        """

    def taught(self, vocabulary: bytes, kept: ModelCard) -> Self:
        """The model that has learned this, as a gallery keeps it beside its card.

        Raises:
            ModelError: if it is damaged.
        """


def learns_alike(card: ModelCard, kept: ModelCard) -> bool:
    """Whether two models are the same but for what they learn from photos; two parts may come in either order."""
    if card.parts or kept.parts:
        same = len(card.parts) == len(kept.parts)
        return same and any(all(map(learns_alike, card.parts, order)) for order in permutations(kept.parts))
    alike = card.architecture == kept.architecture
    return alike and (card.architecture in LEARNED or card.fingerprint == kept.fingerprint)


def is_unfitted(embedder: Embedder) -> TypeGuard[Learner]:
    """Whether a model has to learn from photos and has not."""
    return isinstance(embedder, Learner) and embedder.vocabulary is None


def vocabulary_of(embedder: Embedder) -> bytes | None:
    """What a model has learned from photos; None for models that learn nothing."""
    return embedder.vocabulary if isinstance(embedder, Learner) else None


def check_count(name: str, photos: int, *, what: str = "readable photos") -> None:
    """Refuse to learn from too few.

    Raises:
        ModelError: if they are.
    """
    if photos < FEWEST_PHOTOS:
        message = (
            f"{name} must learn from at least {FEWEST_PHOTOS} {what}, got {photos}; "
            f"add photos to the gallery or use another model"
        )
        raise ModelError(message)
