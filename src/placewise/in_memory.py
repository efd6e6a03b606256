"""A gallery in memory, as `evaluate` and `ablate` ask it: learned, calibrated and ranked like one in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from placewise.checking import Examiner, check
from placewise.openset import (
    DEFAULT_AIM,
    DEFAULT_TAU,
    FALLBACK,
    HITS,
    SAMPLED_PHOTOS,
    Aim,
    CalibratedRule,
    GeometryRule,
    Places,
    Rule,
    SimilarityRule,
    calibrate,
    calibrated_unasked,
    self_exam,
)
from placewise.photo_table import PhotoTable
from placewise.rank import Islands, Learned, SelfTaught, Stack, Verify, islands_of, learn, usable
from placewise.scoring.predictions import NOTHING
from placewise.scoring.ranking import Plain, rank_all
from placewise.search.exact import score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placewise.checking import Checked, Checks
    from placewise.core import Embeddings, Photo
    from placewise.features import Features
    from placewise.scoring.predictions import Prediction
    from placewise.scoring.truth import Truth


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """Local features of a gallery's and of the queries' photos, and what was verified of them so far.

    Attributes:
        gallery: of its N photos, None where there are none.
        queries: of the Q queries.
        checks: query → what was verified of its hits.
        exam: row → likewise for the gallery's own photos that ask.
    """

    gallery: Sequence[Features | None] = ()
    queries: Sequence[Features | None] = ()
    checks: dict[int, Checks] = field(default_factory=dict)
    exam: dict[int, Checks] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryGallery:
    """N photos, and how they are ranked.

    Attributes:
        embeddings: ``(N, dim)``.
        places: what each photo shows, by its label.
        stack: how hits are ranked: the steps that the gallery takes.
        notes: those that it leaves out, and why, a line each.
        learned: what the stack learned of them.
        verified: local features, where the stack verifies.
        islands: how frames of a sequence support one another, where they do.
    """

    embeddings: Embeddings
    places: Places
    stack: Stack
    notes: tuple[str, ...]
    learned: Learned
    verified: Verified
    islands: Islands | None = None

    @classmethod
    def of(
        cls,
        photos: Sequence[Photo],
        embeddings: Embeddings,
        stack: Stack,
        *,
        verified: Verified | None = None,
        asks_itself: bool = False,
    ) -> MemoryGallery:
        """Learn from photos; ``asks_itself`` as for `rank.usable`."""
        places, verified = Places.of_labels([photo.place for photo in photos]), verified or Verified()
        table, dim = PhotoTable.of(range(len(photos)), photos), embeddings.shape[1]
        taken = usable(stack, table, dim, features=bool(verified.gallery), asks_itself=asks_itself)
        learned, islands = learn(taken.stack, embeddings, places.codes), islands_of(taken.stack, table)
        return cls(embeddings, places, taken.stack, taken.notes, learned, verified, islands)

    def calibrated(self, aim: Aim, *, most: int = SAMPLED_PHOTOS) -> CalibratedRule:
        """The rule that the gallery learns from itself; so many of its photos ask.

        Raises:
            CalibrationError: if it cannot.
        """
        told = SelfTaught(self.stack, self.embeddings, self.places.codes, self.places.codes)
        step, there, known = self.stack.step(Verify), self.verified.gallery, self.verified.exam
        examiner = Examiner(there.__getitem__, step, islands=self.islands, known=known) if step else None
        exam = self_exam(self.embeddings, self.places, told=told, check=examiner, seed=aim.seed, most=most)
        calibration = calibrate(exam, names=self.places.names, ids=np.arange(len(self.embeddings)), aim=aim)
        cohort = np.array(calibration.cohort, dtype=np.int64)
        return CalibratedRule(calibration, self.learned.matrix[cohort], self.places.codes[cohort])

    def rule(self, tau: float | Aim | Literal["calibrated"], *, labelled: bool) -> tuple[Rule, str]:
        """What decides, and why it is not what the gallery learns of itself, where that was wanted.

        Args:
            tau: a fixed one, what the gallery is to achieve, or what it does unasked, see `openset.unasked`.
            labelled: whether labels calibrate; else nothing decides without a fixed tau.

        Raises:
            CalibrationError: as `calibrated`, where something is to be achieved.
        """
        if not isinstance(tau, (str, Aim)):
            return SimilarityRule(tau), ""
        step = self.stack.step(Verify)
        if not labelled:
            return GeometryRule() if step else SimilarityRule(None), ""
        if isinstance(tau, Aim):
            return self.calibrated(tau), ""
        rule, why = calibrated_unasked(lambda most: self.calibrated(DEFAULT_AIM, most=most), verifies=step is not None)
        return (rule, "") if rule else (SimilarityRule(DEFAULT_TAU), f"{why}; {FALLBACK}")

    def predict(self, queries: Embeddings, truth: Truth, rule: Rule, *, top: int | None) -> tuple[Prediction, ...]:
        """Answer embedded queries ``(Q, dim)``, those of a truth, by ranking the gallery; see `rank_all`."""
        step, asked = self.stack.step(Verify), self.learned.ask(queries)
        plain = Plain(self.embeddings, queries)
        check, verified = (self._check, step.hits) if step else (None, 0)
        return rank_all(self.learned.matrix, asked, truth, rule, top=top, check=check, verified=verified, plain=plain)

    def plain(self, queries: Embeddings, predicted: Sequence[Prediction]) -> NDArray[np.float32]:
        """The cosines of the queries' embeddings and those of their best hits, ``(Q,)``; -1 where there is none."""
        pairs = zip(predicted, queries, strict=True)
        near = [score(self.embeddings, one.rows[: one.hits(1)], query) for one, query in pairs]
        return np.array([similarities[0] if len(similarities) else NOTHING for similarities in near], np.float32)

    def answer_one(self, embedding: NDArray[np.float32], query: int) -> NDArray[np.int64]:
        """The best rows for one of the queries, ``(dim,)``, as `locate` ranks them: to see how long that takes."""
        step = self.stack.step(Verify)
        similar = self.learned.matrix @ self.learned.ask(embedding[None])[0]
        best = np.argsort(-similar, kind="stable")[: max(HITS, step.hits if step else 0)]
        return best[self._check(query, best, similar[best]).order] if step else best

    def _check(self, query: int, hits: NDArray[np.int64], similarities: NDArray[np.float32]) -> Checked:
        """Verify the hits of a query."""
        step, verified = self.stack.step(Verify) or Verify(), self.verified
        known = verified.checks.setdefault(query, {})
        support = self.islands.support(hits, similarities, step.hits) if self.islands else None
        return check(verified.queries[query], hits, step, verified.gallery.__getitem__, known=known, support=support)
