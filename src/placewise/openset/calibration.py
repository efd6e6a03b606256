"""Exam → Calibration: a confidence, the tau that keeps the wanted false-accept rate, and what that costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placewise import metrics
from placewise.openset.confidence import ALL_EVIDENCE, SIMILARITY_ONLY, Confidence, fit, out_of_fold
from placewise.openset.conformal import STATED_SHARE, Threshold, threshold
from placewise.openset.rule import Aim, Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placewise.openset.exam import Exam, Questions
    from placewise.openset.places import Unit

FEW_PLACES = 10
"""Below this, the interval says little but that it is wide."""

_LEAST_PLACES = 5
"""Known questions of fewer places teach no model."""

_VETO = 0.1
"""Where the learned confidence beats the similarity in fewer bootstrap draws than this, it is not kept. Not one half: a
gallery of a dozen places can hardly tell, and choosing by a coin costs more than it saves. benchmarks/openset.py
measures what it gains on places that it has not seen."""

_DRAWS = 200
_PAIRS = 10


DEFAULT_AIM = Aim()

RATES = (0.01, 0.02, 0.05, 0.10, 0.20)
"""The false-accept rates of the sweep, beside the wanted one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What another false-accept rate would do.

    Attributes:
        false_accept_rate: the wanted one.
        tau: its threshold.
        expected_rate: what that promises.
        known_accepted: the expected share of known queries that are accepted with the right place; None without any.
    """

    false_accept_rate: float
    tau: float
    expected_rate: float
    known_accepted: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """Two places that are taken for one another.

    Attributes:
        places: their names.
        photos: photos of either that would be accepted as the other, were it missing from the gallery, at the tau that
            accepts 95 % of the known questions.
    """

    places: tuple[str, str]
    photos: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a gallery tells KNOWN from UNKNOWN, what that promises, and where it comes from.

    Rates are shares from 0 to 1. What is measured on known questions is None where there were none.

    Attributes:
        false_accept_rate: what was wanted.
        tau: at or above this confidence, an answer is KNOWN.
        confidence: evidence → probability; None where the confidence is the best similarity itself.
        learned: whether it uses more than the best similarity.
        expected_rate: the probability that a photo of a new place is accepted.
        interval: the share that is accepted of the photos of ``new_places`` or more new places lies in it in
            `conformal.STATED_SHARE` of cases.
        new_places: see there.
        known_accepted: the expected share of known queries that are accepted with the right place.
        known_wrong: … with a wrong place.
        rate_at_95: the expected false-accept rate at the tau that accepts 95 % of the known questions.
        oscr: of the confidence in use, by cross-fitting.
        oscr_similarity: of the best similarity alone.
        won: the share of bootstrap draws over places in which all evidence beat the similarity; None if not tried.
        places: places in the gallery.
        known_questions: photos that asked with their place in the gallery.
        open_set_questions: photos that asked without it.
        effective_size: so many independent open-set questions are these worth.
        intraclass: the correlation of the questions of one place.
        unit: what a place is: a label, a cell of positions, or a sequence.
        choices: what other rates would do, ascending.
        confusions: the pairs of places that are mixed up most, worst first.
        cohort: ids of the gallery photos that stand for "other places"; none where the confidence is the similarity.
        basis: ``gallery``, or the source of the labelled queries.
        revision: of the gallery that was calibrated.
        made: when, in UTC, ISO 8601.
        method: how the confidence was to be found; see `Aim`.
        ranking: the steps that answered, as a gallery keeps steps; None where nobody wrote them down.
    """

    false_accept_rate: float
    tau: float
    confidence: Confidence | None
    learned: bool
    expected_rate: float
    interval: tuple[float, float]
    new_places: int
    known_accepted: float | None
    known_wrong: float | None
    rate_at_95: float | None
    oscr: float | None
    oscr_similarity: float | None
    won: float | None
    places: int
    known_questions: int
    open_set_questions: int
    effective_size: float
    intraclass: float
    unit: Unit
    choices: tuple[Choice, ...]
    confusions: tuple[Confusion, ...]
    cohort: tuple[int, ...]
    basis: str = "gallery"
    revision: str = ""
    made: str = ""
    method: Method = "auto"
    ranking: str | None = None

    @property
    def aim(self) -> Aim:
        """What it was to achieve."""
        return Aim(self.false_accept_rate, self.method)

    @property
    def promise(self) -> str:
        """The stated error rate, in words."""
        low, high = (percent(limit) for limit in self.interval)
        return (
            f"{percent(self.expected_rate)} of the photos of unknown places are expected to be accepted; "
            f"{low} to {high} in {10 * STATED_SHARE:.0f} of 10 sets of {self.new_places} or more new places"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know before trusting it, a line each."""
        notes = []
        if self.places < FEW_PLACES:
            notes.append(
                f"so few places ({self.places}) say little: the achieved rate may be far from the expected one"
            )
        if self.expected_rate > self.false_accept_rate * (1 + 1e-9):
            notes.append(
                f"{self.places} places cannot promise a rate of {percent(self.false_accept_rate)}: tau is just above "
                f"every open-set question, which promises {percent(self.expected_rate)}; more places would help"
            )
        if self.known_accepted is None:
            notes.append(
                "no place has a second photo that is not nearly the same, so that nothing can be said of known queries"
            )
        elif self.known_accepted < 0.5:
            notes.append(
                f"at this rate only {percent(self.known_accepted)} of known queries would be accepted with the right "
                f"place: the model cannot tell these places apart well enough"
            )
        return tuple(notes)


def percent(share: float) -> str:
    """A share for people to read.

    >>> percent(0.05)
    '5.0 %'
    """
    return f"{100 * share:.1f} %"


def calibrate(
    exam: Exam,
    *,
    names: Sequence[str],
    ids: NDArray[np.int64],
    unit: Unit = "place",
    aim: Aim = DEFAULT_AIM,
) -> Calibration:
    """Learn a confidence and its tau from an exam.

    The confidences of the exam's questions are cross-fitted: each is given by a model that has not seen its place.

    Args:
        exam: known and open-set questions.
        names: of the places, by code.
        ids: of the gallery's photos, by row.
        unit: what a place is.
        aim: what to achieve.

    Raises:
        CalibrationError: if the open-set questions come from fewer than two places.
    """
    rate = aim.false_accept_rate
    confidence, known, open_set, won = _confidence(exam, aim.method)
    cut = threshold(open_set, exam.open_set.groups, rate, left=exam.left)
    right, asked = exam.known.right, bool(len(known))
    accepted = known >= cut.tau
    at_95 = float(np.sort(known)[5 * len(known) // 100]) if asked else np.inf
    learned = confidence is not None and any(confidence.weights[1:])
    return Calibration(
        false_accept_rate=rate,
        tau=cut.tau,
        confidence=confidence,
        learned=learned,
        expected_rate=cut.expected_rate,
        interval=cut.interval,
        new_places=cut.new_places,
        known_accepted=float(np.mean(accepted & right)) if asked else None,
        known_wrong=float(np.mean(accepted & ~right)) if asked else None,
        rate_at_95=metrics.fpr95(known, open_set) if asked else None,
        oscr=metrics.oscr(known, right, open_set) if asked else None,
        oscr_similarity=metrics.oscr(exam.known.evidence[:, 0], right, exam.open_set.evidence[:, 0]) if asked else None,
        won=won,
        places=exam.places,
        known_questions=len(exam.known),
        open_set_questions=len(exam.open_set),
        effective_size=cut.effective_size,
        intraclass=cut.intraclass,
        unit=unit,
        choices=tuple(
            _choice(other, threshold(open_set, exam.open_set.groups, other, left=exam.left), known[right], len(known))
            for other in sorted({*RATES, rate})
        ),
        confusions=_confusions(exam.open_set, open_set >= at_95, names),
        cohort=tuple(ids[exam.cohort].tolist()) if learned else (),
        method=aim.method,
    )


def _confidence(
    exam: Exam, method: Method
) -> tuple[Confidence | None, NDArray[np.float64], NDArray[np.float64], float | None]:
    """The confidence, its values for the known and the open-set questions, and how surely all evidence helps."""
    known, open_set = exam.known, exam.open_set
    similarities = known.evidence[:, 0], open_set.evidence[:, 0]
    if method == "similarity" or len(np.unique(known.groups)) < _LEAST_PLACES:
        return None, *similarities, None
    learned = out_of_fold(known, open_set, ALL_EVIDENCE)
    won = _share_won(exam, learned)
    if won > _VETO:
        return fit(known, open_set, ALL_EVIDENCE), *learned, won
    # One weight and one bias: there is nothing to overfit, and tau decides as a tau on the similarity would.
    model = fit(known, open_set, SIMILARITY_ONLY)
    if not any(model.weights):  # similar photos are no likelier to be right: no probability can be had
        return None, *similarities, won
    return model, model(known.evidence), model(open_set.evidence), won


def _share_won(exam: Exam, learned: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """The share of bootstrap draws over places in which the learned confidence has the greater OSCR."""
    known, open_set = exam.known, exam.open_set
    split = len(known)

    def gain(rows: NDArray[np.int64]) -> float:
        k, o = rows[rows < split], rows[rows >= split] - split
        right = known.right[k]
        plain = metrics.oscr(known.evidence[k, 0], right, open_set.evidence[o, 0])
        return metrics.oscr(learned[0][k], right, learned[1][o]) - plain

    groups = np.concatenate([known.groups, open_set.groups])
    return metrics.bootstrap(gain, groups, draws=_DRAWS).share_above_zero


def _choice(rate: float, cut: Threshold, right: NDArray[np.float64], asked: int) -> Choice:
    """What a threshold does to known questions, of which these confidences had the right place."""
    return Choice(rate, cut.tau, cut.expected_rate, float(np.sum(right >= cut.tau)) / asked if asked else None)


def _confusions(open_set: Questions, accepted: NDArray[np.bool_], names: Sequence[str]) -> tuple[Confusion, ...]:
    pairs = Counter(
        (min(a, b), max(a, b))
        for a, b in zip(open_set.groups[accepted].tolist(), open_set.named[accepted].tolist(), strict=True)
    )
    return tuple(Confusion((names[a], names[b]), photos) for (a, b), photos in pairs.most_common(_PAIRS))
