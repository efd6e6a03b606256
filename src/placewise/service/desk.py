"""The gallery as the service holds it: photos go in as bytes, answers come out; nothing here speaks HTTP.

The gallery is open twice: what one connection writes does not make the readers of the other wait.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from placewise import images
from placewise.calibrating import calibrate_gallery
from placewise.checking import features_of
from placewise.entries import Upload, add_photo, entries_of, entry, remove_photo
from placewise.errors import FeaturesMissingError, GalleryError, ImageError, PlacewiseError
from placewise.gallery_file import GalleryFile, are_unit_rows
from placewise.kept_features import extracting
from placewise.locate import Locator
from placewise.models import load_model_of
from placewise.openset import Aim
from placewise.service import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from placewise.core import Answer, Embedder, Embeddings, Filter, Photo
    from placewise.entries import Entry
    from placewise.features import Features
    from placewise.openset import Calibration
    from placewise.verify import Verification


@dataclass(frozen=True, slots=True)
class Query:
    """A decoded photo.

    Attributes:
        input: the network's input.
        size: width and height in pixels, upright.
        features: its local features; None where nothing is to be verified.
    """

    input: NDArray[np.uint8]
    size: tuple[int, int]
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a photo: up to ``k`` hits ``among`` some of the gallery's photos, of which some are verified.

    Attributes:
        k: how many hits.
        among: which photos may be hits; all if None.
        verify: of how many of the best hits geometry is verified; as the gallery's ranking says if None.
    """

    k: int = 5
    among: Filter | None = None
    verify: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a photo.

    Attributes:
        embedding: ``(dim,)``, of unit length.
        answer: None where nothing was asked.
        entries: for each hit its photo in the gallery; None where it has been removed since.
    """

    embedding: Embeddings
    answer: Answer | None = None
    entries: tuple[Entry | None, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A photo beside one of the gallery.

    Attributes:
        entry: the gallery's photo.
        size: width and height of the photo in the pixels that its points are in: it may have been read smaller.
        entry_size: likewise of the gallery's.
        found: what geometry says of the two; the photo is its query.
    """

    entry: Entry
    size: tuple[int, int]
    entry_size: tuple[int, int]
    found: Verification


class Desk:
    """An open gallery, its model, and a locator that follows it. Threads may share it.

    Attributes:
        file: the gallery, to read from.
        embedder: its model.
        calibration: what decides; None where no calibration does.
        caution: what to know of its decisions; empty if nothing.
    """

    def __init__(self, file: GalleryFile, embedder: Embedder, *, max_pixels: int) -> None:
        """Take an open gallery, which `close` closes, and its model.

        Raises:
            GalleryError: if it is damaged.
            CalibrationError: if the calibration is.
            ModelMismatchError: if it is another model's.
        """
        self.file, self.embedder, self._max_pixels = file, embedder, max_pixels
        self._locator = Locator(file, embedder)
        self.calibration, self.caution = self._locator.calibration, self._locator.caution
        self._writer: tuple[tuple[str, int], GalleryFile] | None = None
        self._writing, self._refreshing = threading.Lock(), threading.Lock()
        self._opened = _identity(file.path)
        self._held = dict([self._opened])
        self._written: set[str] = set()
        self._replaced: list[GalleryFile] = []
        self._told = ""

    @classmethod
    def open(cls, path: Path, *, max_pixels: int) -> Self:
        """Open a gallery and make its model ready."""
        file = GalleryFile.open(path)
        try:
            return cls(file, load_model_of(file.card, vocabulary=file.vocabulary), max_pixels=max_pixels)
        except BaseException:
            file.close()
            raise

    # ---- reading ----------------------------------------------------------------------------------------------------

    def read(self, data: bytes, question: Question | None = None) -> Query:
        """Decode a photo, and find its local features if what is asked of it needs them.

        Raises:
            ImageError: if it is none, broken or too large.
            FeaturesMissingError: if hits are to be verified and no photo of the gallery has local features.
        """
        size = self._size(data)
        verified = question is not None and self._locator.verifies(question.verify)
        return Query(self.embedder.read(data), size, features_of(data) if verified else None)

    def verifications(self, hits: int | None) -> int:
        """How many hits of a photo are verified; see `Locator.verifications`."""
        return self._locator.verifications(hits)

    @property
    def verified(self) -> int:
        """Of how many hits geometry is verified unless a question says otherwise."""
        return self._locator.verified

    def _size(self, data: bytes) -> tuple[int, int]:
        facts = images.facts(data)
        if facts.width * facts.height > self._max_pixels:
            message = (
                f"a photo must have at most {self._max_pixels} pixels here, got {facts.width} x {facts.height}; "
                f"send it smaller"
            )
            raise ImageError(message, kind="too_large")
        return facts.upright

    def match(self, number: int, data: bytes, *, hits: int | None = None) -> Match | None:
        """What geometry says of a photo and one of the gallery's, given by its id; None where there is none.

        It is accepted where it is as one of so many ``hits`` that are verified; see `Locator.verification`.

        Raises:
            FeaturesMissingError: if the gallery holds no local features of it.
            FeaturesDamagedError: if they are not what was written.
            ImageError: if the photo is none, broken or too large.
        """
        found, locator = entry(self.file, number), self._locator
        if found is None:
            return None
        there = locator.features_of(number)
        if there is None:
            message = (
                f"a gallery must hold local features of a photo to match it, got none of {found.photo.path}; "
                f"{extracting(self.file)}"
            )
            raise FeaturesMissingError(message)
        self._size(data)
        here = features_of(data)
        return Match(found, here.size, there.size, locator.compare(here, there, hits=hits))

    def upload(self, data: bytes) -> Upload:
        """What the gallery keeps of a photo's bytes; see `entries.Upload.of`."""
        return Upload.of(data, features=self.file.keeps_features)

    def reply(self, asked: Sequence[tuple[Query, Question | None]]) -> list[Reply | Exception]:
        """Embed photos together and answer those of which something is asked; an error for each that has none.

        No geometry is verified here; see `answer`.
        """
        embeddings = self.embedder.infer([query.input for query, _ in asked])
        usable = are_unit_rows(embeddings)
        replies: list[Reply | Exception] = [
            Reply(row) if good else ImageError("the network finds nothing in the photo to embed", kind="unusable")
            for row, good in zip(embeddings, usable, strict=True)
        ]
        groups: dict[Question, list[int]] = {}
        for row, (_, question) in enumerate(asked):
            if question and usable[row]:
                groups.setdefault(question, []).append(row)
        for question, rows in groups.items():
            try:
                answers = self._locator.answers(
                    embeddings[rows], k=question.k, among=question.among, verify=question.verify
                )
            except PlacewiseError as error:  # a filter that names what is not there: the others are not to blame
                answers = ()
                for row in rows:
                    replies[row] = error
            for row, answer in zip(rows if answers else (), answers, strict=True):
                replies[row] = Reply(embeddings[row], answer)
        return self._with_entries(replies)

    def answer(self, query: Query, embedding: Embeddings, question: Question) -> Reply:
        """Answer for one embedded photo, with its hits verified.

        Raises:
            OptionError: if the question names what is not there.
        """
        locator = self._locator
        (answer,) = locator.answers(
            embedding[None], k=question.k, among=question.among, features=[query.features], verify=question.verify
        )
        self._tell(locator.damage)
        (reply,) = self._with_entries([Reply(embedding, answer)])
        return cast("Reply", reply)

    def _tell(self, damage: str) -> None:
        """Log what could not be verified, once: photos that have been asked for again say nothing new."""
        told, self._told = self._told, damage
        if damage and damage != told:
            logs.events.error("stored features are damaged", extra={"fields": {"reason": damage}})

    def _with_entries(self, replies: Sequence[Reply | Exception]) -> list[Reply | Exception]:
        answered = [reply.answer for reply in replies if isinstance(reply, Reply) and reply.answer]
        paths = {str(hit.photo.path) for answer in answered for hit in answer.hits}
        held = entries_of(self.file, paths) if paths else {}
        return [
            Reply(reply.embedding, reply.answer, tuple(held.get(str(hit.photo.path)) for hit in reply.answer.hits))
            if isinstance(reply, Reply) and reply.answer
            else reply
            for reply in replies
        ]

    def refresh(self) -> bool:
        """See what was written to the gallery since, or put in its place; returns whether anything was.

        Raises:
            PlacewiseError: if that cannot be used; then it goes on as it was.
        """
        with self._refreshing:
            changed = self._reopen() if _identity(self.file.path) != self._opened else self._locator.refresh()
            self.calibration, self.caution = self._locator.calibration, self._locator.caution
        return changed

    def _reopen(self) -> bool:
        """Take the file that has come to the gallery's path. Threads may still read the one before: it stays open.

        Not if it was moved onto the file that is open while SQLite keeps a log beside that: the log goes by the name,
        and would be taken for the new file's. Where the path is a link to another file now, each has a log of its own.

        Raises:
            GalleryError: then, and if it cannot be used.
        """
        opened = _identity(self.file.path)
        path, number = opened
        if self._held.get(path, number) != number and (path in self._written or _has_log(path)):
            message = (
                f"gallery {self.file.path} must not be replaced while it is written to, got another file under its "
                f"name; stop the service, start it again, and next time serve a link and point that "
                f"to a file of another name"
            )
            raise GalleryError(message)
        file = GalleryFile.open(self.file.path)
        try:
            locator = Locator(file, self.embedder)
        except BaseException:
            file.close()
            raise
        for old in self._replaced:
            old.close()
        self._replaced = [self.file]
        self.file, self._locator, self._opened = file, locator, opened
        self._held[path] = number
        return True

    # ---- writing ----------------------------------------------------------------------------------------------------

    def add(self, photo: Photo, upload: Upload, embedding: Embeddings) -> tuple[Entry, bool]:
        """Add one photo; on return it is on the disk and is found. See `entries.add_photo`."""
        with self._writing:
            added = add_photo(self._own(), photo, upload, embedding)
        self.refresh()
        return added

    def remove(self, number: int) -> bool:
        """Remove the photo of this id; on return it is no longer found. See `entries.remove_photo`."""
        with self._writing:
            removed = remove_photo(self._own(), number)
        self.refresh()
        return removed

    def calibrate(self, false_accept_rate: float) -> Calibration:
        """Calibrate the gallery on its own photos; see `calibrating.calibrate_gallery`."""
        aim = Aim(false_accept_rate)
        with self._writing:
            calibration = calibrate_gallery(self._own(), aim=aim)
        self.refresh()
        return calibration

    def _own(self) -> GalleryFile:
        """The connection that writes, to the file that is at the gallery's path now."""
        if _identity(self.file.path) != self._opened:
            self.refresh()
        if self._writer and self._writer[0] != self._opened:
            self._writer[1].close()
            self._writer = None
        if self._writer is None:
            file = GalleryFile.open(self.file.path)
            self._writer = (self._opened, file)
            self._written.add(self._opened[0])
            file.check_model(self.embedder.card)
        return self._writer[1]

    def close(self) -> None:
        """Close the gallery, into one file; what is being written is finished first."""
        with self._writing, self._refreshing:
            for file in (*self._replaced, self.file):
                file.close()
            if self._writer:
                self._writer[1].close()


def _identity(path: Path) -> tuple[str, int]:
    """What a path leads to, links followed, and what tells that file from another under its name; 0 without one."""
    real = path.resolve()
    try:
        return str(real), real.stat().st_ino
    except OSError:
        return str(real), 0


def _has_log(path: str) -> bool:
    """Whether SQLite keeps changes beside a file."""
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False
