"""The gallery: one SQLite file that holds photos, their embeddings and the card of the model that made them.

Copy the file to another machine and it answers there. A batch is a transaction: after a kill at any moment the file
opens and holds every batch that was committed.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from placewise.core import InputRule, ModelCard, Photo, Position
from placewise.errors import GalleryError, ModelMismatchError, OptionError
from placewise.store import Format, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from placewise.core import Embeddings

_FORMAT = Format(
    noun="gallery",
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
            stored = _stored_card(store)
            if stored is None:
                text = json.dumps(dataclasses.asdict(card))
                with store.transaction():
                    store.execute("INSERT INTO meta VALUES ('card', ?)", (text,))
            gallery = cls(store, stored or card)
            gallery.check_model(card)
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
                f"gallery {self.path} must be used with the model it was made with, {self.card.name} "
                f"({self.card.fingerprint[:8]}), got {card.name} ({card.fingerprint[:8]}); "
                f"use that model or index into another file"
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
        _check_embeddings(embeddings, (len(photos), self.card.dim))
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
        blob = b"".join(row[1] for row in rows)
        embeddings = np.frombuffer(blob, dtype="<f4").astype(np.float32, copy=False)
        if embeddings.size != len(rows) * self.card.dim:
            message = f"gallery {self.path} is damaged: embeddings must have {self.card.dim} values; restore a copy"
            raise GalleryError(message)
        return Contents(
            ids=np.array([row[0] for row in rows], dtype=np.int64),
            photos=tuple(_photo(row[2:]) for row in rows),
            embeddings=embeddings.reshape(len(rows), self.card.dim),
        )

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def export_npz(gallery: Gallery, path: Path) -> int:
    """Write embeddings, paths, places and the model card to a NumPy archive; returns the number of photos.

    Arrays: ``embeddings`` ``(N, dim)`` float32, ``paths`` ``(N,)`` str, ``places`` ``(N,)`` str (empty where
    unknown), ``positions`` ``(N, 3)`` float64 (lat, lon, heading; NaN where unknown), ``sequences`` ``(N,)`` str,
    ``frames`` ``(N,)`` int64 (-1 where unknown), ``card`` a JSON text. None needs pickle to be read.
    """
    contents = gallery.contents()
    photos = contents.photos
    arrays = {
        "embeddings": contents.embeddings,
        "paths": np.array([str(photo.path) for photo in photos], dtype=str),
        "places": np.array([photo.place or "" for photo in photos], dtype=str),
        "positions": np.array([_position_row(photo.position) for photo in photos], dtype=np.float64).reshape(-1, 3),
        "sequences": np.array([photo.sequence or "" for photo in photos], dtype=str),
        "frames": np.array([-1 if photo.frame is None else photo.frame for photo in photos], dtype=np.int64),
        "card": np.array(json.dumps(dataclasses.asdict(gallery.card))),
    }
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
    except OSError as error:
        message = f"{path} must be writable, got {error}; name another file"
        raise GalleryError(message) from error
    return len(photos)


def import_npz(path: Path, gallery_path: Path, *, card: ModelCard | None = None) -> int:
    """Read an archive of `export_npz` into a gallery file, in one transaction; returns the number of photos.

    Archives with only ``embeddings`` and ``paths`` are taken too, given the ``card`` of the model that made them.

    Raises:
        GalleryError: if the archive is damaged or incomplete, or its embeddings are not of unit length.
        ModelMismatchError: if the gallery holds another model's embeddings.
    """
    arrays = _load_npz(path)
    if "card" in arrays:
        card = _card_from_json(str(arrays["card"]), path)
    elif card is None:
        message = f"{path} must name its model in an array 'card', got none; say which model made it with --model"
        raise GalleryError(message)
    photos, embeddings = _rows_from_npz(arrays, path)
    _check_embeddings(embeddings, (len(photos), card.dim))
    with Gallery.open_for(gallery_path, card) as gallery:
        gallery.upsert(photos, [None] * len(photos), embeddings)
    return len(photos)


def _load_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        message = f"{path} must be a readable .npz archive of plain arrays, got {error}"
        raise GalleryError(message) from error
    missing = sorted({"embeddings", "paths"} - arrays.keys())
    if missing:
        message = f"{path} must hold the arrays embeddings and paths, got none named {' or '.join(missing)}"
        raise GalleryError(message)
    return arrays


def _rows_from_npz(arrays: dict[str, NDArray[np.generic]], path: Path) -> tuple[list[Photo], Embeddings]:
    count = len(arrays["paths"])
    places = arrays.get("places", np.full(count, ""))
    positions = arrays.get("positions", np.full((count, 3), np.nan))
    sequences = arrays.get("sequences", np.full(count, ""))
    frames = arrays.get("frames", np.full(count, -1))
    try:
        photos = [
            Photo(
                path=PurePosixPath(str(name)),
                split="gallery",
                place=str(place) or None,
                position=None if np.isnan(lat) else Position(float(lat), float(lon), _none_if_nan(heading)),
                sequence=str(sequence) or None,
                frame=None if frame < 0 else int(frame),
            )
            for name, place, (lat, lon, heading), sequence, frame in zip(
                arrays["paths"], places, positions, sequences, frames, strict=True
            )
        ]
        return photos, arrays["embeddings"].astype(np.float32, copy=False)
    except (ValueError, TypeError, OptionError) as error:
        message = f"{path} must hold arrays that belong together row by row, got {error}"
        raise GalleryError(message) from error


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _position_row(position: Position | None) -> tuple[float, float, float]:
    if position is None:
        return (np.nan, np.nan, np.nan)
    return (position.lat, position.lon, np.nan if position.heading is None else position.heading)


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
    return _card_from_json(str(rows[0][0]), store.path) if rows else None


def _card_from_json(text: str, path: Path) -> ModelCard:
    try:
        fields = json.loads(text)
        rule = fields.pop("input")
        rule = InputRule(**{**rule, "mean": tuple(rule["mean"]), "std": tuple(rule["std"])})
        return ModelCard(**fields, input=rule)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{path} must hold a readable model card, got {error!r}"
        raise GalleryError(message) from error


def _check_embeddings(embeddings: Embeddings, shape: tuple[int, int]) -> None:
    if embeddings.shape != shape:
        message = f"embeddings must have the shape {shape}, got {embeddings.shape}"
        raise GalleryError(message)
    lengths = np.linalg.norm(embeddings, axis=1)
    if not np.allclose(lengths, 1, atol=1e-3):  # NaN fails too
        message = "embeddings must be finite rows of unit length, got others; divide each by its L2 norm first"
        raise GalleryError(message)
