"""The gallery: one SQLite file that holds photos, their embeddings and the card of the model that made them.

Copy the file to another machine and it answers there. A batch is a transaction: after a kill at any moment the file
opens and holds every batch that was committed.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from placewise.core import InputRule, ModelCard, Photo, Position
from placewise.errors import GalleryError, ModelMismatchError
from placewise.store import Format, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from placewise.core import Embeddings

_FORMAT = Format(
    noun="a gallery",
    application_id=0x50574741,  # "PWGA"
    version=1,
    schema="""
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE photos (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            path TEXT NOT NULL UNIQUE,
            place TEXT, lat REAL, lon REAL, heading REAL, sequence TEXT, frame INTEGER,
            content BLOB,
            embedding BLOB NOT NULL)
    """,
    error=GalleryError,
)
_PHOTO = "path, place, lat, lon, heading, sequence, frame"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a search needs of a gallery: rows belong together by position, in the order of their ids.

    Attributes:
        ids: ``(N,)`` int64, ascending; an id is never used again after its photo was removed.
        photos: N photos, all of split ``gallery``.
        embeddings: ``(N, dim)`` float32, rows of unit length.
    """

    ids: NDArray[np.int64]
    photos: tuple[Photo, ...]
    embeddings: Embeddings


class Gallery:
    """An open gallery file. Use it as a context manager, so that it is closed into one clean file."""

    def __init__(self, store: Store, card: ModelCard) -> None:
        self._store = store
        self.card = card

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open an existing gallery for reading.

        Raises:
            GalleryError: if it is missing, damaged, another program's, or of another format.
        """
        store = Store(Path(path), _FORMAT, write=False)
        try:
            card = _stored_card(store)
            if card is None:
                message = f"gallery {path} must hold a model card, got none; index photos into it first"
                raise GalleryError(message)
        except BaseException:
            store.close()
            raise
        return cls(store, card)

    @classmethod
    def open_for(cls, path: Path | str, card: ModelCard) -> Self:
        """Open a gallery for writing embeddings of the model ``card``; make it where it is not there.

        Raises:
            GalleryError: if it cannot be opened or made.
            ModelMismatchError: if it holds another model's embeddings; the file is left as it was.
        """
        store = Store(Path(path), _FORMAT, write=True)
        try:
            if _stored_card(store) is None:
                text = json.dumps(dataclasses.asdict(card))
                with store.transaction():  # or ignore: another process may be making the gallery too
                    store.execute("INSERT OR IGNORE INTO meta VALUES ('card', ?)", (text,))
            gallery = cls(store, _stored_card(store) or card)
            gallery.check_model(card)
            gallery._check_settings(card)
        except BaseException:
            store.close()
            raise
        return gallery

    @property
    def path(self) -> Path:
        """The gallery's file."""
        return self._store.path

    def check_model(self, card: ModelCard) -> None:
        """Refuse a model whose embeddings cannot be compared with the stored ones.

        Raises:
            ModelMismatchError: if the fingerprints differ.
        """
        if card.fingerprint != self.card.fingerprint:
            message = (
                f"gallery {self.path} must be used with the model it was made with, {_described(self.card)}, "
                f"got {_described(card)}; use that model and its weights, or index into another file"
            )
            raise ModelMismatchError(message)

    def _check_settings(self, card: ModelCard) -> None:
        """Refuse to mix exact embeddings with fast ones: the differences are small, and nobody would find them."""
        if (card.precision, card.decode) != (self.card.precision, self.card.decode):
            message = (
                f"gallery {self.path} must be written as it was begun, with --precision {self.card.precision} "
                f"--decode {self.card.decode}, got {card.precision} and {card.decode}; use these or another file"
            )
            raise ModelMismatchError(message)

    def __len__(self) -> int:
        ((count,),) = self._store.execute("SELECT count(*) FROM photos")
        return int(count)

    def info(self) -> dict[str, object]:
        """What a person wants to know of the file, JSON-ready."""
        ((photos, places, positions),) = self._store.execute(
            "SELECT count(*), count(DISTINCT place), count(lat) FROM photos"
        )
        return {
            "photos": photos,
            "places": places,
            "with_position": positions,
            "model": self.card.name,
            "dim": self.card.dim,
            "fingerprint": self.card.fingerprint,
            "weights": self.card.weights_file,
            "licence": self.card.licence,
            "size_bytes": self.path.stat().st_size,
        }

    def digests(self) -> dict[str, bytes | None]:
        """Path → SHA-256 of the content that was embedded (None where it was imported without)."""
        return dict(self._store.execute("SELECT path, content FROM photos"))

    def upsert(self, photos: Sequence[Photo], digests: Sequence[bytes | None], embeddings: Embeddings) -> None:
        """Add photos, replacing those whose path is already there, in one transaction.

        Args:
            photos: N photos; their split is not stored, all are gallery photos from now on.
            digests: N SHA-256 digests of the files' bytes, or None.
            embeddings: ``(N, dim)`` float32, rows of unit length.

        Raises:
            GalleryError: if shapes or values do not fit, or the file cannot be written.
        """
        check_embeddings(embeddings, (len(photos), self.card.dim))
        rows = [
            (*_photo_row(photo), digest, embedding.astype("<f4").tobytes())
            for photo, digest, embedding in zip(photos, digests, embeddings, strict=True)
        ]
        with self._store.transaction():
            for row in rows:
                self._store.execute(
                    f"INSERT INTO photos ({_PHOTO}, content, embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (path) DO UPDATE SET place = excluded.place, lat = excluded.lat, lon = excluded.lon, "
                    "heading = excluded.heading, sequence = excluded.sequence, frame = excluded.frame, "
                    "content = excluded.content, embedding = excluded.embedding",
                    row,
                )

    def relabel(self, photos: Sequence[Photo]) -> int:
        """Give photos that are there their present place, position and sequence; returns how many differed."""
        changed = 0
        with self._store.transaction():
            for photo in photos:
                path, *fields = _photo_row(photo)
                self._store.execute(
                    "UPDATE photos SET (place, lat, lon, heading, sequence, frame) = (?, ?, ?, ?, ?, ?) WHERE path = ? "
                    "AND (place, lat, lon, heading, sequence, frame) IS NOT (?, ?, ?, ?, ?, ?)",
                    (*fields, path, *fields),
                )
                ((count,),) = self._store.execute("SELECT changes()")
                changed += count
        return changed

    def remove(self, paths: Iterable[str]) -> int:
        """Remove photos by path, in one transaction; returns how many were there."""
        before = len(self)
        with self._store.transaction():
            for path in paths:
                self._store.execute("DELETE FROM photos WHERE path = ?", (path,))
        return before - len(self)

    def contents(self) -> Contents:
        """Everything a search needs, as of now."""
        rows = self._store.execute(f"SELECT id, embedding, {_PHOTO} FROM photos ORDER BY id")
        try:
            embeddings = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4").reshape(len(rows), self.card.dim)
            check_embeddings(embeddings, (len(rows), self.card.dim))
        except (TypeError, ValueError, GalleryError) as error:
            message = (
                f"gallery {self.path} must hold {self.card.dim} finite values of unit length for each photo, got "
                f"others: it is damaged; restore a copy or make it anew"
            )
            raise GalleryError(message) from error
        return Contents(
            ids=np.array([row[0] for row in rows], dtype=np.int64),
            photos=tuple(_photo(row[2:]) for row in rows),
            embeddings=embeddings.astype(np.float32, copy=False),
        )

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _photo_row(photo: Photo) -> tuple[object, ...]:
    position = photo.position
    where = (position.lat, position.lon, position.heading) if position else (None, None, None)
    return (str(photo.path), photo.place, *where, photo.sequence, photo.frame)


def _photo(row: tuple[Any, ...]) -> Photo:
    path, place, lat, lon, heading, sequence, frame = row
    position = None if lat is None else Position(lat, lon, heading)
    return Photo(PurePosixPath(str(path)), "gallery", place, position, sequence, frame)


def _stored_card(store: Store) -> ModelCard | None:
    rows = store.execute("SELECT value FROM meta WHERE key = 'card'")
    return card_from_json(str(rows[0][0]), store.path) if rows else None


def _described(card: ModelCard) -> str:
    variant = f" in int8 ({card.quantised[:8]})" if card.quantised else ""
    return f"{card.name}{variant} with {card.weights_file or 'no weights'} ({card.fingerprint[:8]})"


def card_from_json(text: str, path: Path) -> ModelCard:
    """The card that ``dataclasses.asdict`` and JSON made a text of; ``path`` is where it was found.

    Raises:
        GalleryError: if it is no card.
    """
    try:
        fields = json.loads(text)
        rule = fields.pop("input")
        rule = InputRule(**{**rule, "mean": tuple(rule["mean"]), "std": tuple(rule["std"])})
        return ModelCard(**fields, input=rule)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{path} must hold a readable model card, got {error!r}"
        raise GalleryError(message) from error


def are_unit_rows(embeddings: Embeddings) -> NDArray[np.bool_]:
    """Which rows of ``(N, dim)`` are finite and of unit length: ``(N,)``."""
    usable: NDArray[np.bool_] = np.abs(np.linalg.norm(embeddings, axis=1) - 1) < 1e-3  # NaN is less than nothing
    return usable


def check_embeddings(embeddings: Embeddings, shape: tuple[int, int]) -> None:
    """Refuse rows of another shape or length.

    Raises:
        GalleryError: if they cannot be compared by their cosine.
    """
    if embeddings.shape != shape:
        message = f"embeddings must have the shape {shape}, got {embeddings.shape}"
        raise GalleryError(message)
    if not are_unit_rows(embeddings).all():
        message = "embeddings must be finite rows of unit length, got others; divide each by its L2 norm first"
        raise GalleryError(message)
