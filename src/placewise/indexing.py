"""Source → gallery: what is new, changed, moved, renamed in place, or gone. Nothing is embedded twice."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from placewise import images
from placewise.checking import features_of
from placewise.core import FileState
from placewise.embed import Failure, Seen, embed_photos
from placewise.errors import GalleryError, OptionError
from placewise.gallery_file import Origin
from placewise.kept_features import are_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.cache import Cache
    from placewise.core import Embedder, Embeddings, Photo, Source
    from placewise.embed import Batch
    from placewise.gallery_file import FileRecord, GalleryFile

THUMBNAIL_SIDE = 320
"""The longer side of a thumbnail in pixels: about 15 KB each."""

_SETTLED_NS = 2_000_000_000
"""A file changed less than two seconds ago can change again within the tick of the file system's clock."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What `index_source` did: numbers of photos, and the photos that could not be embedded.

    Attributes:
        added: new in the gallery.
        updated: their content had changed.
        moved: their content was there under a path that the source no longer names.
        relabelled: the same content with a new place, position or sequence.
        unchanged: the same in every respect.
        mended: the unchanged ones whose local features were damaged and have been extracted again.
        removed: no longer named by the source, and pruned.
        computed: how many of them the network was run for; the others were known by their content.
        foreign: photos that the gallery holds and the source does not name as gallery photos.
        failures: photos that could not be embedded; of those that were there before, the gallery keeps what it had.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    relabelled: int = 0
    unchanged: int = 0
    mended: int = 0
    removed: int = 0
    computed: int = 0
    foreign: int = 0
    failures: tuple[Failure, ...] = ()


def index_source(  # noqa: PLR0913  # each is a choice that a user makes
    source: Source,
    gallery: GalleryFile,
    embedder: Embedder,
    *,
    cache: Cache | None = None,
    prefix: str = "",
    prune: bool = False,
    rehash: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Indexed:
    """Bring a source's gallery photos into a gallery: embed what is new or changed, batch by committed batch.

    A photo whose file has the size and times that it had is taken to be unchanged; any other file is read, and known
    by its content. An interrupted run loses the current batch only; the next one goes on from there.

    Args:
        source: the photos; those of its split ``gallery`` are taken.
        gallery: where they go.
        embedder: the model that the gallery was made with.
        cache: embeddings of earlier runs.
        prefix: a folder to put before the photos' paths, which are their names in the gallery: for a second source
            whose names are those of the first.
        prune: remove the photos that came from this source's folder (with this prefix) and that it no longer names.
        rehash: read every file, whatever its size and times say. Of files that are read, local features that are
            damaged in the gallery are extracted again.
        on_progress: called with (photos done, photos in all).

    Raises:
        ModelMismatchError: if the gallery holds another model's embeddings.
        GalleryError: if it cannot be written, or a name already stands for another folder's photo.
        OptionError: if the prefix is no relative path.
    """
    gallery.check_model(embedder.card)
    run = _Run(source, gallery, embedder, cache, _checked(prefix), rehash=rehash)
    batches = embed_photos(
        source, source.of("gallery"), embedder, cache=cache, reader=run.read, on_progress=on_progress
    )
    for batch in batches:
        with gallery.batch():
            run.keep(batch)
    return run.finish(prune=prune)


class _Run:
    """One run of `index_source`: what the gallery knew at its start, and what was counted since."""

    def __init__(
        self,
        source: Source,
        gallery: GalleryFile,
        embedder: Embedder,
        cache: Cache | None,
        prefix: PurePosixPath,
        *,
        rehash: bool,
    ) -> None:
        self._source, self._gallery, self._embedder, self._cache = source, gallery, embedder, cache
        self._prefix, self._rehash = prefix, rehash
        self._origin = Origin(str(source.root.resolve()), str(prefix))
        self._known = gallery.files()
        named = {self._name(photo.path) for photo in source.of("gallery")}
        named |= {self._name(PurePosixPath(name)) for row in source.bad_rows for name in row.photos}
        self._gone = {name for name in self._known if name not in named}
        self._by_content: dict[bytes, list[str]] = defaultdict(list)
        for name, record in self._known.items():
            if record.state.digest:
                self._by_content[record.state.digest].append(name)
        self._thumbnails, self._features = gallery.keeps_thumbnails, gallery.keeps_features
        self._counted = Indexed()

    def _name(self, path: PurePosixPath) -> str:
        return str(self._prefix / path)

    # ---- in worker threads ------------------------------------------------------------------------------------------

    def read(self, photo: Photo) -> Seen:
        """Look at one photo's file: unchanged, known by its content, or to be embedded."""
        file, name = self._source.file(photo), self._name(photo.path)
        photo, known = dataclasses.replace(photo, path=PurePosixPath(name)), self._known.get(name)
        stamp = _stamp(file)
        if known and not (self._rehash or self._lacks(known)) and self._is_as_it_was(known, stamp):
            return Seen(photo, FileState(known.state.digest, stamp))
        data = images.read_bytes(file)
        digest = hashlib.sha256(data).digest()
        same = known is not None and known.state.digest == digest
        if known and not same:
            self._check_origin(photo, known)
        state = self._state(name, data, digest, stamp, known if same else None)
        if same:
            return Seen(photo, state)
        kept = self._embedding(digest)
        return Seen(photo, state, kept, None if kept is not None else self._embedder.read(data))

    def _lacks(self, known: FileRecord) -> bool:
        """Whether the gallery is to keep something of a photo that it does not have."""
        return (self._thumbnails and not known.has_thumbnail) or (self._features and not known.has_features)

    def _state(
        self, name: str, data: bytes, digest: bytes, stamp: tuple[int, int, int] | None, known: FileRecord | None
    ) -> FileState:
        """What is kept of a file's bytes; ``known`` is what the gallery has of the same bytes."""
        thumbnail = self._thumbnails and not (known and known.has_thumbnail)
        return FileState(
            digest,
            stamp,
            _thumbnail(data) if thumbnail else None,
            features_of(data).to_bytes() if self._wants_features(name, known) else None,
        )

    def _wants_features(self, name: str, known: FileRecord | None) -> bool:
        """Whether they are to be kept and are not there, or are there and damaged."""
        return not are_whole(self._gallery, name) if known and known.has_features else self._features

    def _is_as_it_was(self, known: FileRecord, stamp: tuple[int, int, int] | None) -> bool:
        return stamp is not None and known.origin == self._origin and known.state.stamp == stamp

    def _embedding(self, digest: bytes) -> Embeddings | None:
        """The embedding of this content, if the gallery or the cache has it."""
        for name in self._by_content.get(digest, ()):
            row = self._gallery.vector_of(name, digest)
            if row is not None:
                return row
        return self._cache.get(digest) if self._cache else None

    def _check_origin(self, photo: Photo, known: FileRecord) -> None:
        """Refuse to replace another folder's photo of the same name, unless that folder is no more."""
        if known.origin and known.origin != self._origin and Path(known.origin.root).is_dir():
            message = (
                f"a path must stand for one photo in {self._gallery.path}, got {photo.path} from {self._origin.root} "
                f"while it has another of that name from {known.origin.root}; give the photos of one source a --prefix"
            )
            raise GalleryError(message)

    # ---- batch by batch ---------------------------------------------------------------------------------------------

    def keep(self, batch: Batch) -> None:
        """Write a batch and count it. The caller makes it one transaction."""
        moved, fresh = self._moves(batch)
        self._gallery.relabel([photo for photo, _, _ in moved], paths=[old for _, _, old in moved])
        self._gallery.note([str(photo.path) for photo, _, _ in moved], [s for _, s, _ in moved], origin=self._origin)
        photos = [batch.photos[row] for row in fresh]
        if fresh:
            states = [batch.states[row] for row in fresh]
            self._gallery.upsert(photos, batch.embeddings[fresh], states, origin=self._origin)
        relabelled = self._gallery.relabel(batch.unchanged)
        self._note_unchanged(batch)
        added = sum(str(photo.path) not in self._known for photo in photos)
        self._count(
            added=added,
            updated=len(photos) - added,
            moved=len(moved),
            relabelled=relabelled,
            unchanged=len(batch.unchanged) - relabelled,
            mended=self._mended(batch),
            computed=batch.computed,
            failures=batch.failures,
        )

    def _moves(self, batch: Batch) -> tuple[list[tuple[Photo, FileState, str]], list[int]]:
        """The photos that the gallery had under a path that is gone, with that path, and the rows of the others."""
        moved, fresh = [], []
        for row, (photo, state) in enumerate(zip(batch.photos, batch.states, strict=True)):
            candidates = self._by_content.get(state.digest or b"", ())
            old = next((name for name in candidates if name in self._gone and self._is_ours(name)), None)
            if old is None or str(photo.path) in self._known:
                fresh.append(row)
            else:
                self._gone.discard(old)
                moved.append((photo, state, old))
        return moved, fresh

    def _note_unchanged(self, batch: Batch) -> None:
        seen = [
            (str(photo.path), state)
            for photo, state in zip(batch.unchanged, batch.unchanged_states, strict=True)
            if self._is_news(self._known[str(photo.path)], state)
        ]
        if seen:
            self._gallery.note([name for name, _ in seen], [state for _, state in seen], origin=self._origin)

    def _mended(self, batch: Batch) -> int:
        pairs = zip(batch.unchanged, batch.unchanged_states, strict=True)
        return sum(state.features is not None and self._known[str(photo.path)].has_features for photo, state in pairs)

    def _is_news(self, record: FileRecord, state: FileState) -> bool:
        more = state.thumbnail is not None or state.features is not None
        return more or record.state.stamp != state.stamp or record.origin != self._origin

    def _is_ours(self, name: str) -> bool:
        """Whether a photo of the gallery came from this source's folder, with this run's prefix."""
        return self._known[name].origin == self._origin

    def finish(self, *, prune: bool) -> Indexed:
        """Prune, and return the counts."""
        ours = {name for name in self._gone if self._is_ours(name)} if prune else set()
        removed = self._gallery.remove(ours) if ours else 0
        self._count(removed=removed, foreign=len(self._gone) - len(ours))
        return self._counted

    def _count(self, *, failures: Sequence[Failure] = (), **numbers: int) -> None:
        sums = {name: getattr(self._counted, name) + number for name, number in numbers.items()}
        self._counted = dataclasses.replace(self._counted, **sums, failures=(*self._counted.failures, *failures))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Size and times of a file, taken before it is read; None where they cannot vouch for the content.

    The time of the last change of the inode counts too: it cannot be set back, as the time of the content can.
    """
    try:
        found = file.stat()
    except OSError:
        return None  # reading it will say what is wrong
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED_NS:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _thumbnail(data: bytes) -> bytes:
    return images.thumbnail(images.decode(data, at_least=THUMBNAIL_SIDE), longer_side=THUMBNAIL_SIDE)


def _checked(prefix: str) -> PurePosixPath:
    path = PurePosixPath(prefix)
    if path.is_absolute() or ".." in path.parts or not prefix.isprintable():
        message = f"a prefix must be a relative path such as trip2, got {prefix!r}"
        raise OptionError(message)
    return path
