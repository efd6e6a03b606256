"""Hits → Verdict: the rules that decide KNOWN or UNKNOWN, and say why.

Hits are in the order that the ranking gives them: where geometry is verified, the first need not be the most similar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from placewise.openset.evidence import EVIDENCE, HITS, background_of, evidence_of
from placewise.openset.rule import check_tau, is_known

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from placewise.core import Embeddings
    from placewise.openset.calibration import Calibration


class Verdict(NamedTuple):
    """What a rule says of one query.

    Attributes:
        known: whether it is accepted; None if the rule decides nothing.
        confidence: what tau was compared with; None where there was nothing to compare.
        reason: why, in one line.
        hit: the column of the hit that names the place; -1 where none does.
    """

    known: bool | None
    confidence: float | None
    reason: str
    hit: int


class Rule(Protocol):
    """Decides on answers."""

    @property
    def hits(self) -> int:
        """The number of hits that it wants to see."""

    @property
    def labelled_only(self) -> bool:
        """Whether it wants to see only hits that have a place."""

    @property
    def tau(self) -> float | None:
        """What it compares the confidence with."""

    @property
    def plain(self) -> bool:
        """Whether it judges by the cosines of embeddings, whatever the hits were ranked by."""

    def judge(
        self,
        queries: Embeddings,
        similarities: NDArray[Any],
        places: NDArray[np.int64],
        geometry: NDArray[np.float64] | None = None,
    ) -> tuple[Verdict, ...]:
        """Judge Q queries by their hits.

        Args:
            queries: ``(Q, dim)`` unit rows.
            similarities: ``(Q, H)`` of the hits, the first of which answers.
            places: ``(Q, H)`` codes of the hits' places, -1 where a hit has none.
            geometry: ``(Q, H)`` how surely each hit shows the same as the query, where that was verified.
        """


@dataclass(frozen=True, slots=True)
class SimilarityRule:
    """The original design's rule: the first hit's similarity against a fixed tau; None leaves it to the caller.

    A fixed tau is one for cosines of embeddings. What a ranking makes of these lies elsewhere, so that the same tau
    would mean another thing in each gallery: the rule wants the plain ones.
    """

    tau: float | None
    hits: int = 1
    labelled_only: bool = False

    def __post_init__(self) -> None:
        """Refuse a tau that is no cosine."""
        if self.tau is not None:
            check_tau(self.tau)

    @property
    def plain(self) -> bool:
        """See `Rule.plain`."""
        return self.tau is not None

    def judge(
        self,
        queries: Embeddings,
        similarities: NDArray[Any],
        places: NDArray[np.int64],  # noqa: ARG002  # what the other rule looks at
        geometry: NDArray[np.float64] | None = None,  # noqa: ARG002  # likewise
    ) -> tuple[Verdict, ...]:
        """See `Rule.judge`."""
        if not similarities.shape[1]:
            return (_nothing(self.tau),) * len(queries)
        return tuple(_by_similarity(float(first), self.tau) for first in similarities[:, 0])


@dataclass(frozen=True, slots=True)
class CalibratedRule:
    """The rule of a calibration.

    Attributes:
        calibration: what was learned.
        cohort: ``(C, dim)`` embeddings of the photos that stand for other places.
        cohort_places: ``(C,)`` codes of their places.
    """

    calibration: Calibration
    cohort: Embeddings
    cohort_places: NDArray[np.int64]
    hits: int = HITS
    labelled_only: bool = True
    plain: bool = False

    @property
    def tau(self) -> float:
        """The calibrated threshold."""
        return self.calibration.tau

    def judge(
        self,
        queries: Embeddings,
        similarities: NDArray[Any],
        places: NDArray[np.int64],
        geometry: NDArray[np.float64] | None = None,
    ) -> tuple[Verdict, ...]:
        """See `Rule.judge`."""
        model = self.calibration.confidence
        if model is None or len(model.weights) < len(EVIDENCE):
            geometry = None
        elif geometry is None:  # nothing was verified: nothing speaks for a hit
            geometry = np.zeros(similarities.shape)
        background = background_of(queries, self.cohort)
        evidence, columns = evidence_of(similarities, places, background, self.cohort_places, geometry)
        if model is None:
            values, parts = evidence[:, 0], np.zeros_like(evidence)
        else:
            values, parts = model(evidence), model.parts(evidence)
        return tuple(
            self._verdict(*row) for row in zip(values.tolist(), evidence, parts, columns.tolist(), strict=True)
        )

    def _verdict(
        self, confidence: float, evidence: NDArray[np.float64], parts: NDArray[np.float64], column: int
    ) -> Verdict:
        if column < 0:
            return _nothing(self.tau)
        known = is_known(confidence, self.tau)
        why = self._why(known, evidence, parts)
        return Verdict(known, confidence, f"{_compared('confidence', confidence, self.tau)}: {why}", column)

    def _why(self, known: bool, evidence: NDArray[np.float64], parts: NDArray[np.float64]) -> str:  # noqa: FBT001
        similarity, contrast, support, *geometry = evidence.tolist()
        model = self.calibration.confidence
        if model is None or not self.calibration.learned:
            so = "above" if known else "within"
            return f"the similarity of the first hit, {similarity:.3f}, is {so} what photos of unknown places reach"
        counts = np.array(model.weights) > 0
        facts = (
            f"similarity of the first hit {similarity:.3f}",
            f"{contrast:.1f} deviations above other places",
            f"first two hits of the place {support:.3f} on average",
            *(_chance(value) for value in geometry),
        )
        said = ", ".join(fact for fact, weighs in zip(facts, counts, strict=True) if weighs)
        return said if known else f"weakest is {_NOUNS[int(np.where(counts, parts, np.inf).argmin())]} ({said})"


def _chance(geometry: float) -> str:
    if geometry > 0:
        return f"the geometry is no chance but 1 in 10^{np.expm1(geometry):.0f}"
    return "the geometry says nothing"


_NOUNS = ("the similarity itself", "the contrast to other places", "the support of a second photo", "the geometry")


@dataclass(frozen=True, slots=True)
class GeometryRule:
    """Decides nothing, for sets that no label calibrates.

    The confidence is what geometry says of the first hit, times its similarity: both must speak for it.
    """

    tau: None = None
    hits: int = 1
    labelled_only: bool = False
    plain: bool = False

    def judge(
        self,
        queries: Embeddings,
        similarities: NDArray[Any],
        places: NDArray[np.int64],  # noqa: ARG002  # what another rule looks at
        geometry: NDArray[np.float64] | None = None,
    ) -> tuple[Verdict, ...]:
        """See `Rule.judge`."""
        if not similarities.shape[1] or geometry is None:
            return (_nothing(None),) * len(queries)
        return tuple(
            Verdict(
                None,
                value * max(0.0, near),
                f"1 chance in 10^{np.expm1(value):.1f} that the first hit agrees so well, similarity {near:.3f}",
                0,
            )
            for value, near in zip(geometry[:, 0].tolist(), similarities[:, 0].tolist(), strict=True)
        )


def _by_similarity(first: float, tau: float | None) -> Verdict:
    if tau is None:
        return Verdict(None, first, f"similarity of the first hit {first:.3f}, nothing decided", 0)
    return Verdict(is_known(first, tau), first, _compared("plain similarity", first, tau), 0)


def _nothing(tau: float | None) -> Verdict:
    # A gallery without photos knows no place, whatever the threshold.
    return Verdict(None if tau is None else False, None, "no photo of a place to compare with", -1)


def _compared(noun: str, value: float, tau: float) -> str:
    digits = next((n for n in (3, 6, 9) if f"{value:.{n}f}" != f"{tau:.{n}f}"), 17)
    return f"{noun} {value:.{digits}f} {'>=' if is_known(value, tau) else '<'} tau {tau:.{digits}f}"
