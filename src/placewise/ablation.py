"""What is each step worth? A labelled set → a table of rankings, step by step and each left out, and a recommendation.

Every row answers the same queries; intervals are of paired differences, by places. A row's time is that of one query on
this machine: reading, embedding, features and ranking, one photo after the other.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placewise import images
from placewise.checking import features_of, features_of_all
from placewise.embed import Embedded, embed_all
from placewise.errors import EvaluationError
from placewise.files import write_atomically
from placewise.fitting import fit_model
from placewise.in_memory import MemoryGallery, Verified
from placewise.presets import PRESETS
from placewise.rank import Verify
from placewise.scoring.comparing import Compared, compare
from placewise.scoring.predictions import TOP
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.scoring.scores import score

if TYPE_CHECKING:
    from pathlib import Path

    from placewise.core import Embedder, Photo, Source
    from placewise.features import Features
    from placewise.models import Look
    from placewise.rank import Stack
    from placewise.scoring.scores import Scores

    Load = Callable[[Look], Embedder]

METRICS = ("map", "recall@1", "auroc")
"""What the table shows of each row."""

_TIMED = 16
_DEAR = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """One way to see photos and to rank.

    Attributes:
        name: what differs.
        kind: ``step`` (one more), ``without`` (one less) or ``preset``.
        sight: how photos are seen.
        ranking: the steps.
        metrics: metric → value.
        against: the name of the row that it is compared with; empty for none.
        gains: metric → 95 % interval of the difference to that row.
        ms_per_query: median wall time of one query, in milliseconds.
        bytes_per_photo: what the gallery keeps of a photo to answer by.
        notes: steps that were left out, and why.
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


@dataclass(frozen=True, slots=True)
class Ablation:
    """The table.

    Attributes:
        gallery: photos.
        queries: those that retrieval metrics count.
        open_set: open-set queries.
        rows: the table's.
        recommended: the name of a preset.
        because: why, in one line.
    """

    gallery: int
    queries: int
    open_set: int
    rows: tuple[Row, ...]
    recommended: str
    because: str


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A way to see and to rank, and what came of it."""

    name: str
    kind: str
    look: Look
    stack: Stack
    against: str = ""


def ablate_source(
    source: Source,
    load: Load,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Ablation:
    """Measure every step of the most thorough preset on a labelled set.

    Args:
        source: a gallery and queries with places.
        load: gives the model that sees photos in a way.
        on_progress: called with (stage, done, in all).

    Raises:
        EvaluationError: if a photo cannot be read, or nothing can be scored.
        CalibrationError: if the gallery cannot calibrate itself.
    """
    runs, bench = _runs(), _Bench(source, load, on_progress)
    scored: dict[str, Scores] = {}
    rows = []
    for number, run in enumerate(runs):
        scored[run.name], row = bench.run(run)
        gains = _gains(run, scored) if run.against else {}
        rows.append(dataclasses.replace(row, gains=gains))
        if on_progress:
            on_progress("rankings", number + 1, len(runs))
    recommended, because = _recommended(rows)
    counts = scored["fast"].counts
    return Ablation(bench.photos, counts["evaluated"], counts["open_set"], tuple(rows), recommended, because)


def _runs() -> list[_Run]:
    """Step by step from the fastest preset to the most thorough, then each step left out, then the presets between."""
    fast, *between, full = PRESETS.values()
    runs = [_Run(fast.name, "preset", fast.look, fast.stack), _Run("+ look", "step", full.look, fast.stack, fast.name)]
    for count, name in enumerate(full.stack.names, 1):
        runs.append(_Run(f"+ {name}", "step", full.look, full.stack.upto(count), runs[-1].name))
    whole = runs[-1].name
    runs.append(_Run("- look", "without", fast.look, full.stack, whole))
    runs += [_Run(f"- {name}", "without", full.look, full.stack.without(name), whole) for name in full.stack.names]
    runs += [_Run(preset.name, "preset", preset.look, preset.stack, fast.name) for preset in between]
    return [*runs, _Run(full.name, "preset", full.look, full.stack, between[-1].name)]


class _Bench:
    """Photos, embedded once for each look; features and what was verified are shared by all rows."""

    def __init__(self, source: Source, load: Load, on_progress: Callable[[str, int, int], None] | None) -> None:
        self._source, self._load, self._on_progress = source, load, on_progress
        self._protocol = find_protocol("place")
        self._truth = truth_of(self._protocol, source)
        self._embedders: dict[Look, Embedder] = {}
        self._seen: dict[Look, tuple[Embedded, Embedded]] = {}
        self._cost: dict[Look, float] = {}
        self._verified: Verified | None = None
        self.photos = len(self._truth.gallery)

    def run(self, run: _Run) -> tuple[Scores, Row]:
        """Rank and score; the row has no gains yet."""
        if run.look not in self._embedders:
            self._embedders[run.look] = fit_model(self._load(run.look), self._source, self._truth.gallery)
        embedder = self._embedders[run.look]
        gallery, queries = self._embedded(run.look, embedder)
        step = run.stack.step(Verify)
        verified = self._features() if step else Verified()
        held = MemoryGallery.of(gallery.photos, gallery.embeddings, run.stack, verified=verified)
        rule, _ = held.rule("calibrated", labelled=True)
        predicted = held.predict(queries.embeddings, self._truth, rule, top=TOP)
        scores = score(
            predicted, self._truth, self._protocol, tau=math.nan if rule.tau is None else rule.tau, intervals=False
        )
        values = {**scores.retrieval, **scores.open_set}
        return scores, Row(
            name=run.name,
            kind=run.kind,
            sight=embedder.card.sight,
            ranking=str(run.stack),
            metrics={name: float(values.get(name, math.nan)) for name in METRICS},
            against=run.against,
            gains={},
            ms_per_query=self._milliseconds(run, embedder, queries),
            bytes_per_photo=4.0 * held.learned.matrix.shape[1] + (_mean_bytes(verified.gallery) if step else 0),
            notes=held.notes,
        )

    def _embedded(self, look: Look, embedder: Embedder) -> tuple[Embedded, Embedded]:
        if look not in self._seen:
            both = [
                embed_all(self._source, photos, embedder, on_progress=self._stage(name))
                for name, photos in (("gallery", self._truth.gallery), ("queries", self._truth.queries))
            ]
            for part in both:
                if part.failures:
                    failure = part.failures[0]
                    message = f"every photo must be readable, got {failure.photo.path}: {failure.reason}; "
                    raise EvaluationError(message + "make a clean manifest with 'placewise validate --fix'")
            self._seen[look] = both[0], both[1]
        return self._seen[look]

    def _features(self) -> Verified:
        if self._verified is None:
            parts = self._truth.gallery, self._truth.queries
            there, here = (features_of_all(self._source, part, on_progress=self._stage("features")) for part in parts)
            self._verified = Verified(there, here)
        return self._verified

    def _stage(self, name: str) -> Callable[[int, int], None] | None:
        progress = self._on_progress
        return (lambda done, total: progress(name, done, total)) if progress else None

    def _milliseconds(self, run: _Run, embedder: Embedder, queries: Embedded) -> float:
        """What one query costs: the photo's part by a few of them, the gallery's by asking with these again."""
        photos = queries.photos[:_TIMED]
        if run.look not in self._cost:
            self._cost[run.look] = _median_ms(lambda photo: embedder.infer([embedder.read(self._bytes(photo))]), photos)
        cost = self._cost[run.look]
        gallery, _ = self._seen[run.look]
        verified = Verified()
        if run.stack.step(Verify):
            cost += _median_ms(lambda photo: features_of(self._bytes(photo)), photos)
            verified = Verified(self._features().gallery, self._features().queries)
        held = MemoryGallery.of(gallery.photos, gallery.embeddings, run.stack, verified=verified)
        return cost + _median_ms(lambda row: held.answer_one(queries.embeddings[row], row), range(len(photos)))

    def _bytes(self, photo: Photo) -> bytes:
        return images.read_bytes(self._source.file(photo))


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


def _gains(run: _Run, scored: Mapping[str, Scores]) -> dict[str, tuple[float, float]]:
    """The interval of each metric's difference to the row that this one is compared with."""
    names = run.against, run.name
    found = compare(*(Compared.of(name, scored[name]) for name in names))
    return {one.metric: (one.interval.low, one.interval.high) for one in found.differences if one.metric in METRICS}


def _recommended(rows: Sequence[Row]) -> tuple[str, str]:
    """The preset to take: a dearer one where it is surely better in something and surely worse in nothing.

    What costs more than `_DEAR` times as much as the one before it is not recommended, whatever it gains.
    """
    presets = [row for row in rows if row.kind == "preset"]
    chosen, because = presets[0], "nothing dearer is surely better here"
    for before, row in itertools.pairwise(presets):
        better = [name for name, (low, _) in row.gains.items() if low > 0]
        worse = [name for name, (_, high) in row.gains.items() if high < 0]
        dear = row.ms_per_query > _DEAR * before.ms_per_query
        if not better or worse or dear:
            why = f"surely worse in {', '.join(worse)}" if worse else "surely better in nothing" if not better else ""
            return chosen.name, f"{because}; {row.name} is {why or f'more than {_DEAR:g} times as slow'}"
        chosen, because = row, f"it is surely better than {before.name} in {', '.join(better)} and worse in nothing"
    return chosen.name, because


def ablation_json(ablation: Ablation) -> dict[str, object]:
    """The table as one JSON document; what is undefined is null."""
    rows = [
        {
            "name": row.name,
            "kind": row.kind,
            "sight": row.sight,
            "ranking": row.ranking,
            **{name: None if math.isnan(value) else value for name, value in row.metrics.items()},
            "against": row.against or None,
            "gains": {
                name: [None if math.isnan(limit) else limit for limit in limits] for name, limits in row.gains.items()
            },
            "ms_per_query": row.ms_per_query,
            "bytes_per_photo": row.bytes_per_photo,
            "notes": list(row.notes),
        }
        for row in ablation.rows
    ]
    counts = {"gallery": ablation.gallery, "queries": ablation.queries, "open_set_queries": ablation.open_set}
    return {**counts, "rows": rows, "recommended": ablation.recommended, "because": ablation.because}


def save_ablation(ablation: Ablation, path: Path) -> None:
    """Write the table as JSON, whole or not at all."""
    write_atomically(path, (json.dumps(ablation_json(ablation), indent=1) + "\n").encode())
