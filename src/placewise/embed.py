"""Photos → embeddings: files are read and decoded in threads while the network runs on those before them."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from placewise import images
from placewise.core import FileState
from placewise.errors import ImageError, ModelError
from placewise.gallery_file import are_unit_rows
from placewise.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from placewise.cache import Cache
    from placewise.core import Embedder, Embeddings, Photo, Source

BATCH = 32
"""Photos that are committed together: few enough that an interrupted run loses about a second."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be embedded, and why."""

    photo: Photo
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The outcome for a run of photos, in their order.

    Attributes:
        photos: those that have an embedding now.
        states: what was seen of their files.
        embeddings: ``(len(photos), dim)`` float32, rows of unit length.
        computed: how many of them the network was run for; the others were known by their content.
        unchanged: photos left alone because their content is the one the caller already has.
        unchanged_states: what was seen of their files.
        failures: photos that could not be decoded.
    """

    photos: tuple[Photo, ...]
    states: tuple[FileState, ...]
    embeddings: Embeddings
    computed: int
    unchanged: tuple[Photo, ...]
    unchanged_states: tuple[FileState, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a `Reader` found of one photo: exactly one of the last three, or none of them for an unchanged photo."""

    photo: Photo
    state: FileState
    kept: Embeddings | None = None
    input: NDArray[np.uint8] | None = None
    failure: Failure | None = None


class Reader(Protocol):
    """Looks at one photo's file, in a worker thread: is it known, and if not, what is its input?"""

    def __call__(self, photo: Photo) -> Seen:
        """Read the file of ``photo``. An `ImageError` becomes the photo's failure."""


def embed_photos(
    source: Source,
    photos: Sequence[Photo],
    embedder: Embedder,
    *,
    cache: Cache | None = None,
    reader: Reader | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Batch]:
    """Embed photos in batches of `BATCH`; each is in the cache before it is yielded.

    Args:
        source: where the photos' files are.
        photos: which of its photos.
        embedder: the model.
        cache: where embeddings are looked up by content, and kept.
        reader: what looks at a photo's file, instead of `read_photo`, for a caller that knows some of them already.
        on_progress: called with (photos done, photos in all) after each batch.
    """

    def read(photo: Photo) -> Seen:
        try:
            return reader(photo) if reader else read_photo(source.file(photo), photo, embedder, cache)
        except ImageError as error:
            return Seen(photo, FileState(), failure=Failure(photo, error.kind, str(error)))

    done = 0
    reads = _ahead(read, photos)
    while batch := list(islice(reads, BATCH)):
        result = _infer(batch, embedder, cache)
        done += len(batch)
        if on_progress:
            on_progress(done, len(photos))
        yield result


def read_photo(file: Path, photo: Photo, embedder: Embedder, cache: Cache | None) -> Seen:
    """Read a photo's file: its embedding if the cache has one of this content, else the network's input.

    Raises:
        ImageError: if it cannot be decoded.
    """
    data = images.read_bytes(file)
    state = FileState(hashlib.sha256(data).digest())
    kept = cache.get(state.digest) if cache and state.digest else None
    return Seen(photo, state, kept, None if kept is not None else embedder.read(data))


def _ahead(read: Callable[[Photo], Seen], photos: Sequence[Photo]) -> Iterator[Seen]:
    """Read photos in threads, in order, at most two batches ahead: memory does not grow with their number.

    As many threads as cores. On two cores, with photos of 1024 x 768, one thread gave 114 photos/s with
    EfficientNet-Lite0 and 41.9 with ResNet50, two gave 158 and 44.9, three to six no more than that (median of four
    rounds each).
    """
    workers = ThreadPoolExecutor(max_workers=usable_cores(), thread_name_prefix="decode")
    pending: deque[Future[Seen]] = deque()
    todo = iter(photos)
    try:
        pending.extend(workers.submit(read, photo) for photo in islice(todo, 2 * BATCH))
        while pending:
            result = pending.popleft().result()
            pending.extend(workers.submit(read, photo) for photo in islice(todo, 1))
            yield result
    finally:
        workers.shutdown(cancel_futures=True)


def _infer(reads: Sequence[Seen], embedder: Embedder, cache: Cache | None) -> Batch:
    fresh = [item for item in reads if item.input is not None]
    computed = embedder.infer([item.input for item in fresh if item.input is not None])
    usable = are_unit_rows(computed)
    if len(fresh) > 1 and not usable.any():
        message = (
            f"model {embedder.card.name} must give embeddings of unit length, got others from the weights "
            f"{embedder.card.weights_file}; use other weights"
        )
        raise ModelError(message)
    rows = zip(computed, usable, strict=True)
    done = [_settled(item, *next(rows)) if item.input is not None else item for item in reads]
    if cache and usable.any():
        cache.put(
            (after.state.digest, after.kept)
            for before, after in zip(reads, done, strict=True)
            if before.input is not None and after.kept is not None and after.state.digest is not None
        )
    embedded = [(item, item.kept) for item in done if item.kept is not None]
    unchanged = [item for item in done if item.kept is None and item.failure is None]
    return Batch(
        photos=tuple(item.photo for item, _ in embedded),
        states=tuple(item.state for item, _ in embedded),
        embeddings=np.array([row for _, row in embedded], dtype=np.float32).reshape(-1, embedder.card.dim),
        computed=len(fresh),
        unchanged=tuple(item.photo for item in unchanged),
        unchanged_states=tuple(item.state for item in unchanged),
        failures=tuple(item.failure for item in done if item.failure is not None),
    )


def _settled(item: Seen, embedding: Embeddings, usable: np.bool_) -> Seen:
    """A photo that the network was run for, with its embedding or as a failure."""
    if usable:
        return Seen(item.photo, item.state, kept=embedding)
    reason = "the network finds nothing in it to embed; replace the photo"
    return Seen(item.photo, item.state, failure=Failure(item.photo, "unusable", reason))


@dataclass(frozen=True, slots=True)
class Embedded:
    """All photos of a list that could be read.

    Attributes:
        photos: ``N`` of them, in the order of the list.
        embeddings: ``(N, dim)``.
        computed: how many the network was run for.
        failures: those that could not be read.
    """

    photos: tuple[Photo, ...]
    embeddings: Embeddings
    computed: int
    failures: tuple[Failure, ...]


def embed_all(
    source: Source,
    photos: Sequence[Photo],
    embedder: Embedder,
    *,
    cache: Cache | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed photos into one matrix; see `embed_photos`."""
    batches = list(embed_photos(source, photos, embedder, cache=cache, on_progress=on_progress))
    return Embedded(
        photos=tuple(photo for batch in batches for photo in batch.photos),
        embeddings=np.concatenate([batch.embeddings for batch in batches]),
        computed=sum(batch.computed for batch in batches),
        failures=tuple(failure for batch in batches for failure in batch.failures),
    )
