"""(content of a file, embedding function) → embedding, so that no photo is embedded twice.

The key is the SHA-256 of the file's bytes, never its name, and the model's fingerprint with its variant; a changed
photo or model can therefore not bring back a stale vector.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

import numpy as np

from placewise.errors import CacheError
from placewise.store import Format, Store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from placewise.core import Embedder, Embeddings

_FORMAT = Format(
    noun="an embedding cache",
    application_id=0x50574543,  # "PWEC"
    version=1,
    schema="""
        CREATE TABLE embeddings (content BLOB NOT NULL, model TEXT NOT NULL, embedding BLOB NOT NULL);
        CREATE UNIQUE INDEX by_key ON embeddings (content, model)
    """,
    error=CacheError,
)


class Cache:
    """The embeddings of one model in a cache file; several processes may share the file."""

    def __init__(self, path: Path, embedder: Embedder) -> None:
        """Open or make the file.

        Raises:
            CacheError: if it cannot be opened or made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the cache folder must be writable, got {error}; name another one or use no cache"
            raise CacheError(message) from error
        self._store = Store(path, _FORMAT, create=True)
        self._model = f"{embedder.card.fingerprint}/{embedder.variant}"
        self._dim = embedder.card.dim

    def of(self, embedder: Embedder) -> Self:
        """The embeddings of another model in the same open file."""
        other = copy.copy(self)
        other._model = f"{embedder.card.fingerprint}/{embedder.variant}"  # noqa: SLF001  # a copy of this one
        other._dim = embedder.card.dim  # noqa: SLF001  # likewise
        return other

    def get(self, content: bytes) -> Embeddings | None:
        """The embedding of the file with this SHA-256 digest, ``(dim,)``, or None."""
        rows = self._store.execute(
            "SELECT embedding FROM embeddings WHERE content = ? AND model = ?", (content, self._model)
        )
        if not rows:
            return None
        embedding = np.frombuffer(rows[0][0], dtype="<f4")
        return embedding if embedding.shape == (self._dim,) else None

    def put(self, entries: Iterable[tuple[bytes, Embeddings]]) -> None:
        """Keep a batch of (digest, embedding), all or nothing."""
        with self._store.transaction():
            for content, embedding in entries:
                self._store.execute(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                    (content, self._model, embedding.astype("<f4").tobytes()),
                )

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
