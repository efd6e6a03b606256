"""A gallery in memory, as `evaluate` and `ablate` ask it: learned, calibrated and ranked like one in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise.checking import Examiner, check
from placewise.openset import Aim, CalibratedRule, GeometryRule, Places, Rule, SimilarityRule, calibrate, self_exam
from placewise.rank import Learned, SelfTaught, Stack, Verify, learn
from placewise.scoring.ranking import rank_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placewise.checking import Checked, Checks
    from placewise.core import Embeddings, Photo
    from placewise.features import Features
    from placewise.scoring.predictions import Prediction
    from placewise.scoring.truth import Truth


@dataclass(frozen=True, slots=True, eq=False)
class MemoryGallery:
    """N photos, and how they are ranked.

    Attributes:
        embeddings: ``(N, dim)``.
        places: what each photo shows, by its label.
        stack: how hits are ranked.
        learned: what the stack learned of them.
        features: their local features, where the stack verifies.
    """

    embeddings: Embeddings
    places: Places
    stack: Stack
    learned: Learned
    features: Sequence[Features | None]

    @classmethod
    def of(
        cls,
        photos: Sequence[Photo],
        embeddings: Embeddings,
        stack: Stack,
        *,
        features: Sequence[Features | None] = (),
        asks_itself: bool = False,
    ) -> MemoryGallery:
        """Learn from photos; ``asks_itself`` as for `rank.learn`."""
        places = Places.of_labels([photo.place for photo in photos])
        return cls(embeddings, places, stack, learn(stack, embeddings, places.codes, asks_itself=asks_itself), features)

    def calibrated(self, aim: Aim) -> CalibratedRule:
        """The rule that the gallery learns from itself.

        Raises:
            CalibrationError: if it cannot.
        """
        told = SelfTaught(self.stack, self.embeddings, self.places.codes, self.places.codes)
        step = self.stack.step(Verify)
        examiner = Examiner(self.features, step) if step else None
        exam = self_exam(self.embeddings, self.places, told=told, check=examiner)
        calibration = calibrate(exam, names=self.places.names, ids=np.arange(len(self.embeddings)), aim=aim)
        cohort = np.array(calibration.cohort, dtype=np.int64)
        return CalibratedRule(calibration, self.learned.matrix[cohort], self.places.codes[cohort])

    def rule(self, tau: float | Aim, *, labelled: bool) -> Rule:
        """What decides: a fixed tau, what labels calibrate, or nothing.

        Raises:
            CalibrationError: as `calibrated`.
        """
        if not isinstance(tau, Aim):
            return SimilarityRule(tau)
        if labelled:
            return self.calibrated(tau)
        return GeometryRule() if self.stack.step(Verify) else SimilarityRule(None)

    def predict(
        self,
        queries: Embeddings,
        truth: Truth,
        rule: Rule,
        *,
        top: int | None,
        features: Sequence[Features | None] = (),
    ) -> tuple[Prediction, ...]:
        """Answer embedded queries ``(Q, dim)``, those of a truth, by ranking the gallery; see `rank_all`."""
        asked = self.learned.ask(queries)
        return rank_all(self.learned.matrix, asked, truth, rule, top=top, check=self._check(features))

    def _check(self, features: Sequence[Features | None]) -> Callable[[int, NDArray[np.int64]], Checked] | None:
        step = self.stack.step(Verify)
        if step is None:
            return None
        last: dict[int, Checks] = {}  # what was verified of the present query

        def verified(query: int, hits: NDArray[np.int64]) -> Checked:
            if query not in last:
                last.clear()
            known = last.setdefault(query, {})
            return check(features[query], hits, step, self.features.__getitem__, known=known)

        return verified
