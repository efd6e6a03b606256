"""The ``place`` protocol on a labelled set: queries are answered and saved first, then scored. Holds no formula.

Positives of a query are all gallery photos of its place. A query whose place is not in the gallery is an open-set
query: retrieval metrics exclude it, open-set metrics want it UNKNOWN. A query without a place is answered, never
scored, and counted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise import metrics, rank
from placewise.core import Hit
from placewise.embed import Failure, embed_photos
from placewise.errors import EvaluationError
from placewise.files import check_output, write_atomically
from placewise.openset import DEFAULT_TAU, check_tau, sweep
from placewise.search import ExactSearcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.cache import Cache
    from placewise.core import Embedder, Embeddings, ModelCard, Photo, Source
    from placewise.metrics import OpenSetCounts

    Progress = Callable[[str, int, int], None]
    """Called with (stage, photos done, photos in all)."""

HITS = 10
"""Hits kept for each query: as many as Recall@10 and a reader of the report want to see."""

_QUERIES_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What was answered to one query: enough to score it and to show it.

    Attributes:
        query: the query photo.
        open_set: whether its place is missing from the gallery; None where it has no place label.
        hits: the first `HITS` gallery photos, best first.
        positive_ranks: the 1-based ranks of all its positives, ascending.
    """

    query: Photo
    open_set: bool | None
    hits: tuple[Hit, ...]
    positive_ranks: NDArray[np.int64]

    @property
    def confidence(self) -> float:
        """What tau is compared with: the best hit's similarity."""
        return self.hits[0].similarity

    @property
    def correct(self) -> bool:
        """Whether the best hit shows the query's place."""
        return self.query.place is not None and self.hits[0].photo.place == self.query.place


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A scored run: what was measured, on what, with which model, and every answer behind the numbers.

    Attributes:
        records: usable photos of the source.
        gallery: embedded gallery photos.
        card: the model.
        tau: the threshold of ``open_set``.
        results: one per embedded query, in manifest order.
        retrieval: ``recall@1``, ``recall@5``, ``recall@10``, ``map``.
        counts: decisions at tau.
        open_set: the threshold-free open-set metrics and ``wrong_place_rate``.
        sweep: decisions at other thresholds.
        seconds: wall time of each stage.
        computed: photos the network was run for; the others came from the cache.
        failures: photos that could not be embedded.
    """

    records: int
    gallery: int
    card: ModelCard
    tau: float
    results: tuple[QueryResult, ...]
    retrieval: dict[str, float]
    counts: OpenSetCounts
    open_set: dict[str, float]
    sweep: tuple[tuple[float, OpenSetCounts], ...]
    seconds: dict[str, float]
    computed: int
    failures: tuple[Failure, ...]

    @property
    def open_set_queries(self) -> int:
        """Queries whose place is not in the gallery."""
        return sum(result.open_set is True for result in self.results)

    @property
    def unlabelled_queries(self) -> int:
        """Queries without a place label: answered, not scored."""
        return sum(result.open_set is None for result in self.results)


@dataclass(frozen=True, slots=True)
class _Embedded:
    photos: tuple[Photo, ...]
    embeddings: Embeddings
    computed: int
    failures: tuple[Failure, ...]


def evaluate_source(
    source: Source,
    embedder: Embedder,
    *,
    tau: float = DEFAULT_TAU,
    cache: Cache | None = None,
    answers: Path | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Run the whole pipeline on a labelled set.

    Args:
        source: a manifest with a gallery and labelled queries.
        embedder: the model.
        tau: below this confidence an answer is UNKNOWN.
        cache: embeddings of earlier runs.
        answers: a JSON-lines file that receives every answer before anything is scored.
        on_progress: called with (stage, photos done, photos in all).

    Raises:
        EvaluationError: if the source cannot be evaluated, with the reason.
        OptionError: if tau is no cosine.
    """
    check_tau(tau)
    if answers:
        check_output(answers, ".jsonl")
    _check(source)
    watch = _Stopwatch()
    gallery = _embed(source, source.of("gallery"), embedder, cache, "gallery", on_progress)
    watch.lap("embed_gallery")
    queries = _embed(source, source.of("query"), embedder, cache, "queries", on_progress)
    watch.lap("embed_queries")
    _check_still_whole(source, gallery, queries)
    results = _answer(gallery, queries)
    watch.lap("search")
    if answers:
        save_answers(results, answers)
    known, correct, open_set = confidences(results)
    evaluation = Evaluation(
        records=len(source.photos),
        gallery=len(gallery.photos),
        card=embedder.card,
        tau=tau,
        results=results,
        retrieval=_retrieval(results),
        counts=metrics.open_set_counts(known, open_set, tau),
        open_set={
            "wrong_place_rate": metrics.wrong_place_rate(known, correct, tau),
            "auroc": metrics.auroc(known, open_set),
            "fpr95": metrics.fpr95(known, open_set),
            "oscr": metrics.oscr(known, correct, open_set),
        },
        sweep=sweep(known, open_set),
        seconds=watch.laps,
        computed=gallery.computed + queries.computed,
        failures=gallery.failures + queries.failures,
    )
    watch.lap("score")
    return evaluation


def confidences(
    results: Sequence[QueryResult],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """The confidences of known queries, whether each is correct, and the confidences of open-set queries."""
    known = [result for result in results if result.open_set is False]
    return (
        np.array([result.confidence for result in known], dtype=np.float64),
        np.array([result.correct for result in known], dtype=bool),
        np.array([result.confidence for result in results if result.open_set], dtype=np.float64),
    )


def save_answers(results: Sequence[QueryResult], path: Path) -> None:
    """Write one JSON object a line for each query, whole or not at all."""
    lines = [
        json.dumps(
            {
                "query": str(result.query.path),
                "place": result.query.place,
                "open_set": result.open_set,
                "confidence": result.confidence,
                "hits": [hit_json(hit) for hit in result.hits],
                "positive_ranks": result.positive_ranks.tolist(),
            },
            ensure_ascii=False,
        )
        for result in results
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def hit_json(hit: Hit) -> dict[str, object]:
    """A hit as the command line and the service show it."""
    return {
        "path": str(hit.photo.path),
        "place": hit.photo.place,
        "similarity": hit.similarity,
        "inliers": hit.inliers,
    }


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """The evaluation as one JSON document; what is undefined is null."""
    counts = evaluation.counts
    open_set = {"tau": evaluation.tau, **_counts_json(counts), **evaluation.open_set}
    document = {
        "dataset": {
            "records": evaluation.records,
            "gallery": evaluation.gallery,
            "queries": len(evaluation.results),
            "open_set_queries": evaluation.open_set_queries,
            "unlabelled_queries": evaluation.unlabelled_queries,
            "failed": [
                {"path": str(failure.photo.path), "kind": failure.kind, "reason": failure.reason}
                for failure in evaluation.failures
            ],
        },
        "model": {
            "name": evaluation.card.name,
            "dim": evaluation.card.dim,
            "fingerprint": evaluation.card.fingerprint,
        },
        "protocol": "place",
        "retrieval": evaluation.retrieval,
        "open_set": open_set,
        "tau_sweep": [{"tau": tau, **_counts_json(at_tau)} for tau, at_tau in evaluation.sweep],
        "embedded": evaluation.computed,
        "seconds": evaluation.seconds,
    }
    return {key: _without_nan(part) for key, part in document.items()}


def _check(source: Source) -> None:
    if source.bad_rows:
        first = source.bad_rows[0]
        message = (
            f"every row must be usable, or the numbers would be of another dataset; got {len(source.bad_rows)} bad "
            f"(first: {first.detail}); see them all with 'placewise validate'"
        )
        raise EvaluationError(message)
    places = {photo.place for photo in source.of("gallery")} - {None}
    if not places:
        message = "the gallery must hold a photo with a place, got none; put places into the manifest"
        raise EvaluationError(message)
    if not any(photo.place for photo in source.of("query")):
        message = "there must be a query with a place, got none; give photos split 'query' and their place"
        raise EvaluationError(message)


def _check_still_whole(source: Source, gallery: _Embedded, queries: _Embedded) -> None:
    """Refuse when unreadable photos would turn known queries into open-set ones, or leave nothing to score."""
    failures = {failure.photo.place: failure for failure in (*queries.failures, *gallery.failures)}
    lost = {photo.place for photo in source.of("gallery")} - {photo.place for photo in gallery.photos} - {None}
    if lost:
        place = min(place for place in lost if place)
        what, failure = f"gallery photo of {place!r}", failures[place]
    elif not any(photo.place for photo in queries.photos):
        what, failure = "query with a place", queries.failures[0]
    else:
        return
    message = (
        f"at least one {what} must be readable, got none ({failure.photo.path}: {failure.reason}); "
        f"mend the files or drop the rows"
    )
    raise EvaluationError(message)


def _embed(
    source: Source,
    photos: tuple[Photo, ...],
    embedder: Embedder,
    cache: Cache | None,
    stage: str,
    on_progress: Progress | None,
) -> _Embedded:
    def progress(done: int, total: int) -> None:
        if on_progress:
            on_progress(stage, done, total)

    batches = list(embed_photos(source, photos, embedder, cache=cache, on_progress=progress))
    return _Embedded(
        photos=tuple(photo for batch in batches for photo in batch.photos),
        embeddings=np.concatenate([batch.embeddings for batch in batches]),
        computed=sum(batch.computed for batch in batches),
        failures=tuple(failure for batch in batches for failure in batch.failures),
    )


def _answer(gallery: _Embedded, queries: _Embedded) -> tuple[QueryResult, ...]:
    """Rank the whole gallery for each query; a few hundred queries at a time bound the memory."""
    by_place: dict[str, list[int]] = {}
    for row, photo in enumerate(gallery.photos):
        if photo.place is not None:
            by_place.setdefault(photo.place, []).append(row)
    positives = {place: np.array(rows, dtype=np.int64) for place, rows in by_place.items()}
    none = np.empty(0, dtype=np.int64)
    searcher = ExactSearcher(gallery.embeddings.shape[1])
    searcher.upsert(np.arange(len(gallery.photos), dtype=np.int64), gallery.embeddings)
    results = []
    for start in range(0, len(queries.photos), _QUERIES_AT_A_TIME):
        block = slice(start, start + _QUERIES_AT_A_TIME)
        found = searcher.search(queries.embeddings[block], len(searcher))
        for query, ids, similarities in zip(queries.photos[block], found.ids, found.similarities, strict=True):
            results.append(
                QueryResult(
                    query=query,
                    open_set=None if query.place is None else query.place not in positives,
                    hits=rank.answer(ids[:HITS], similarities[:HITS], gallery.photos.__getitem__, tau=None).hits,
                    positive_ranks=rank.positive_ranks(ids, positives.get(query.place or "", none)),
                )
            )
    return tuple(results)


def _retrieval(results: Sequence[QueryResult]) -> dict[str, float]:
    ranks = [result.positive_ranks for result in results if result.open_set is False]
    return {
        **{f"recall@{k}": metrics.recall_at_k(ranks, k) for k in (1, 5, 10)},
        "map": metrics.mean_average_precision(ranks),
    }


def _counts_json(counts: OpenSetCounts) -> dict[str, float]:
    return {
        "unknown_precision": counts.unknown_precision,
        "unknown_recall": counts.unknown_recall,
        "unknown_f1": counts.unknown_f1,
        "false_accept_rate": counts.false_accept_rate,
        "false_reject_rate": counts.false_reject_rate,
        **dataclasses.asdict(counts),
    }


def _without_nan(value: object) -> object:
    """The same document with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


class _Stopwatch:
    """Wall time of consecutive stages, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round(now - self._last, 3)
        self._last = now
