"""Single photos of a gallery under their ids: looked at, by name or a page at a time, added from bytes, removed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from placewise import images
from placewise.checking import features_of
from placewise.core import FileState, Photo, Position
from placewise.errors import GalleryError, NameTakenError, OptionError
from placewise.features import KIND as FEATURES
from placewise.indexing import THUMBNAIL_SIDE
from placewise.kept_features import are_whole
from placewise.photo_table import COLUMNS, photo_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from placewise.core import Embeddings
    from placewise.gallery_file import GalleryFile

_SELECT = f"SELECT photos.id, thumbnails.id IS NOT NULL, {COLUMNS} FROM photos LEFT JOIN thumbnails USING (id)"
_LONGEST = 255
"""Characters of a photo's name or place that comes from elsewhere."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo of a gallery.

    Attributes:
        id: stands for one embedding for ever, and never comes twice.
        photo: its name and labels.
        has_thumbnail: whether the gallery keeps a small JPEG of it.
    """

    id: int
    photo: Photo
    has_thumbnail: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo that came as bytes: the original is not kept.

    Attributes:
        digest: the SHA-256 of its bytes.
        thumbnail: a small JPEG of it.
        features: the bytes of its local features; None where none are kept.
    """

    digest: bytes
    thumbnail: bytes
    features: bytes | None = None

    @classmethod
    def of(cls, data: bytes, *, features: bool = False) -> Upload:
        """What is kept of a photo's bytes, its local features among it if they are wanted.

        Raises:
            ImageError: if they cannot be decoded.
        """
        small = images.thumbnail(images.decode(data, at_least=THUMBNAIL_SIDE), longer_side=THUMBNAIL_SIDE)
        return cls(hashlib.sha256(data).digest(), small, features_of(data).to_bytes() if features else None)

    def photo(self, *, name: str = "", place: str = "", position: Position | None = None) -> Photo:
        """The photo under a name in the gallery; without one, under a name made of its content.

        Raises:
            OptionError: if the name is no relative path, or name or place hold what cannot be shown.
        """
        path = PurePosixPath(name or f"uploads/{self.digest.hex()[:24]}")
        if path.is_absolute() or ".." in path.parts or str(path) != (name or str(path)) or not _is_text(str(path)):
            message = f"a photo's name must be a relative path such as square/1.jpg, got {name!r}; give another one"
            raise OptionError(message)
        if place and not _is_text(place):
            message = f"a place must have 1 to {_LONGEST} characters that can be shown, got {place!r}; give another one"
            raise OptionError(message)
        return Photo(path, "gallery", place or None, position)


def _is_text(text: str) -> bool:
    return text.isprintable() and text == text.strip() and 0 < len(text) <= _LONGEST


def entry(gallery: GalleryFile, number: int) -> Entry | None:
    """The photo with this id, or None."""
    rows = gallery.store.execute(f"{_SELECT} WHERE photos.id = ?", (number,))
    return _entries(gallery, rows)[0] if rows else None


def entries_of(gallery: GalleryFile, paths: Iterable[str]) -> dict[str, Entry]:
    """Path → photo, for those of the paths that the gallery holds."""
    wanted = json.dumps(sorted(set(paths)))
    rows = gallery.store.execute(f"{_SELECT} WHERE path IN (SELECT value FROM json_each(?))", (wanted,))
    return {str(found.photo.path): found for found in _entries(gallery, rows)}


def entries_after(gallery: GalleryFile, after: int, limit: int, *, place: str | None = None) -> tuple[Entry, ...]:
    """Up to ``limit`` photos with ids greater than ``after``, ascending; of one place, if that is given."""
    rows = gallery.store.execute(
        f"{_SELECT} WHERE photos.id > ? AND (? IS NULL OR place = ?) ORDER BY photos.id LIMIT ?",
        (after, place, place, limit),
    )
    return _entries(gallery, rows)


def entries_with_position(gallery: GalleryFile, limit: int) -> tuple[tuple[Entry, ...], int]:
    """Up to ``limit`` photos that have a position, spread evenly over the ids, and how many there are in all."""
    with gallery.reading():
        ((count,),) = gallery.store.execute("SELECT count(lat) FROM photos")
        step = -(-count // limit) if count else 1
        rows = gallery.store.execute(
            f"WITH placed AS (SELECT id AS number, row_number() OVER (ORDER BY id) AS row FROM photos "
            f"WHERE lat IS NOT NULL) {_SELECT} JOIN placed ON number = photos.id WHERE row % ? = 0 ORDER BY photos.id",
            (step,),
        )
    return _entries(gallery, rows), int(count)


def add_photo(gallery: GalleryFile, photo: Photo, upload: Upload, embedding: Embeddings) -> tuple[Entry, bool]:
    """Add one photo, in one transaction that is on the disk on return; returns it, and whether it is new.

    A photo that is there under this path with the same content is left as it is, but for local features: they are
    kept where the gallery has none of it, or damaged ones.

    Args:
        gallery: where it goes.
        photo: its path and labels.
        upload: what is kept of its bytes.
        embedding: ``(dim,)``, of unit length.

    Raises:
        NameTakenError: if the path stands for another photo.
        GalleryError: if the file cannot be written.
    """
    path = str(photo.path)
    with gallery.batch():
        rows = gallery.store.execute("SELECT content FROM photos WHERE path = ?", (path,))
        if rows and rows[0][0] != upload.digest:
            message = f"a name must stand for one photo, got another photo for {path}; remove that or give another name"
            raise NameTakenError(message)
        if not rows:
            state = FileState(upload.digest, thumbnail=upload.thumbnail, features=upload.features)
            gallery.upsert([photo], embedding[None, :], [state])
        elif upload.features and not are_whole(gallery, path):
            gallery.put_features(FEATURES, {gallery.id_of(path): upload.features})
        return entries_of(gallery, [path])[path], not rows


def remove_photo(gallery: GalleryFile, number: int) -> bool:
    """Remove the photo with this id; returns whether there was one.

    Raises:
        GalleryError: if the file cannot be written.
    """
    with gallery.batch():
        found = entry(gallery, number)
        return found is not None and bool(gallery.remove([str(found.photo.path)]))


def _entries(gallery: GalleryFile, rows: Sequence[tuple[Any, ...]]) -> tuple[Entry, ...]:
    try:
        return tuple(Entry(int(row[0]), photo_of(row[2:]), bool(row[1])) for row in rows)
    except (ValueError, TypeError, OverflowError, OptionError) as error:
        message = f"gallery {gallery.path} must hold readable photos, got {error}: it is damaged; restore a copy"
        raise GalleryError(message) from error
