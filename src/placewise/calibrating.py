"""Where a gallery's UNKNOWN begins: learned from the gallery or from labelled queries, kept in it, read from it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from placewise.checking import CheckedHits, Examiner, check_all, features_of_all
from placewise.embed import embed_photos
from placewise.errors import CalibrationError, FeaturesDamagedError, OptionError
from placewise.gallery_ranking import current_ranking, ranking_of, steps_text
from placewise.kept_features import KeptFeatures
from placewise.openset import (
    DEFAULT_AIM,
    DEFAULT_TAU,
    HITS,
    SAMPLED_PHOTOS,
    Aim,
    CalibratedRule,
    Calibration,
    Exam,
    Places,
    Questions,
    Rule,
    SimilarityRule,
    background_of,
    calibrate,
    calibration_from_json,
    calibration_to_json,
    cohort_of,
    evidence_of,
    self_exam,
)
from placewise.rank import MOST_VERIFIED, Ranker, SelfTaught, Stack, Verify, islands_of, learn
from placewise.search import ExactSearcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from placewise.cache import Cache
    from placewise.core import Embedder, Embeddings, Neighbors, Photo, Source, Tau
    from placewise.features import Features
    from placewise.gallery_file import GalleryFile
    from placewise.photo_table import PhotoTable

    Progress = Callable[[int, int], None]


_AT_HAND = 1024
"""Photos whose local features are kept decoded, 100 KB each."""

_LEAST_COHORT = 2
"""With fewer photos of other places there is no contrast."""


def read_calibration(gallery: GalleryFile) -> Calibration | None:
    """The calibration that a gallery holds.

    Raises:
        CalibrationError: if it is damaged.
    """
    text = gallery.calibration
    return None if text is None else calibration_from_json(text)


def rule_for(gallery: GalleryFile, table: PhotoTable, tau: Tau, *, ranker: Ranker) -> tuple[Rule, NDArray[np.int64]]:
    """The rule that decides on a gallery's answers, and the codes of what its photos show, ``(N,)``.

    Args:
        gallery: the gallery.
        ranker: what ranks its photos.
        table: its photos.
        tau: ``calibrated`` takes `DEFAULT_TAU` where no calibration is `deciding`; a fixed one is compared with the
            cosine of embeddings, whatever the gallery ranks by.

    Raises:
        CalibrationError: if the calibration is damaged, or none of the photos that it rests on is left.
        OptionError: if tau is no cosine.
    """
    if isinstance(tau, str) and tau != "calibrated":
        message = f"tau must be a number, None or 'calibrated', got {tau!r}"
        raise OptionError(message)
    calibration = deciding(gallery, ranker.stack) if tau == "calibrated" else None
    if calibration is None:
        return SimilarityRule(DEFAULT_TAU if isinstance(tau, str) else tau), np.full(len(table), -1)
    codes = table.places_by(calibration.unit).codes
    ids, cohort = ranker.vectors(np.array(calibration.cohort, dtype=np.int64))
    if not has_cohort(calibration, ids) and (codes >= 0).any():
        message = (
            f"the photos that a calibration rests on must be in the gallery, got {len(ids)} of them; "
            f"{how_again(calibration)}"
        )
        raise CalibrationError(message)
    return CalibratedRule(calibration, cohort, codes[table.rows_of(ids)]), codes


def calibrate_gallery(
    gallery: GalleryFile,
    *,
    aim: Aim = DEFAULT_AIM,
    most: int = SAMPLED_PHOTOS,
    on_progress: Progress | None = None,
) -> Calibration:
    """Calibrate a gallery on its own photos, and keep the calibration in it.

    Args:
        gallery: the gallery, with two or more places.
        aim: what to achieve.
        most: so many photos ask.
        on_progress: called with (photos that have asked, in all).

    Raises:
        CalibrationError: if nothing tells one place of the gallery from another.
        FeaturesDamagedError: if local features that hits are verified by are not what was written.
        GalleryError: if the gallery's ranking is damaged.
    """
    with gallery.reading():
        table, (ids, embeddings), revision = gallery.table(), gallery.matrix(), gallery.revision
        stack = ranking_of(gallery, table).stack
    places = table.places()
    told = SelfTaught(stack, embeddings, table.place_codes.astype(np.int64), places.codes)
    check = _examiner(gallery, stack, table)
    exam = self_exam(embeddings, places, told=told, check=check, seed=aim.seed, most=most, on_progress=on_progress)
    calibration = calibrate(exam, names=places.names, ids=ids, unit=places.unit, aim=aim)
    return _kept(gallery, dataclasses.replace(calibration, basis="gallery", revision=revision), stack)


def _examiner(gallery: GalleryFile, stack: Stack, table: PhotoTable) -> Examiner | None:
    """What verifies the questions of a gallery whose hits are verified."""
    step = stack.step(Verify)
    if step is None:
        return None
    return Examiner(_stored_features(gallery, table.ids), step, islands=islands_of(stack, table))


def _stored_features(gallery: GalleryFile, ids: NDArray[np.int64]) -> Callable[[int], Features | None]:
    """The local features that a gallery keeps of a photo, by its row; a promise is not made on damaged ones."""
    kept = KeptFeatures(gallery)

    @lru_cache(_AT_HAND)
    def of(row: int) -> Features | None:
        found = kept.usable(int(ids[row]))
        if kept.damage:
            raise FeaturesDamagedError(kept.damage)
        return found

    return of


def _verifier(
    gallery: GalleryFile, stack: Stack, ids: NDArray[np.int64], source: Source, asked: list[Photo]
) -> Callable[[Neighbors], CheckedHits] | None:
    """What verifies the hits of labelled queries, as `locate` will."""
    step = stack.step(Verify)
    if step is None:
        return None
    there, queries = _stored_features(gallery, ids), features_of_all(source, asked)
    return lambda found: check_all(found, queries, step, there, [{} for _ in queries])


def calibrate_labelled(
    gallery: GalleryFile,
    source: Source,
    embedder: Embedder,
    *,
    aim: Aim = DEFAULT_AIM,
    cache: Cache | None = None,
    on_progress: Progress | None = None,
) -> Calibration:
    """Calibrate a gallery on real queries of which the place is known, and keep the calibration in it.

    Args:
        gallery: the gallery, with labelled places.
        source: its labelled queries; those whose place the gallery does not hold are open-set queries.
        embedder: the gallery's model.
        aim: what to achieve.
        cache: embeddings of earlier runs.
        on_progress: called with (queries embedded, in all).

    Raises:
        CalibrationError: if the queries hold no open-set queries of two or more places.
        ModelMismatchError: if the gallery holds another model's embeddings.
        FeaturesDamagedError: if local features that hits are verified by are not what was written.
    """
    gallery.check_model(embedder.card)
    with gallery.reading():
        table, (ids, embeddings), revision = gallery.table(), gallery.matrix(), gallery.revision
        stack = ranking_of(gallery, table).stack
    queries = tuple(photo for photo in source.of("query") if photo.place)
    batches = list(embed_photos(source, queries, embedder, cache=cache, on_progress=on_progress))
    asked = [photo for batch in batches for photo in batch.photos]
    vectors = np.concatenate([np.empty((0, embeddings.shape[1]), np.float32), *(batch.embeddings for batch in batches)])
    learned = learn(stack, embeddings, table.place_codes.astype(np.int64))
    verified = _verifier(gallery, stack, ids, source, asked)
    exam, names = _labelled_exam(learned.matrix, table, asked, learned.ask(vectors), aim.seed, verified)
    calibration = calibrate(exam, names=names, ids=ids, aim=aim)
    return _kept(gallery, dataclasses.replace(calibration, basis=str(source.root), revision=revision), stack)


def _labelled_exam(  # what an exam is made of
    embeddings: Embeddings,
    table: PhotoTable,
    asked: list[Photo],
    vectors: Embeddings,
    seed: int,
    verified: Callable[[Neighbors], CheckedHits] | None = None,
) -> tuple[Exam, tuple[str, ...]]:
    """Real queries as an exam, and the names of the places that occur in it."""
    places = Places.of_labels([*(photo.place for photo in table.photos()), *(photo.place for photo in asked)])
    held, wanted = places.codes[: len(table)], places.codes[len(table) :]
    known = np.isin(wanted, held)
    if known.all():
        message = (
            f"labelled queries must hold open-set queries, whose place is not in the gallery, got none of "
            f"{len(asked)}; leave --labelled out to calibrate on the gallery itself"
        )
        raise CalibrationError(message)
    labelled = np.flatnonzero(held >= 0)
    if not labelled.size:
        message = (
            f"the gallery of labelled queries must hold photos with a place, got none of {len(held)}; "
            f"put places into its manifest and index again"
        )
        raise CalibrationError(message)
    searcher = ExactSearcher(embeddings.shape[1])
    searcher.upsert(labelled, embeddings[labelled])
    found = searcher.search(vectors, max(HITS, MOST_VERIFIED) if verified else HITS)
    checked = verified(found) if verified else CheckedHits(found.ids, found.similarities)
    seen, similarities, geometry = checked.first(HITS)
    cohort = cohort_of(held, seed)
    background = background_of(vectors, embeddings[cohort])
    evidence, _ = evidence_of(similarities, held[seen], background, held[cohort], geometry)
    named = held[seen[:, 0]]
    questions = Questions(evidence, wanted, named, named == wanted)
    count = len(np.unique(held[labelled]))
    return Exam(questions.take(known), questions.take(~known), cohort, count, left=1.0), places.names


def _kept(gallery: GalleryFile, calibration: Calibration, stack: Stack) -> Calibration:
    made = datetime.now(UTC).isoformat(timespec="seconds")
    calibration = dataclasses.replace(calibration, made=made, ranking=stack.to_json())
    gallery.put_calibration(calibration_to_json(calibration))
    return calibration


def has_cohort(calibration: Calibration, ids: NDArray[np.int64]) -> bool:
    """Whether enough of the photos that a calibration rests on are among these."""
    return not calibration.cohort or int(np.isin(calibration.cohort, ids).sum()) >= _LEAST_COHORT


def is_of(calibration: Calibration, stack: Stack) -> bool:
    """Whether a calibration was learned from what these steps answer; else its tau is of other similarities."""
    return calibration.ranking in {None, stack.to_json()}


def deciding(gallery: GalleryFile, stack: Stack) -> Calibration | None:
    """The calibration that decides in a gallery: one of the ranking that answers, the steps that are taken.

    Raises:
        CalibrationError: if it is damaged.
    """
    calibration = read_calibration(gallery)
    return calibration if calibration and is_of(calibration, stack) else None


def how_again(calibration: Calibration) -> str:
    """What to type to learn it anew from what it was learned from."""
    if calibration.basis == "gallery":
        return "run 'placewise calibrate' again"
    return f"run 'placewise calibrate --labelled SOURCE' again, with the queries of {calibration.basis}"


def staleness(gallery: GalleryFile, calibration: Calibration, stack: Stack | None = None) -> str:
    """What has happened to a gallery since it was calibrated, in words; empty if nothing has.

    ``stack`` has the steps that are taken; those of `current_ranking` if None.
    """
    stack = stack or current_ranking(gallery).stack
    if not is_of(calibration, stack):
        what = f"it ranks otherwise, now by {steps_text(stack)}, so that a fixed tau decides"
    elif gallery.revision == calibration.revision:
        return ""
    else:
        changes = gallery.changes_since(calibration.revision)
        what = (
            f"embeddings added or removed: {changes}" if changes else "its labels, photos or local features are others"
        )
    return f"the gallery has changed since it was calibrated: {what}; {how_again(calibration)}"
