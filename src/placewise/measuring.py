"""One way to see photos and to rank them → a row of figures; what several ways share is computed once."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from placewise import images
from placewise.checking import features_of, features_of_all
from placewise.embed import Embedded, embed_all
from placewise.errors import EvaluationError
from placewise.fitting import fit_model
from placewise.in_memory import MemoryGallery, Verified
from placewise.photo_table import PhotoTable
from placewise.rank import Usable, Verify, usable
from placewise.scoring.predictions import TOP
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.scoring.readable import check_rows, still_whole
from placewise.scoring.scores import score

if TYPE_CHECKING:
    from placewise.cache import Cache
    from placewise.core import Embedder, Photo, Source
    from placewise.embed import Failure
    from placewise.features import Features
    from placewise.models import Look
    from placewise.rank import Stack
    from placewise.scoring.scores import Scores

    Load = Callable[[Look], Embedder]
    Caching = Callable[[Embedder], AbstractContextManager[Cache | None]]
    Progress = Callable[[str, int, int], None]

METRICS: Mapping[str, str] = {"recall@1": "Recall@1", "map": "mAP", "auroc": "AUROC"}
"""What is measured of each way → what to call it."""

_TIMED = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One way to see photos and to rank.

    Attributes:
        name: what differs.
        kind: ``step`` (one more), ``without`` (one less) or ``preset``.
        sight: how photos are seen.
        ranking: the steps.
        metrics: metric → value; none where the row is left out.
        against: the name of the row that it is compared with; empty for none.
        gains: metric → 95 % interval of the difference to that row.
        ms_per_query: median wall time of one query, in milliseconds.
        bytes_per_photo: what the gallery keeps of a photo to answer by.
        notes: steps that were left out, and why, and why the gallery could not calibrate itself.
        left_out: why what differs cannot differ here, so that nothing was measured; empty if it was.
    """

    name: str
    kind: str
    sight: str
    ranking: str
    metrics: Mapping[str, float]
    against: str
    gains: Mapping[str, tuple[float, float]]
    ms_per_query: float
    bytes_per_photo: float
    notes: tuple[str, ...]
    left_out: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A way to see and to rank.

    Attributes:
        name: see `Row`.
        kind: likewise.
        look: how photos are seen.
        stack: how hits are ranked.
        against: see `Row`.
        differs: the step in which it differs from that row, or ``look``; empty for a preset.
    """

    name: str
    kind: str
    look: Look
    stack: Stack
    against: str = ""
    differs: str = ""


class Bench:
    """A labelled set; its photos are embedded once for each look, features and what is verified are shared by all."""

    def __init__(
        self, source: Source, load: Load, on_progress: Progress | None = None, caching: Caching | None = None
    ) -> None:
        """``caching`` opens the cache of a model's embeddings of earlier runs."""
        check_rows(source)
        self._source, self._load, self._caching, self._on_progress = source, load, caching or _uncached, on_progress
        self._protocol = find_protocol("place")
        self._truth = truth_of(self._protocol, source)
        if not self._truth.evaluated.any():
            message = (
                f"some queries must be of places that the gallery holds, got {len(self._truth.queries)} queries, "
                f"{int(self._truth.open_set.sum())} of them open-set; add known ones"
            )
            raise EvaluationError(message)
        self._embedders: dict[Look, Embedder] = {}
        self._names: dict[Look, str] = {}  # fingerprints, of models that learn those before they have learned
        self._seen: dict[str, tuple[Embedded, Embedded]] = {}
        self._cost: dict[str, float] = {}
        self._verified: Verified | None = None
        self.failures: tuple[Failure, ...] = ()

    def embedder(self, look: Look) -> Embedder:
        """The model that sees photos so, fitted to the gallery's if it must be; one for looks that are one to it."""
        if look not in self._embedders:
            loaded = self._load(look)
            alike = (one for like, one in self._embedders.items() if self._names[like] == loaded.card.fingerprint)
            self._names[look] = loaded.card.fingerprint
            self._embedders[look] = next(alike, None) or fit_model(loaded, self._source, self._truth.gallery)
        return self._embedders[look]

    @property
    def places(self) -> tuple[int, int]:
        """How many places known queries are of, and open-set ones."""
        codes = self._truth.groups.codes
        return len(np.unique(codes[self._truth.evaluated])), len(np.unique(codes[self._truth.open_set]))

    def usable(self, look: Look, stack: Stack) -> Usable:
        """Which of its steps the gallery takes."""
        table = PhotoTable.of(range(len(self._truth.gallery)), self._truth.gallery)
        return usable(stack, table, self.embedder(look).card.dim)

    def row(self, way: Way, *, left_out: str = "") -> Row:
        """Its row before anything is measured."""
        sight = self.embedder(way.look).card.sight
        nothing = math.nan, math.nan
        return Row(way.name, way.kind, sight, str(way.stack), {}, way.against, {}, *nothing, (), left_out)

    def run(self, way: Way) -> tuple[Scores, Row]:
        """Rank and score; the row has no gains yet, and notes no steps that are left out, see `usable`."""
        embedder = self.embedder(way.look)
        gallery, queries = self._embedded(embedder)
        step = way.stack.step(Verify)
        verified = self._features() if step else Verified()
        held = MemoryGallery.of(gallery.photos, gallery.embeddings, way.stack, verified=verified)
        rule, uncalibrated = held.rule("calibrated", labelled=True)
        predicted = held.predict(queries.embeddings, self._truth, rule, top=TOP)
        tau = math.nan if rule.tau is None else rule.tau
        scores = score(predicted, self._truth, self._protocol, tau=tau, intervals=False)
        values = {**scores.retrieval, **scores.open_set}
        return scores, dataclasses.replace(
            self.row(way),
            metrics={name: float(values.get(name, math.nan)) for name in METRICS},
            ms_per_query=self._milliseconds(way.stack, embedder, gallery, queries),
            bytes_per_photo=4.0 * held.learned.matrix.shape[1] + (_mean_bytes(verified.gallery) if step else 0),
            notes=tuple(filter(None, (uncalibrated,))),
        )

    def _embedded(self, embedder: Embedder) -> tuple[Embedded, Embedded]:
        name = embedder.card.fingerprint
        if name not in self._seen:
            with self._caching(embedder) as cache:
                gallery, queries = (
                    embed_all(self._source, photos, embedder, cache=cache, on_progress=self._stage(stage))
                    for stage, photos in (("gallery", self._truth.gallery), ("queries", self._truth.queries))
                )
            self._drop(gallery, queries)
            self._seen[name] = gallery, queries
        return self._seen[name]

    def _drop(self, gallery: Embedded, queries: Embedded) -> None:
        """Go on without what the first look could not read; all other looks must see the same photos."""
        failures = (*gallery.failures, *queries.failures)
        if failures and self._seen:
            message = f"every look must see every photo, got {failures[0].photo.path}: {failures[0].reason}; "
            raise EvaluationError(message + "make a clean manifest with 'placewise validate --fix'")
        self.failures += failures
        self._truth = still_whole(self._protocol, self._source, self._truth, gallery, queries)

    def _features(self) -> Verified:
        if self._verified is None:
            parts = self._truth.gallery, self._truth.queries
            there, here = (features_of_all(self._source, part, on_progress=self._stage("features")) for part in parts)
            self._verified = Verified(there, here)
        return self._verified

    def _stage(self, name: str) -> Callable[[int, int], None] | None:
        progress = self._on_progress
        return (lambda done, total: progress(name, done, total)) if progress else None

    def _milliseconds(self, stack: Stack, embedder: Embedder, gallery: Embedded, queries: Embedded) -> float:
        """What one query costs: the photo's part by a few of them, the gallery's by asking with these again."""
        photos, name = queries.photos[:_TIMED], embedder.card.fingerprint
        if name not in self._cost:
            self._cost[name] = _median_ms(lambda photo: embedder.infer([embedder.read(self._bytes(photo))]), photos)
        cost = self._cost[name]
        verified = Verified()
        if stack.step(Verify):
            cost += _median_ms(lambda photo: features_of(self._bytes(photo)), photos)
            verified = Verified(self._features().gallery, self._features().queries)
        held = MemoryGallery.of(gallery.photos, gallery.embeddings, stack, verified=verified)

        def ask(row: int) -> None:
            verified.checks.clear()  # what was verified is remembered, and would cost nothing
            held.answer_one(queries.embeddings[row], row)

        return cost + _median_ms(ask, range(len(photos)))

    def _bytes(self, photo: Photo) -> bytes:
        return images.read_bytes(self._source.file(photo))


def _uncached(_: Embedder) -> AbstractContextManager[Cache | None]:
    return nullcontext()


def _median_ms(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """The median wall time of some work, in milliseconds; the first time is for warming up."""
    work(items[0])
    times = []
    for item in items:
        start = time.perf_counter()
        work(item)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def _mean_bytes(features: Sequence[Features | None]) -> float:
    sizes = [len(one.to_bytes()) for one in features if one is not None]
    return statistics.fmean(sizes) if sizes else 0.0
