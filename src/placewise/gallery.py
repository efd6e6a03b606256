"""One file that recognises places: index photos into it, locate others with it, from Python in a few lines."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Self

from placewise import housekeeping
from placewise.calibrating import calibrate_gallery, calibrate_labelled, read_calibration, staleness
from placewise.core import Source
from placewise.errors import CalibrationError, GalleryError
from placewise.fitting import fitted_as, vocabulary_of
from placewise.gallery_file import GalleryFile, begun_card
from placewise.gallery_ranking import current_ranking
from placewise.indexing import Indexed, index_source
from placewise.locate import Locator
from placewise.models import load_model, load_model_of
from placewise.models.looks import seen_with
from placewise.openset import DEFAULT_AIM, Aim, Calibration
from placewise.presets import DEFAULT_PRESET, find_preset
from placewise.renewal import Renewed, renew_calibration
from placewise.search.sidecar import SearcherKind, build_ann, renew_ann
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.cache import Cache
    from placewise.core import Answer, Embedder, Filter, ModelCard, Tau
    from placewise.embed import Failure
    from placewise.gallery_file import Storage
    from placewise.housekeeping import Merged
    from placewise.openset import Method
    from placewise.search.tuning import AnnReport


class Gallery:
    """An open gallery and, from the first photo on, the model that made it.

    Threads may share it: they locate together, and see what one of them adds or removes when that has returned. What
    other processes write is seen after `refresh`. Use it as a context manager, so that it is closed into one file.
    """

    def __init__(self, file: GalleryFile, embedder: Embedder | None, *, tau: Tau, searcher: SearcherKind) -> None:
        self._file = file
        self._embedder = embedder
        self._tau, self._searcher = tau, searcher
        self._locator: Locator | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        embedder: Embedder | None = None,
        tau: Tau = "calibrated",
        searcher: SearcherKind = "auto",
    ) -> Self:
        """Open an existing gallery.

        Args:
            path: the file.
            embedder: the model that made it; if None, the gallery says which, and it is loaded when it is needed.
            tau: ``calibrated`` decides as the gallery was calibrated, and by `openset.DEFAULT_TAU` where it was not; a
                number is a threshold on the plain similarity of the best hit, the cosine of the embeddings whatever
                the gallery ranks by; None leaves the decision to the caller.
            searcher: ``exact``, ``ann``, or ``auto``, which takes an approximate index where that pays.

        Raises:
            GalleryError: if it is missing, damaged, another program's, or of another format.
        """
        return cls(GalleryFile.open(path), embedder, tau=tau, searcher=searcher)

    @classmethod
    def open_for(  # noqa: PLR0913  # each is a choice that a user makes
        cls,
        path: Path | str,
        embedder: Embedder | None = None,
        *,
        preset: str | None = None,
        storage: Storage | None = None,
        thumbnails: bool | None = None,
        features: bool | None = None,
        tau: Tau = "calibrated",
        searcher: SearcherKind = "auto",
    ) -> Self:
        """Open a gallery for the embeddings of a model; make it where it is not there.

        Args:
            path: the file.
            embedder: the model; if None the gallery's own, of a new one the default model, which sees photos as the
                preset says. One that learns from photos must be fitted for a new file, see `placewise.fit_model`, and
                is read from one that is there.
            preset: how hits are ranked from now on, a name of `presets.PRESETS`; None leaves it as it is. A new gallery
                then has the default preset, or, with an embedder of yours, ranks by plain similarity. What was
                calibrated before must be calibrated again, and how photos are seen cannot change any more.
            storage: how a new gallery keeps embeddings, ``float32`` (if None) or ``float16``, half as large.
            thumbnails: whether photos that are added from now on keep a thumbnail; None leaves it as it is.
            features: whether photos that are added from now on keep local features, by which hits are verified; None
                leaves it as it is, but for a preset that is named: they come with one that verifies, and go with it.
            tau: as for `open`.
            searcher: as for `open`.

        Raises:
            ModelMismatchError: if it holds another model's embeddings, or those of photos seen in another way.
            GalleryError: if it cannot be opened or made.
        """
        kept, chosen = begun_card(path), find_preset(preset) if preset else None
        if kept and embedder is None:
            card, vocabulary = seen_with(kept, chosen.look) if chosen else kept, None
        else:
            if embedder is None:
                chosen = chosen or find_preset(DEFAULT_PRESET)
                embedder = load_model(look=chosen.look)
            embedder = fitted_as(embedder, path)
            card, vocabulary = embedder.card, vocabulary_of(embedder)
        file = GalleryFile.open_for(
            path,
            card,
            storage=storage,
            thumbnails=thumbnails,
            features=features,
            ranking=chosen.ranking if chosen else None,
            vocabulary=vocabulary,
        )
        return cls(file, embedder, tau=tau, searcher=searcher)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def card(self) -> ModelCard:
        """The card of the model that made it."""
        return self._file.card

    def __len__(self) -> int:
        return len(self._file)

    def add(
        self,
        source: Source | Path | str,
        *,
        cache: Cache | None = None,
        prefix: str = "",
        prune: bool = False,
        rehash: bool = False,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Indexed:
        """Bring a source's gallery photos in: what is new or changed is embedded, batch by committed batch.

        Afterwards a large gallery has an ANN index beside it that fits.

        Args:
            source: a folder of photos or a manifest.
            cache: embeddings of earlier runs.
            prefix: a folder to put before the photos' paths, for a second source whose names are those of the first.
            prune: remove the photos that came from this source's folder and that it no longer names.
            rehash: read every file, whatever its size and times say, and extract damaged local features again.
            on_progress: called with (stage, photos done, photos in all).

        Raises:
            SourceError: if the source cannot be read.
            GalleryError: if the file cannot be written, or a path already stands for another folder's photo.
        """
        source = source if isinstance(source, Source) else read_source(source)
        indexed = index_source(
            source,
            self._file,
            self._model(),
            cache=cache,
            prefix=prefix,
            prune=prune,
            rehash=rehash,
            on_progress=_stage("embedding", on_progress),
        )
        self._changed(on_progress)
        return indexed

    def remove(
        self, paths: Sequence[str] = (), *, places: Sequence[str] = (), globs: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Remove photos by path, by place or by pattern of paths; returns their paths. Photo files are not touched.

        In a pattern ``*`` stands for any characters, also ``/``, ``?`` for one, ``[ab]`` for one of these.

        Raises:
            GalleryError: if the file cannot be written.
        """
        found = self.matching(paths, places=places, globs=globs)
        self._file.remove(found)
        self._changed()
        return found

    def matching(
        self, paths: Sequence[str] = (), *, places: Sequence[str] = (), globs: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The paths of the photos that `remove` would remove."""
        return tuple(self._file.matching(paths=paths, places=places, globs=globs))

    def merge(self, other: Path | str, *, prefix: str = "") -> Merged:
        """Add the photos of another gallery of the same model, in one transaction; see `housekeeping.merge`."""
        with GalleryFile.open(other) as file:
            merged = housekeeping.merge(self._file, file, prefix=prefix)
        self._changed()
        return merged

    def locate(
        self, photo: Path | str | bytes, *, k: int = 5, among: Filter | None = None, verify: int | None = None
    ) -> Answer:
        """Which place a photo shows, or UNKNOWN; see `Locator.locate`."""
        return self._ready().locate(photo, k=k, among=among, verify=verify)

    def locate_many(
        self, paths: Sequence[Path | str], *, k: int = 5, among: Filter | None = None, verify: int | None = None
    ) -> tuple[tuple[tuple[str, Answer], ...], tuple[Failure, ...]]:
        """Answers for many photo files, and the failures; see `Locator.locate_many`."""
        return self._ready().locate_many(paths, k=k, among=among, verify=verify)

    def calibrate(
        self,
        *,
        false_accept_rate: float = DEFAULT_AIM.false_accept_rate,
        labelled: Source | Path | str | None = None,
        method: Method = "auto",
        cache: Cache | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Calibration:
        """Learn from the gallery's own photos where UNKNOWN begins, and keep that in the gallery.

        Args:
            false_accept_rate: the wanted share of open-set queries that are answered KNOWN.
            labelled: real queries of which the place is known, to learn from instead.
            method: ``similarity`` keeps the best similarity as the confidence.
            cache: embeddings of earlier runs, for ``labelled``.
            on_progress: called with (stage, photos done, photos in all).

        Raises:
            CalibrationError: if nothing tells one place of the gallery from another.
            FeaturesDamagedError: if local features that hits are verified by are not what was written.
            OptionError: if the rate is no share.
        """
        aim = Aim(false_accept_rate, method)
        progress = _stage("calibrating", on_progress)
        if labelled is None:
            calibration = calibrate_gallery(self._file, aim=aim, on_progress=progress)
        else:
            calibration = calibrate_labelled(
                self._file,
                labelled if isinstance(labelled, Source) else read_source(labelled),
                self._model(),
                aim=aim,
                cache=cache,
                on_progress=progress,
            )
        self.refresh()
        return calibration

    def renew_calibration(self, *, on_progress: Callable[[str, int, int], None] | None = None) -> Renewed:
        """Calibrate if it was never done, or the gallery has changed since; see `renewal.renew_calibration`."""
        renewed = renew_calibration(self._file, on_progress=_stage("calibrating", on_progress))
        self.refresh()
        return renewed

    @property
    def calibration(self) -> Calibration | None:
        """How the gallery tells KNOWN from UNKNOWN; None where it was never calibrated."""
        return read_calibration(self._file)

    @property
    def staleness(self) -> str:
        """What has happened since the gallery was calibrated, in words; empty if nothing has, or it never was."""
        calibration = self.calibration
        return staleness(self._file, calibration) if calibration else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Which steps of its ranking are left out, as many and such photos as it holds, and why, a line each.

        Likewise what could not be verified up to now; see `Locator.unverified`.
        """
        unverified = self._locator.unverified if self._locator else ()
        return tuple(dict.fromkeys((*current_ranking(self._file).notes, *unverified)))

    @property
    def caution(self) -> str:
        """What to know of its decisions; see `Locator.caution`."""
        return self._ready().caution

    def refresh(self) -> bool:
        """See what other processes have written since; returns whether anything was."""
        with self._lock:
            return self._locator.refresh() if self._locator else False

    def build_ann(self, *, on_progress: Callable[[str, int, int], None] | None = None) -> AnnReport:
        """Build the ANN index beside the gallery anew, whatever its size; returns what it is and its measured recall.

        Raises:
            GalleryError: if the gallery is damaged, or the index cannot be written.
        """
        report = build_ann(self._file, on_progress=_stage("ann index", on_progress))
        with self._lock:
            self._locator = None
        return report

    def info(self) -> dict[str, object]:
        """What the gallery holds, JSON-ready."""
        return housekeeping.gallery_info(self._file)

    def faults(self) -> list[str]:
        """What is wrong with the file, a line each; empty if nothing is."""
        return housekeeping.gallery_faults(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _model(self) -> Embedder:
        with self._lock:
            self._embedder = self._embedder or load_model_of(self.card, vocabulary=self._file.vocabulary)
            return self._embedder

    def _ready(self) -> Locator:
        with self._lock:
            self._locator = self._locator or Locator(self._file, self._model(), tau=self._tau, searcher=self._searcher)
            return self._locator

    def _changed(self, on_progress: Callable[[str, int, int], None] | None = None) -> None:
        """Bring what was derived from the file up to date."""
        try:
            renew_ann(self._file, on_progress=_stage("ann index", on_progress))
        except GalleryError as error:  # the photos are in; a search without the index is slower, not wrong
            warnings.warn(f"going on without an index for fast search: {error}", stacklevel=3)
        try:
            self.refresh()
        except CalibrationError as error:  # likewise: the next `locate` raises it
            self._locator = None
            warnings.warn(str(error), stacklevel=3)


def _stage(name: str, on_progress: Callable[[str, int, int], None] | None) -> Callable[[int, int], None] | None:
    return (lambda done, total: on_progress(name, done, total)) if on_progress else None
