"""The gallery file: one SQLite file that holds photos, their embeddings and the card of the model that made them.

Copy the file to another machine and it answers there. A batch is a transaction: after a kill at any moment the file
opens and holds every batch that was committed. An id stands for one embedding for ever: a photo whose embedding
changes gets a new id, and no id comes twice, so that whatever was derived from the file can be brought up to date by
comparing ids. docs/gallery-format.md describes the tables.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from placewise.core import FileState
from placewise.errors import GalleryError, ModelMismatchError, OptionError
from placewise.features import KIND as FEATURES
from placewise.gallery_schema import GALLERY_FORMAT, Ranking, card_from_json, card_to_json, setting_rows
from placewise.models.cards import LEARNED
from placewise.models.looks import differs_in_look
from placewise.photo_table import COLUMNS, PhotoTable, row_of
from placewise.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from placewise.core import Embeddings, ModelCard, Photo

Storage = Literal["float32", "float16"]
"""How embeddings are kept: float16 halves the file and the memory and moves similarities by less than 0.001."""

_DTYPES: dict[Storage, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}

_REVISIONS_KEPT = 10_000
_ROWS = 4096
"""Rows read at a time: what is read of a large file is never in memory twice."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole gallery in memory: rows belong together by position, in the order of their ids.

    Attributes:
        ids: ``(N,)`` int64, ascending.
        photos: N photos, all of split ``gallery``.
        embeddings: ``(N, dim)`` float32, rows of unit length.
    """

    ids: NDArray[np.int64]
    photos: tuple[Photo, ...]
    embeddings: Embeddings


class Origin(NamedTuple):
    """Where photos came from: the source's folder on the machine that indexed it, and what was put before its paths."""

    root: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a gallery knows of one of its photos' files.

    Attributes:
        state: the file when it was embedded; its thumbnail is not loaded.
        origin: the source that it came from; None where it came without.
        has_thumbnail: whether the gallery keeps one.
        has_features: whether it keeps local features of the present kind.
    """

    state: FileState
    origin: Origin | None
    has_thumbnail: bool
    has_features: bool = False


class GalleryFile:
    """An open gallery file. Use it as a context manager, so that it is closed into one clean file.

    Threads may share it. ``store`` is for the modules of this package that work on the tables.
    """

    def __init__(self, store: Store, card: ModelCard) -> None:
        self.store = store
        self.card = card
        self.storage: Storage = "float16" if self._setting("storage") == "float16" else "float32"
        self._dtype: np.dtype[Any] = _DTYPES[self.storage]

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open an existing gallery.

        Raises:
            GalleryError: if it is missing, damaged, another program's, or of another format.
        """
        store = Store(Path(path), GALLERY_FORMAT, create=False)
        try:
            card = _stored_card(store)
            if card is None:
                message = f"gallery {path} must hold a model card, got none; index photos into it first"
                raise GalleryError(message)
            return cls(store, card)
        except BaseException:
            store.close()
            raise

    @classmethod
    def open_for(  # noqa: PLR0913  # each is a choice that a user makes
        cls,
        path: Path | str,
        card: ModelCard,
        *,
        storage: Storage | None = None,
        thumbnails: bool | None = None,
        features: bool | None = None,
        ranking: Ranking | None = None,
        vocabulary: bytes | None = None,
    ) -> Self:
        """Open a gallery for writing embeddings of the model ``card``; make it where it is not there.

        A new gallery is begun in one transaction: it has all of this, or was not begun.

        Args:
            path: the file.
            card: the model.
            storage: how a new gallery keeps embeddings (float32 if None); an existing one must agree.
            thumbnails: whether photos that are indexed from now on keep a thumbnail; None leaves it as it is.
            features: whether they keep local features; None leaves it as it is, or as the ranking wants.
            ranking: how hits are ranked from now on; None leaves it as it is.
            vocabulary: what the model has learned from photos, for a new gallery to keep.

        Raises:
            GalleryError: if it cannot be opened or made.
            ModelMismatchError: if it holds another model's embeddings; the file is left as it was.
            OptionError: if the storage is neither, or the ranking none.
        """
        if storage not in {None, *_DTYPES}:
            message = f"storage must be float32 or float16, got {storage!r}"
            raise OptionError(message)
        store = Store(Path(path), GALLERY_FORMAT, create=True)
        try:
            if _stored_card(store) is None:
                _check_learned(path, card, vocabulary)
                rows = {"card": card_to_json(card), "storage": storage or "float32", "vocabulary": vocabulary}
                _begin(store, {**rows, **setting_rows(thumbnails, features, ranking)})
            gallery = cls(store, _stored_card(store) or card)
            gallery.check_model(card)
            gallery.check_settings(card, storage)
            gallery.keep(thumbnails=thumbnails, features=features, ranking=ranking)
        except BaseException:
            store.close()
            raise
        return gallery

    def keep(
        self, *, thumbnails: bool | None = None, features: bool | None = None, ranking: Ranking | None = None
    ) -> None:
        """Say how hits are ranked and what photos keep that are indexed from now on; None leaves it as it is.

        Local features that only the ranking before wanted are kept no more. Another ranking than before is a new
        revision, since similarities are others.

        Raises:
            OptionError: if the ranking is none.
        """
        wanted = setting_rows(thumbnails, features, ranking, asked=self._setting("features") == "yes")
        changed = {key: value for key, value in wanted.items() if self._setting(key) != value}
        if not changed:
            return
        with self.store.transaction():
            self.store.execute_many("DELETE FROM meta WHERE key = ?", ((key,) for key in changed))
            rows = [(key, value) for key, value in changed.items() if value is not None]
            self.store.execute_many("INSERT INTO meta VALUES (?, ?)", rows)
            if "ranking" in changed:
                self.new_revision(0)

    def _setting(self, key: str) -> str | None:
        rows = self.store.execute("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    @property
    def path(self) -> Path:
        """The gallery's file."""
        return self.store.path

    @property
    def keeps_thumbnails(self) -> bool:
        """Whether photos that are indexed keep a thumbnail."""
        return self._setting("thumbnails") == "yes"

    @property
    def keeps_features(self) -> bool:
        """Whether photos that are indexed keep local features, to be verified by."""
        return self._setting("features") in {"yes", "preset"}

    @property
    def calibration(self) -> str | None:
        """How the gallery tells KNOWN from UNKNOWN, as `put_calibration` took it."""
        return self._setting("calibration")

    @property
    def ranking(self) -> str | None:
        """How hits are ranked, as `put_ranking` took it; None where by plain similarity."""
        return self._setting("ranking")

    @property
    def preset(self) -> str:
        """The name of the preset that the ranking came with; empty where it came with none."""
        return self._setting("preset") or ""

    @property
    def vocabulary(self) -> bytes | None:
        """What its model has learned from photos, where the model is such a one; the card tells the digest."""
        rows = self.store.execute("SELECT value FROM meta WHERE key = 'vocabulary'")
        return bytes(rows[0][0]) if rows and isinstance(rows[0][0], bytes) else None

    def check_model(self, card: ModelCard) -> None:
        """Refuse a model whose embeddings cannot be compared with the stored ones.

        Raises:
            ModelMismatchError: if the fingerprints differ.
        """
        if card.fingerprint == self.card.fingerprint:
            return
        if differs_in_look(card, self.card):
            message = (
                f"gallery {self.path} must be used with the look that it was embedded with, {self.card.sight}, "
                f"got {card.sight}; leave look and preset out to go on as it was begun, or index into another file"
            )
        else:
            message = (
                f"gallery {self.path} must be used with the model it was made with, {_described(self.card)}, "
                f"got {_described(card)}; leave model and weights out to go on with its own, or index into another file"
            )
        raise ModelMismatchError(message)

    def check_settings(self, card: ModelCard, storage: Storage | None = None) -> None:
        """Refuse to mix exact embeddings with fast ones: the differences are small, and nobody would find them.

        Raises:
            ModelMismatchError: if precision or decoding differ.
            GalleryError: if a storage is given that is not the gallery's.
        """
        if storage not in {None, self.storage}:
            message = (
                f"gallery {self.path} must be written as it was begun, in {self.storage}, got {storage}; "
                f"leave the storage out, or make another gallery and merge this one into it"
            )
            raise GalleryError(message)
        if (card.precision, card.decode) != (self.card.precision, self.card.decode):
            message = (
                f"gallery {self.path} must be written as it was begun, with --precision {self.card.precision} "
                f"--decode {self.card.decode}, got {card.precision} and {card.decode}; use these or another file"
            )
            raise ModelMismatchError(message)

    def __len__(self) -> int:
        ((count,),) = self.store.execute("SELECT count(*) FROM photos")
        return int(count)

    # ---- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent state of the gallery for all that is read inside, whatever others write meanwhile."""
        with self.store.reading():
            yield

    @property
    def revision(self) -> str:
        """A text that differs after every change of what hits are ranked by, also between copies that went apart.

        That is a label, an embedding, the ranking and, where it verifies, whether a photo has local features.
        """
        rows = self.store.execute("SELECT token FROM revisions ORDER BY number DESC LIMIT 1")
        return str(rows[0][0]) if rows else ""

    def changes_since(self, revision: str) -> int | None:
        """How many embeddings were added or removed since the gallery was at this revision.

        None if it never was, or too long ago. Otherwise each id of that time still means the same embedding.
        """
        rows = self.store.execute(
            "SELECT (SELECT sum(changed) FROM revisions WHERE number > earlier.number) FROM revisions AS earlier "
            "WHERE token = ?",
            (revision,),
        )
        return int(rows[0][0] or 0) if rows else None

    def is_reread_since(self, revision: str) -> bool:
        """Whether photos have other labels, or are ranked in another way or by more features, than at this revision."""
        rows = self.store.execute(
            "SELECT count(*) FROM revisions AS earlier JOIN revisions AS later ON later.number > earlier.number "
            "WHERE earlier.token = ? AND later.changed = 0",
            (revision,),
        )
        return bool(rows[0][0])

    def ids(self) -> NDArray[np.int64]:
        """The ids of all photos, ascending."""
        rows = self.store.execute("SELECT id FROM photos ORDER BY id")
        return np.array([number for (number,) in rows], dtype=np.int64)

    def files(self) -> dict[str, FileRecord]:
        """Path → what is known of the file that was embedded."""
        rows = self.store.execute(
            "SELECT path, content, size, mtime_ns, ctime_ns, root, prefix, thumbnails.id IS NOT NULL, "
            "features.id IS NOT NULL FROM photos LEFT JOIN sources ON sources.id = source "
            "LEFT JOIN thumbnails ON thumbnails.id = photos.id "
            "LEFT JOIN features ON features.id = photos.id AND kind = ?",
            (FEATURES,),
        )
        return {
            path: FileRecord(
                FileState(content, None if size is None else (size, mtime, ctime)),
                None if root is None else Origin(root, prefix),
                bool(thumbnail),
                bool(local),
            )
            for path, content, size, mtime, ctime, root, prefix, thumbnail, local in rows
        }

    def table(self) -> PhotoTable:
        """The photos, as of now.

        Raises:
            GalleryError: if a value is damaged.
        """
        try:
            with self.reading():
                return PhotoTable(self.store.blocks(f"SELECT id, {COLUMNS} FROM photos ORDER BY id", _ROWS))
        except (ValueError, TypeError, OverflowError, OptionError) as error:
            message = f"gallery {self.path} must hold readable photos, got {error}: it is damaged; restore a copy"
            raise GalleryError(message) from error

    def matrix(self, dtype: type[np.floating[Any]] = np.float32) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """All ids ``(N,)``, ascending, and their embeddings ``(N, dim)`` in the wanted ``dtype``.

        Raises:
            GalleryError: if an embedding is damaged.
        """
        with self.reading():
            ((count,),) = self.store.execute("SELECT count(*) FROM embeddings")
            ids, matrix = np.empty(count, dtype=np.int64), np.empty((count, self.card.dim), dtype=dtype)
            start = 0
            for rows in self.store.blocks("SELECT id, vector FROM embeddings ORDER BY id", _ROWS):
                part = slice(start, start := start + len(rows))
                ids[part], matrix[part] = [row[0] for row in rows], self._vectors([row[1] for row in rows])
        return ids, matrix

    def vectors(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
        """The ids that are there, ascending, and their embeddings, float32.

        Raises:
            GalleryError: if an embedding is damaged.
        """
        wanted = json.dumps(np.asarray(ids).tolist())
        rows = self.store.execute(
            "SELECT id, vector FROM embeddings WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id", (wanted,)
        )
        found = np.array([row[0] for row in rows], dtype=np.int64)
        return found, self._vectors([row[1] for row in rows]).astype(np.float32, copy=False)

    def vector_of(self, path: str, digest: bytes) -> Embeddings | None:
        """The embedding ``(dim,)`` of the photo of this path, if its file's bytes had this SHA-256."""
        rows = self.store.execute(
            "SELECT vector FROM photos JOIN embeddings USING (id) WHERE path = ? AND content = ?", (path, digest)
        )
        return self._vectors([rows[0][0]])[0].astype(np.float32, copy=False) if rows else None

    def _vectors(self, blobs: Sequence[Any]) -> NDArray[Any]:
        try:
            vectors: NDArray[Any] = np.frombuffer(b"".join(blobs), dtype=self._dtype).reshape(len(blobs), self.card.dim)
            check_embeddings(vectors, (len(blobs), self.card.dim))
        except (TypeError, ValueError, GalleryError) as error:
            message = (
                f"gallery {self.path} must hold {self.card.dim} finite values of unit length for each photo, got "
                f"others: it is damaged; restore a copy or make it anew"
            )
            raise GalleryError(message) from error
        return vectors

    def contents(self) -> Contents:
        """Everything, as of now."""
        with self.reading():
            (ids, embeddings), table = self.matrix(), self.table()
        if not np.array_equal(ids, table.ids):
            message = f"gallery {self.path} must hold one embedding for each photo, got others; restore a copy"
            raise GalleryError(message)
        return Contents(ids, table.photos(), embeddings)

    def thumbnail(self, number: int) -> bytes | None:
        """The small JPEG of the photo with this id, or None."""
        rows = self.store.execute("SELECT jpeg FROM thumbnails WHERE id = ?", (int(number),))
        return bytes(rows[0][0]) if rows else None

    def id_of(self, path: str) -> int:
        """The id of the photo of this path.

        Raises:
            GalleryError: if there is none.
        """
        rows = self.store.execute("SELECT id FROM photos WHERE path = ?", (path,))
        if not rows:
            message = f"a photo must be in gallery {self.path}, got {path!r}; name one as its hits do"
            raise GalleryError(message)
        return int(rows[0][0])

    def path_of(self, number: int) -> str:
        """The path of the photo with this id; empty if it is there no more."""
        rows = self.store.execute("SELECT path FROM photos WHERE id = ?", (int(number),))
        return str(rows[0][0]) if rows else ""

    def features(self, kind: str, ids: Iterable[int]) -> dict[int, bytes]:
        """Id → local features of one kind, as `put_features` took them, for those photos that have them.

        What is damaged is bytes, too: `placewise.kept_features` judges.
        """
        wanted = json.dumps([int(number) for number in ids])
        return dict(
            self.store.execute(
                "SELECT id, CAST(data AS BLOB) FROM features WHERE kind = ? AND id IN (SELECT value FROM json_each(?))",
                (kind, wanted),
            )
        )

    @property
    def has_features(self) -> bool:
        """Whether any photo has local features of the present kind."""
        ((found,),) = self.store.execute("SELECT EXISTS (SELECT 1 FROM features WHERE kind = ?)", (FEATURES,))
        return bool(found)

    @property
    def lacking_features(self) -> int:
        """How many photos have no local features of the present kind."""
        counted = "SELECT (SELECT count(*) FROM photos) - (SELECT count(*) FROM features WHERE kind = ?)"
        ((lacking,),) = self.store.execute(counted, (FEATURES,))
        return int(lacking)

    # ---- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Several changes as one: all of them are kept, or none.

        Raises:
            GalleryError: if the file cannot be written.
        """
        with self.store.transaction():
            yield

    def upsert(
        self,
        photos: Sequence[Photo],
        embeddings: Embeddings,
        states: Sequence[FileState] | None = None,
        *,
        origin: Origin | None = None,
    ) -> None:
        """Add photos, replacing those whose path is already there, all or nothing.

        Args:
            photos: N photos with distinct paths; their split is not stored, all are gallery photos from now on.
            embeddings: ``(N, dim)`` float32 or float16, rows of unit length.
            states: what was seen of their N files.
            origin: the source that they come from.

        Raises:
            GalleryError: if shapes or values do not fit, or the file cannot be written.
        """
        check_embeddings(embeddings, (len(photos), self.card.dim))
        states = states or [FileState()] * len(photos)
        if len({photo.path for photo in photos}) < len(photos) or len(states) != len(photos):
            message = f"photos must have distinct paths and a file state each, got {len(photos)} and {len(states)}"
            raise GalleryError(message)
        if not photos:
            return
        blobs = [row.tobytes() for row in embeddings.astype(self._dtype, copy=False)]
        with self.store.transaction():
            paths = ((str(photo.path),) for photo in photos)
            replaced = self.store.execute_many("DELETE FROM photos WHERE path = ?", paths)
            source = self._source(origin)
            first = self.next_id()
            self.store.execute_many(
                f"INSERT INTO photos (id, {COLUMNS}, content, size, mtime_ns, ctime_ns, source) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (number, *row_of(photo), state.digest, *(state.stamp or (None,) * 3), source)
                    for number, (photo, state) in enumerate(zip(photos, states, strict=True), first)
                ),
            )
            self.store.execute_many(
                "INSERT INTO embeddings VALUES (?, ?, ?)",
                ((number, blob, zlib.crc32(blob)) for number, blob in enumerate(blobs, first)),
            )
            self.store.execute_many(
                "INSERT INTO thumbnails VALUES (?, ?)",
                ((number, state.thumbnail) for number, state in enumerate(states, first) if state.thumbnail),
            )
            self._keep_features(
                FEATURES, {number: state.features for number, state in enumerate(states, first) if state.features}
            )
            self.new_revision(replaced + len(photos))

    def relabel(self, photos: Sequence[Photo], *, paths: Sequence[str] | None = None) -> int:
        """Give photos that are there their present name, place, position and sequence; returns how many differed.

        Args:
            photos: N photos as they should be.
            paths: the N paths under which the gallery knows them, where those have changed.
        """
        paths = [str(photo.path) for photo in photos] if paths is None else paths
        rows = [(row_of(photo), path) for photo, path in zip(photos, paths, strict=True)]
        with self.store.transaction():
            changed = self.store.execute_many(
                f"UPDATE photos SET ({COLUMNS}) = (?, ?, ?, ?, ?, ?, ?) "
                f"WHERE path = ? AND ({COLUMNS}) IS NOT (?, ?, ?, ?, ?, ?, ?)",
                ((*row, path, *row) for row, path in rows),
            )
            if changed > 0:
                self.new_revision(0)
        return max(0, changed)

    def note(self, paths: Sequence[str], states: Sequence[FileState], *, origin: Origin) -> None:
        """Keep what was seen of the files of photos that are there: no label and no embedding changes.

        Args:
            paths: N photos of the gallery.
            states: what was seen of their N files; a thumbnail and local features are added where there are some.
            origin: the source that they come from.
        """
        with self.store.transaction():
            source = self._source(origin)
            self.store.execute_many(
                "UPDATE photos SET content = ?, size = ?, mtime_ns = ?, ctime_ns = ?, source = ? WHERE path = ?",
                (
                    (state.digest, *(state.stamp or (None,) * 3), source, path)
                    for path, state in zip(paths, states, strict=True)
                ),
            )
            self.store.execute_many(
                "INSERT OR REPLACE INTO thumbnails SELECT id, ? FROM photos WHERE path = ?",
                ((state.thumbnail, path) for path, state in zip(paths, states, strict=True) if state.thumbnail),
            )
            seen = {path: state.features for path, state in zip(paths, states, strict=True) if state.features}
            rows = self.store.execute(
                "SELECT id, path FROM photos WHERE path IN (SELECT value FROM json_each(?))", (json.dumps([*seen]),)
            )
            self.put_features(FEATURES, {number: seen[path] for number, path in rows})

    def matching(
        self, *, paths: Iterable[str] = (), places: Iterable[str] = (), globs: Iterable[str] = ()
    ) -> list[str]:
        """The paths of the photos that one of the conditions names: a path, a place, or a pattern of paths.

        In a pattern ``*`` stands for any characters, also ``/``, ``?`` for one, ``[ab]`` for one of these.
        """
        found: set[str] = set()
        for column, operator, values in (("path", "=", paths), ("place", "=", places), ("path", "GLOB", globs)):
            for value in values:
                rows = self.store.execute(f"SELECT path FROM photos WHERE {column} {operator} ?", (value,))
                found.update(path for (path,) in rows)
        return sorted(found)

    def remove(self, paths: Iterable[str]) -> int:
        """Remove photos by path, in one transaction, and shrink the file; returns how many were there."""
        with self.store.transaction():
            removed = max(0, self.store.execute_many("DELETE FROM photos WHERE path = ?", ((path,) for path in paths)))
            if removed:
                self.new_revision(removed)
        if removed:
            self.store.shrink()
        return removed

    def put_features(self, kind: str, features: Mapping[int, bytes]) -> None:
        """Keep local features of one kind beside their photos: id → bytes, replacing earlier ones.

        Where hits are verified and a photo had none, that is a new revision, since hits are in another order.
        """
        with self.store.transaction():
            if self._keep_features(kind, features) and kind == FEATURES and self._verifies:
                self.new_revision(0)

    def _keep_features(self, kind: str, features: Mapping[int, bytes]) -> bool:
        """The same in the transaction of a caller, who makes the revision; returns whether a photo had none."""
        rows = [(data, int(number), kind) for number, data in features.items()]
        added = self.store.execute_many("INSERT OR IGNORE INTO features (data, id, kind) VALUES (?, ?, ?)", rows)
        others = ((*row, row[0]) for row in rows)
        self.store.execute_many("UPDATE features SET data = ? WHERE id = ? AND kind = ? AND data IS NOT ?", others)
        return added > 0

    @property
    def _verifies(self) -> bool:
        """Whether the ranking verifies; a damaged one, which nobody answers by, does not."""
        try:
            return Ranking(self.ranking).verifies
        except OptionError:
            return False

    def put_ranking(self, stack: str | None, *, preset: str = "") -> None:
        """Keep how hits are ranked, a stack as JSON, None for by plain similarity; see `keep`."""
        self.keep(ranking=Ranking(stack, preset))

    def put_calibration(self, text: str | None) -> None:
        """Keep how the gallery tells KNOWN from UNKNOWN, replacing what was kept before; None for not at all."""
        with self.store.transaction():
            self.store.execute("DELETE FROM meta WHERE key = 'calibration'")
            if text is not None:
                self.store.execute("INSERT INTO meta VALUES ('calibration', ?)", (text,))

    def new_revision(self, changed: int) -> None:
        """Mark that so many embeddings were added or removed, in the transaction that did it."""
        # Random and not counted: copies of a gallery that are changed differently must not come to the same number.
        token = secrets.token_hex(8)
        self.store.execute("INSERT INTO revisions (token, changed) VALUES (?, ?)", (token, changed))
        self.store.execute(
            "DELETE FROM revisions WHERE number <= (SELECT max(number) FROM revisions) - ?", (_REVISIONS_KEPT,)
        )

    def next_id(self) -> int:
        """The id of the next photo: greater than any that ever was."""
        rows = self.store.execute("SELECT seq FROM sqlite_sequence WHERE name = 'photos'")
        return int(rows[0][0]) + 1 if rows else 1

    def _source(self, origin: Origin | None) -> int | None:
        if origin is None:
            return None
        self.store.execute("INSERT OR IGNORE INTO sources (root, prefix) VALUES (?, ?)", origin)
        ((number,),) = self.store.execute("SELECT id FROM sources WHERE root = ? AND prefix = ?", origin)
        return int(number)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stored_card(store: Store) -> ModelCard | None:
    rows = store.execute("SELECT value FROM meta WHERE key = 'card'")
    return card_from_json(str(rows[0][0]), store.path) if rows else None


def begun_card(path: Path | str) -> ModelCard | None:
    """The card of the model that a gallery was begun with; None where none was, as when a kill left an empty file.

    Raises:
        GalleryError: if the file is something else.
    """
    if not Path(path).exists():
        return None
    store = Store(Path(path), GALLERY_FORMAT, create=True)
    try:
        return _stored_card(store)
    finally:
        store.close()


def _begin(store: Store, rows: Mapping[str, str | bytes | None]) -> None:
    """Write what a new gallery begins with; nothing where another process has meanwhile."""
    with store.transaction():
        if _stored_card(store) is None:
            given = [(key, value) for key, value in rows.items() if value is not None]
            store.execute_many("INSERT OR REPLACE INTO meta VALUES (?, ?)", given)


def _check_learned(path: Path | str, card: ModelCard, vocabulary: bytes | None) -> None:
    """Refuse to begin a gallery that could not be asked: what its model has learned must come with it."""
    if card.architecture not in LEARNED or hashlib.sha256(vocabulary or b"").hexdigest() == card.weights_sha256:
        return
    got = "none" if vocabulary is None else "another"
    message = (
        f"gallery {path} must begin with the vocabulary that {card.name} has learned, got {got}; "
        f"begin it with 'placewise index' or fit the model before"
    )
    raise GalleryError(message)


def _described(card: ModelCard) -> str:
    variant = f" in int8 ({card.quantised[:8]})" if card.quantised else ""
    weights = card.weights_file or "no weights"
    return f"{card.name}{variant} with {weights}, {card.sight} ({card.fingerprint[:8]})"


def convert_vector(blob: bytes, storage: Storage, wanted: Storage) -> bytes:
    """A stored embedding as another storage keeps it."""
    return blob if storage == wanted else np.frombuffer(blob, _DTYPES[storage]).astype(_DTYPES[wanted]).tobytes()


def are_unit_rows(embeddings: Embeddings) -> NDArray[np.bool_]:
    """Which rows of ``(N, dim)`` are finite and of unit length: ``(N,)``."""
    rows = embeddings.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        usable: NDArray[np.bool_] = np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-3  # NaN is less than nothing
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
