"""image → Answer: the read path from one query photo to KNOWN with a place, or UNKNOWN."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from placewise import images, rank
from placewise.core import Photo, Source
from placewise.embed import embed_photos
from placewise.errors import ImageError, OptionError
from placewise.gallery import are_unit_rows
from placewise.openset import DEFAULT_TAU, check_tau
from placewise.search import ExactSearcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placewise.core import Answer, Embedder, Embeddings
    from placewise.embed import Failure
    from placewise.gallery import Gallery


class Locator:
    """A gallery in memory and the model that made it, ready to answer.

    It answers from the gallery as it was when the locator was made; make a new one to see later changes.
    """

    def __init__(self, gallery: Gallery, embedder: Embedder, *, tau: float | None = DEFAULT_TAU) -> None:
        """Load the gallery's embeddings.

        Args:
            gallery: an open gallery; it may be closed afterwards.
            embedder: the model that the gallery was made with.
            tau: below this confidence an answer is UNKNOWN; None leaves the decision to the caller.

        Raises:
            ModelMismatchError: if the gallery holds another model's embeddings.
            OptionError: if tau is no cosine.
        """
        gallery.check_model(embedder.card)
        self._tau = None if tau is None else check_tau(tau)
        self._embedder = embedder
        contents = gallery.contents()
        self._photos = dict(zip(contents.ids.tolist(), contents.photos, strict=True))
        self._searcher = ExactSearcher(gallery.card.dim)
        self._searcher.upsert(contents.ids, contents.embeddings)

    def locate(self, photo: Path | str | bytes, *, k: int = 5) -> Answer:
        """Answer for one photo, given as a file's path or as its bytes, with up to ``k`` hits.

        Raises:
            ImageError: if it cannot be decoded.
            OptionError: if k is below 1.
        """
        data = photo if isinstance(photo, bytes) else images.read_bytes(Path(photo))
        embedding = self._embedder.infer([self._embedder.read(data)])
        if not are_unit_rows(embedding).all():
            message = "the network finds nothing in the photo to embed; take another photo"
            raise ImageError(message, kind="unusable")
        (answer,) = self.answers(embedding, k=k)
        return answer

    def locate_many(
        self, paths: Sequence[Path | str], *, k: int = 5
    ) -> tuple[tuple[tuple[str, Answer], ...], tuple[Failure, ...]]:
        """Answer for many photo files: (path, answer) of each that can be decoded, and the failures of the others."""
        photos = tuple(Photo(PurePosixPath(Path(path).as_posix()), "query") for path in paths)
        batches = list(embed_photos(Source(Path(), photos), photos, self._embedder))
        answers = tuple(
            (str(photo.path), answer)
            for batch in batches
            for photo, answer in zip(batch.photos, self.answers(batch.embeddings, k=k), strict=True)
        )
        return answers, tuple(failure for batch in batches for failure in batch.failures)

    def answers(self, embeddings: Embeddings, *, k: int = 5) -> tuple[Answer, ...]:
        """Answer for embedded queries ``(Q, dim)``, each with up to ``k`` hits."""
        if k < 1:
            message = f"k must be at least 1, got {k}"
            raise OptionError(message)
        found = self._searcher.search(embeddings, k)
        return tuple(
            rank.answer(ids, similarities, self._photos, tau=self._tau)
            for ids, similarities in zip(found.ids, found.similarities, strict=True)
        )
