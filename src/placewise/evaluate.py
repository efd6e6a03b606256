"""A labelled set by a protocol: queries are answered and saved first, then scored. Holds no formula.

The protocol says what is right for each query; see `placewise.scoring.protocols`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from placewise import doctor, metrics
from placewise.checking import features_of_all
from placewise.embed import Embedded, embed_all
from placewise.errors import OptionError
from placewise.evaluation import HITS, Evaluation, QueryResult, results_of, save_answers
from placewise.files import check_output
from placewise.fitting import fit_model
from placewise.in_memory import MemoryGallery, Verified
from placewise.metrics import OpenSetCounts
from placewise.openset import (
    Aim,
    CalibratedRule,
    Rule,
    check_tau,
    sweep,
)
from placewise.rank import NO_STACK, Stack, Verify
from placewise.scoring.predictions import (
    TOP,
    check_predictions_output,
    save_predictions,
)
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.scoring.readable import check_rows, still_whole
from placewise.scoring.scores import Scores, score
from placewise.scoring.truth import Protocol, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placewise.cache import Cache
    from placewise.core import Embedder, ModelCard, Photo, Source
    from placewise.doctor import Examination
    from placewise.features import Features
    from placewise.metrics import Reliability

    Progress = Callable[[str, int, int], None]
    """Called with (stage, photos done, photos in all)."""


def evaluate_source(  # noqa: PLR0913  # each is an option of its own
    source: Source,
    embedder: Embedder,
    *,
    protocol: Protocol | str = "place",
    tau: float | Aim | Literal["calibrated"] = "calibrated",
    stack: Stack = NO_STACK,
    cache: Cache | None = None,
    predictions: Path | None = None,
    top: int | None = TOP,
    answers: Path | None = None,
    intervals: bool = True,
    examine: bool = False,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Run the whole pipeline on a labelled set.

    Args:
        source: a gallery and queries, and what the protocol needs to know of them.
        embedder: the model; one that learns from photos learns from the gallery's.
        protocol: what counts as right, or its spelling.
        tau: a fixed threshold on the plain similarity of the best hit, or what the gallery is to achieve by calibrating
            itself, as `calibrate` lets it; ``calibrated`` decides as a gallery that `index` has made. Both are for
            protocols that go by labels; by others nothing is decided without a fixed tau.
        stack: how the gallery ranks, as `locate` does with a gallery that holds it.
        cache: embeddings of earlier runs.
        predictions: a CSV file that receives the ranked hits before anything is scored; see `save_predictions`.
        top: hits that it holds of each query; None for all.
        answers: a JSON-lines file that receives every answer before anything is scored.
        intervals: whether to resample for the intervals of the metrics.
        examine: whether the doctor looks at the photos first, which decodes each of them once more.
        on_progress: called with (stage, photos done, photos in all).

    Raises:
        EvaluationError: if the source cannot be evaluated, with the reason.
        CalibrationError: if the gallery cannot achieve anything by calibrating itself.
        OptionError: if tau is no cosine, or an option does not fit the protocol.
    """
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    _check_options(protocol, tau, top, predictions, answers)
    check_rows(source)
    wanted = truth_of(protocol, source)
    watch = _Stopwatch()
    examination = doctor.examine(source, on_progress=_stage("validate", on_progress)) if examine else None
    if examine:
        watch.lap("validate")
    unfitted = embedder
    embedder, cache = _fitted(embedder, source, wanted, cache, on_progress)
    if embedder is not unfitted:
        watch.lap("fit")
    gallery = embed_all(source, wanted.gallery, embedder, cache=cache, on_progress=_stage("gallery", on_progress))
    watch.lap("embed_gallery")
    queries = (
        gallery
        if wanted.asks_itself
        else embed_all(source, wanted.queries, embedder, cache=cache, on_progress=_stage("queries", on_progress))
    )
    watch.lap("embed_queries")
    truth = still_whole(protocol, source, wanted, gallery, queries)
    there = _features(stack, source, gallery.photos, _stage("features", on_progress))
    here = there if wanted.asks_itself else _features(stack, source, queries.photos, _stage("features", on_progress))
    if stack.step(Verify):
        watch.lap("features")
    verified, asks_itself = Verified(there, here), wanted.asks_itself
    held = MemoryGallery.of(gallery.photos, gallery.embeddings, stack, verified=verified, asks_itself=asks_itself)
    rule, uncalibrated = held.rule(tau, labelled=protocol.labelled)
    watch.lap("calibrate")
    predicted = held.predict(queries.embeddings, truth, rule, top=top)
    watch.lap("search")
    results = results_of(predicted, truth)
    if predictions:
        save_predictions(predicted, truth, predictions)
    if answers:
        save_answers(results, answers)
    watch.lap("save")
    scores = score(predicted, truth, protocol, tau=math.nan if rule.tau is None else rule.tau, intervals=intervals)
    plain = held.plain(queries.embeddings, predicted)
    run = _Run(gallery, queries, truth, rule, results, scores, examination, plain)
    evaluation = dataclasses.replace(
        _evaluation(source, embedder.card, run, seconds=watch.laps),
        ranking=str(stack),
        notes=held.notes,
        uncalibrated=uncalibrated,
    )
    watch.lap("score")
    return evaluation


def _fitted(
    embedder: Embedder, source: Source, wanted: Truth, cache: Cache | None, on_progress: Progress | None
) -> tuple[Embedder, Cache | None]:
    """The model, fitted on the gallery's photos if it has to be, never on queries or their labels; and its cache."""
    photos = wanted.gallery
    if wanted.asks_itself:
        photos = tuple(dataclasses.replace(photo, place=None) for photo in photos)
    fitted = fit_model(embedder, source, photos, on_progress=_stage("learning", on_progress))
    return fitted, cache.of(fitted) if cache else None


class _Run(NamedTuple):
    """What came of the stages."""

    gallery: Embedded
    queries: Embedded
    truth: Truth
    rule: Rule
    results: tuple[QueryResult, ...]
    scores: Scores
    examination: Examination | None
    plain: NDArray[np.float32]


def _evaluation(source: Source, card: ModelCard, run: _Run, *, seconds: dict[str, float]) -> Evaluation:
    """The scores with what a report shows beside them."""
    scores = run.scores
    known, correct, open_set = confidences(run.results)
    calibration = run.rule.calibration if isinstance(run.rule, CalibratedRule) else None
    reliability = _reliability(known, correct, open_set) if calibration and calibration.confidence else None
    parts = (run.gallery,) if run.truth.asks_itself else (run.gallery, run.queries)
    return Evaluation(
        records=len(source.photos),
        gallery=len(run.gallery.photos),
        card=card,
        tau=scores.tau,
        calibration=calibration,
        results=run.results,
        retrieval=scores.retrieval,
        counts=scores.decisions or OpenSetCounts(0, 0, 0, 0),
        open_set={**scores.open_set, **({"ece": reliability.ece} if reliability else {})},
        sweep=sweep(*_similarities(run)),
        choices=tuple(
            (
                choice.false_accept_rate,
                metrics.open_set_counts(known, open_set, choice.tau),
                float(np.mean((known >= choice.tau) & correct)) if known.size else math.nan,
            )
            for choice in (calibration.choices if calibration else ())
        ),
        risk=metrics.risk_coverage(known, correct, open_set),
        reliability=reliability,
        seconds=seconds,
        computed=sum(part.computed for part in parts),
        failures=tuple(failure for part in parts for failure in part.failures),
        protocol=f"{scores.protocol.spelled}: {scores.protocol.law}",
        intervals=scores.intervals,
        scores=scores,
        examination=run.examination,
    )


def _check_options(
    protocol: Protocol, tau: float | Aim | str, top: int | None, predictions: Path | None, answers: Path | None
) -> None:
    if isinstance(tau, float | int):
        check_tau(tau)
    elif isinstance(tau, Aim) and not protocol.labelled:
        message = f"a gallery calibrates itself by labels, got the protocol {protocol.spelled}; name a tau instead"
        raise OptionError(message)
    if top is not None and top < HITS:
        message = f"top must be at least {HITS} or all, got {top}"
        raise OptionError(message)
    if predictions:
        check_predictions_output(predictions)
    if answers:
        check_output(answers, ".jsonl")


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


def _similarities(run: _Run) -> tuple[list[float], list[float]]:
    """The plain similarities of the best hits of known and of open-set queries: what a fixed tau is compared with."""
    pairs = list(zip(run.results, run.plain.tolist(), strict=True))
    known = [similarity for result, similarity in pairs if result.open_set is False]
    return known, [similarity for result, similarity in pairs if result.open_set]


def _stage(name: str, on_progress: Progress | None) -> Callable[[int, int], None] | None:
    return (lambda done, total: on_progress(name, done, total)) if on_progress else None


def _features(
    stack: Stack, source: Source, photos: Sequence[Photo], on_progress: Callable[[int, int], None] | None
) -> list[Features | None]:
    """Local features, where hits are verified."""
    return features_of_all(source, photos, on_progress=on_progress) if stack.step(Verify) else []


def _reliability(known: NDArray[np.float64], correct: NDArray[np.bool_], open_set: NDArray[np.float64]) -> Reliability:
    """How well the probabilities agree with what came true; the answer to an open-set query is never right."""
    probabilities = np.clip(np.concatenate([known, open_set]), 0, 1)
    outcomes = np.concatenate([correct, np.zeros(len(open_set), dtype=bool)])
    return metrics.reliability(probabilities, outcomes)


class _Stopwatch:
    """Wall time of consecutive stages, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round(now - self._last, 3)
        self._last = now
