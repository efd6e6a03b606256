"""The ``place`` protocol on a labelled set: queries are answered and saved first, then scored. Holds no formula.

Positives of a query are all gallery photos of its place. A query whose place is not in the gallery is an open-set
query: retrieval metrics exclude it, open-set metrics want it UNKNOWN. A query without a place is answered, never
scored, and counted.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise import metrics, rank
from placewise.core import Hit, Neighbors, Photo
from placewise.embed import Failure, embed_photos
from placewise.errors import EvaluationError
from placewise.evaluation import Evaluation, QueryResult, save_answers
from placewise.files import check_output
from placewise.openset import (
    DEFAULT_AIM,
    Aim,
    CalibratedRule,
    Places,
    Rule,
    SimilarityRule,
    calibrate,
    check_tau,
    self_exam,
    sweep,
)
from placewise.search import ExactSearcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.cache import Cache
    from placewise.core import Embedder, Embeddings, Source
    from placewise.metrics import Reliability

    Progress = Callable[[str, int, int], None]
    """Called with (stage, photos done, photos in all)."""

HITS = 10
"""Hits kept for each query: as many as Recall@10 and a reader of the report want to see."""

_NOTHING = -1.0
"""The confidence where there is nothing to compare: below every tau."""

_QUERIES_AT_A_TIME = 256


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
    tau: float | Aim = DEFAULT_AIM,
    cache: Cache | None = None,
    answers: Path | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Run the whole pipeline on a labelled set.

    Args:
        source: a manifest with a gallery and labelled queries.
        embedder: the model.
        tau: a fixed threshold on the best similarity, or what the gallery is to achieve by calibrating itself.
        cache: embeddings of earlier runs.
        answers: a JSON-lines file that receives every answer before anything is scored.
        on_progress: called with (stage, photos done, photos in all).

    Raises:
        EvaluationError: if the source cannot be evaluated, with the reason.
        CalibrationError: if the gallery cannot calibrate itself; name a tau then.
        OptionError: if tau is no cosine.
    """
    if not isinstance(tau, Aim):
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
    rule = _calibrated(gallery, tau) if isinstance(tau, Aim) else SimilarityRule(tau)
    tau = rule.tau or 0.0
    watch.lap("calibrate")
    results = _answer(gallery, queries, rule)
    watch.lap("search")
    if answers:
        save_answers(results, answers)
    scored = confidences(results)
    known, correct, open_set = scored
    calibration = rule.calibration if isinstance(rule, CalibratedRule) else None
    risk = metrics.risk_coverage(*scored)
    reliability = _reliability(*scored) if calibration and calibration.confidence else None
    evaluation = Evaluation(
        records=len(source.photos),
        gallery=len(gallery.photos),
        card=embedder.card,
        tau=tau,
        calibration=calibration,
        results=results,
        retrieval=_retrieval(results),
        counts=metrics.open_set_counts(known, open_set, tau),
        open_set={
            "known_accepted_right": _share_right(known, correct, tau),
            "wrong_place_rate": metrics.wrong_place_rate(known, correct, tau),
            "auroc": metrics.auroc(known, open_set),
            "fpr95": metrics.fpr95(known, open_set),
            "fpr95_open_set": metrics.fpr95_open_set(known, open_set),
            "oscr": metrics.oscr(*scored),
            "gap": metrics.gap(*scored),
            "aurc": risk.area,
            **({"ece": reliability.ece} if reliability else {}),
        },
        sweep=sweep(*_similarities(results)),
        choices=tuple(
            (
                choice.false_accept_rate,
                metrics.open_set_counts(known, open_set, choice.tau),
                _share_right(known, correct, choice.tau),
            )
            for choice in (calibration.choices if calibration else ())
        ),
        risk=risk,
        reliability=reliability,
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


def _similarities(results: Sequence[QueryResult]) -> tuple[list[float], list[float]]:
    """The best similarities of known and of open-set queries."""
    known = [result.similarity for result in results if result.open_set is False]
    return known, [result.similarity for result in results if result.open_set]


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


def _calibrated(gallery: _Embedded, aim: Aim) -> CalibratedRule:
    """The rule that the gallery learns from itself."""
    rows = np.arange(len(gallery.photos))
    places = Places.of_labels([photo.place for photo in gallery.photos])
    exam = self_exam(gallery.embeddings, places)
    calibration = calibrate(exam, names=places.names, ids=rows, aim=aim)
    cohort = np.array(calibration.cohort, dtype=np.int64)
    return CalibratedRule(calibration, gallery.embeddings[cohort], places.codes[cohort])


def _answer(gallery: _Embedded, queries: _Embedded, rule: Rule) -> tuple[QueryResult, ...]:
    """Rank the whole gallery for each query; a few hundred queries at a time bound the memory."""
    by_place: dict[str, list[int]] = {}
    for row, photo in enumerate(gallery.photos):
        if photo.place is not None:
            by_place.setdefault(photo.place, []).append(row)
    positives = {place: np.array(rows, dtype=np.int64) for place, rows in by_place.items()}
    codes = Places.of_labels([photo.place for photo in gallery.photos]).codes
    none = np.empty(0, dtype=np.int64)
    searcher = ExactSearcher(gallery.embeddings.shape[1])
    searcher.upsert(np.arange(len(gallery.photos), dtype=np.int64), gallery.embeddings)
    results = []
    for start in range(0, len(queries.photos), _QUERIES_AT_A_TIME):
        block = slice(start, start + _QUERIES_AT_A_TIME)
        found = searcher.search(queries.embeddings[block], len(searcher))
        seen = _seen(found, codes, rule)
        verdicts = rule.judge(queries.embeddings[block], seen.similarities, codes[seen.ids])
        for query, ids, similarities, best, verdict in zip(
            queries.photos[block], found.ids, found.similarities, seen.ids, verdicts, strict=True
        ):
            hits = zip(ids[:HITS].tolist(), similarities[:HITS].tolist(), strict=True)
            results.append(
                QueryResult(
                    query=query,
                    open_set=None if query.place is None else query.place not in positives,
                    hits=tuple(Hit(gallery.photos[row], similarity) for row, similarity in hits),
                    positive_ranks=rank.positive_ranks(ids, positives.get(query.place or "", none)),
                    confidence=_NOTHING if verdict.confidence is None else verdict.confidence,
                    place=gallery.photos[int(best[verdict.hit])].place if verdict.hit >= 0 else None,
                    reason=verdict.reason,
                )
            )
    return tuple(results)


def _share_right(known: NDArray[np.float64], correct: NDArray[np.bool_], tau: float) -> float:
    """The share of known queries that are accepted with the right place."""
    return float(np.mean((known >= tau) & correct)) if known.size else math.nan


def _reliability(known: NDArray[np.float64], correct: NDArray[np.bool_], open_set: NDArray[np.float64]) -> Reliability:
    """How well the probabilities agree with what came true; the answer to an open-set query is never right."""
    probabilities = np.clip(np.concatenate([known, open_set]), 0, 1)
    outcomes = np.concatenate([correct, np.zeros(len(open_set), dtype=bool)])
    return metrics.reliability(probabilities, outcomes)


def _seen(found: Neighbors, codes: NDArray[np.int64], rule: Rule) -> Neighbors:
    """The hits that a rule wants to see, of rankings of the whole gallery."""
    if rule.labelled_only:
        keep, queries = codes[found.ids] >= 0, len(found.ids)
        found = Neighbors(found.ids[keep].reshape(queries, -1), found.similarities[keep].reshape(queries, -1))
    return Neighbors(found.ids[:, : rule.hits], found.similarities[:, : rule.hits])


def _retrieval(results: Sequence[QueryResult]) -> dict[str, float]:
    ranks = [result.positive_ranks for result in results if result.open_set is False]
    return {
        **{f"recall@{k}": metrics.recall_at_k(ranks, k) for k in (1, 5, 10)},
        "map": metrics.mean_average_precision(ranks),
    }


class _Stopwatch:
    """Wall time of consecutive stages, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round(now - self._last, 3)
        self._last = now
