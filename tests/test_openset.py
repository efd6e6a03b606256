"""KNOWN or UNKNOWN: the exam against a naive one, the promise over many draws, and nothing silent at the edges."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import openset
from placewise.errors import CalibrationError, OptionError
from placewise.openset import Aim, CalibratedRule, Calibration, Exam, Places, Questions, calibrate, self_exam
from placewise.openset.confidence import SIMILARITY_ONLY, Confidence, fit, out_of_fold
from placewise.openset.conformal import intraclass, threshold
from placewise.openset.evidence import evidence_of

if TYPE_CHECKING:
    from placewise.core import Embeddings


def unit(rows: NDArray[np.float64]) -> Embeddings:
    """Rows of unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def town(places: int, photos: int, *, seed: int = 0, noise: float = 0.8, dim: int = 24) -> tuple[Embeddings, list[str]]:
    """Photos of places that differ, with some noise each."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(places, dim)), photos, axis=0)
    rows = unit(centres + noise * rng.normal(size=centres.shape))
    return rows, [f"place {number // photos:03}" for number in range(places * photos)]


def calibrated(rows: Embeddings, places: list[str], aim: Aim | None = None) -> Calibration:
    """What a gallery of these photos makes of itself."""
    labels = Places.of_labels(places)
    return calibrate(self_exam(rows, labels), names=labels.names, ids=np.arange(len(rows)), aim=aim or Aim())


# ---- the rule ------------------------------------------------------------------------------------------------------


def test_confidence_equal_to_tau_is_known() -> None:
    """Below tau is UNKNOWN; tau itself is KNOWN, in the decision and in the counts alike."""
    ((_, counts),) = openset.sweep([0.5], [0.5], [0.5])

    assert openset.is_known(0.5, 0.5)
    assert (counts.true_negatives, counts.false_negatives) == (1, 1)


def test_the_sweep_goes_from_040_to_080() -> None:
    """The default sweep is that of the original design, and UNKNOWN answers only grow along it."""
    rows = openset.sweep([0.45, 0.6, 0.9], [0.3, 0.5, 0.7])

    assert [tau for tau, _ in rows] == [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80]
    unknown = [counts.true_positives + counts.false_positives for _, counts in rows]
    assert unknown == sorted(unknown)
    assert unknown[0] == 1
    assert unknown[-1] == 5


@pytest.mark.parametrize("tau", [math.nan, 1.01, -2, math.inf])
def test_a_tau_that_is_no_cosine_is_refused(tau: float) -> None:
    """Such a tau would answer the same to every photo."""
    with pytest.raises(OptionError, match=rf"^tau must be between -1 and 1, got {tau}$"):
        openset.check_tau(tau)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, math.nan])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    """Nothing can aim at it."""
    with pytest.raises(OptionError, match=r"^false_accept_rate must be between 0 and 1, both excluded, got"):
        Aim(rate)


# ---- the exam ------------------------------------------------------------------------------------------------------


def test_the_exam_asks_what_a_naive_loop_asks() -> None:
    """Known: the own place without the photo and its near-duplicates. Open-set: without the whole place."""
    rows, places = town(7, 4, noise=1.2)
    rows[1] = unit(rows[0:1].astype(float) + 0.01)[0]  # a near-duplicate of the first
    labels: list[str | None] = [*places[:-2], None, None]  # the last two show nobody knows what
    similarities = rows @ rows.T

    exam = self_exam(rows, Places.of_labels(labels))

    known: list[tuple[float, bool]] = []
    unknown: list[float] = []
    for i, place in enumerate(labels):
        if place is None:
            continue
        others = [j for j, other in enumerate(labels) if other not in {None, place}]
        match = [j for j, other in enumerate(labels) if other == place and j != i and similarities[i, j] < 0.95]
        best = max([*others, *match], key=lambda j: float(similarities[i, j]))
        unknown.append(float(similarities[i, others].max()))
        if match:
            known.append((float(similarities[i, best]), labels[best] == place))
    assert exam.open_set.evidence[:, 0] == pytest.approx(unknown, abs=1e-6)
    assert exam.known.evidence[:, 0] == pytest.approx([value for value, _ in known], abs=1e-6)
    assert exam.known.right.tolist() == [right for _, right in known]
    assert not exam.open_set.right.any()
    assert (exam.places, len(exam.cohort)) == (7, 26)
    assert exam.left == pytest.approx(6 / 7)


def test_evidence_is_what_its_definition_says() -> None:
    """Similarity, contrast to photos of other places, and the best two of the place, of the first hit with a place."""
    table, column = evidence_of(
        np.array([[0.9, 0.8, 0.7, 0.2], [0.9, 0.5, -np.inf, -np.inf], [0.4, 0.3, -np.inf, -np.inf]]),
        np.array([[-1, 3, 4, 3], [5, 6, 3, 3], [-1, -1, 0, 0]]),
        np.array([[0.1, 0.3, 0.8], [0.2, np.nan, 0.6], [0.0, 0.0, 0.0]]),
        np.array([1, 2, 3]),
    )

    assert column.tolist() == [1, 0, -1]
    assert table[0].tolist() == pytest.approx([0.8, (0.8 - 0.2) / 0.1, 0.5])
    assert table[1].tolist() == pytest.approx([0.9, (0.9 - 0.4) / 0.2, 0.7])
    assert np.isnan(table[2]).all()


def test_near_photos_are_one_place_where_there_are_only_positions() -> None:
    """Within 25 m photos match, beyond 100 m they are of other places, and what lies between is neither."""
    metre = 1 / 111_195  # of latitude, in degrees
    degrees = np.array([[0.0, 0.0], [20 * metre, 0.0], [60 * metre, 0.0], [500 * metre, 0.0], [np.nan, np.nan]])

    places = Places.of_positions(degrees)

    first = np.array([0])
    assert places.same(first)[0].tolist() == [True, True, False, False, False]
    assert places.not_apart(first)[0].tolist() == [True, True, True, False, False]
    assert places.labelled.tolist() == [0, 1, 2, 3]
    assert places.codes[4] == -1


def test_many_photos_are_sampled_evenly_and_repeatably(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large gallery only so many photos ask, of each place as many as of the others, the same at every run."""
    monkeypatch.setattr("placewise.openset.exam.SAMPLED_PLACES", 6)
    monkeypatch.setattr("placewise.openset.exam.COHORT", 10)
    rows, names = town(9, 5)
    done: list[tuple[int, int]] = []

    exam = self_exam(rows, Places.of_labels(names), most=12, on_progress=lambda *step: done.append(step))
    again = self_exam(rows, Places.of_labels(names), most=12)
    other = self_exam(rows, Places.of_labels(names), most=12, seed=1)

    assert np.unique(exam.open_set.groups, return_counts=True)[1].tolist() == [2] * 6
    assert len(exam.cohort) == 10
    assert np.array_equal(exam.open_set.evidence, again.open_set.evidence)
    assert not np.array_equal(exam.cohort, other.cohort)
    assert done[-1] == (12, 12)


# ---- the promise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("rate", [0.05, 0.10])
def test_exchangeable_scores_reach_the_nominal_rate(correlation: float, rate: float) -> None:
    """Over many draws of places the rate on new places is at most the wanted one, and most of it; so is the interval.

    Of 600 draws of 20 places with 12 photos each, the mean has a standard error of about 0.002.
    """
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(26), 12)
    achieved, inside = [], []
    for _ in range(600):
        scores = math.sqrt(correlation) * rng.normal(size=26)[groups]
        scores += math.sqrt(1 - correlation) * rng.normal(size=len(groups))
        seen = groups < 20
        cut = threshold(scores[seen], groups[seen], rate)
        achieved.append(float(np.mean(scores[~seen] >= cut.tau)))
        inside.append(cut.interval[0] <= achieved[-1] <= cut.interval[1])

    assert 0.5 * rate <= np.mean(achieved) <= rate + 0.006
    assert np.mean(inside) >= 0.9


def test_more_places_make_a_narrower_interval() -> None:
    """It is for a third as many new places as have asked, and for no fewer than five."""
    rng = np.random.default_rng(0)
    few, many = (threshold(rng.normal(size=6 * count), np.repeat(np.arange(count), 6), 0.1) for count in (12, 600))

    assert (few.new_places, many.new_places) == (5, 200)
    assert few.interval[1] - few.interval[0] > 0.2
    assert many.interval[1] - many.interval[0] < 0.07
    assert many.interval[0] < 0.1 < many.interval[1]


def test_the_ends_are_conformal_prediction_over_photos_and_over_places() -> None:
    """Independent photos count one each; photos that always agree count one a place."""
    lone = threshold(np.arange(1.0, 100.0), np.arange(99), 0.05)
    pairs = threshold(np.repeat(np.arange(1.0, 100.0), 4), np.repeat(np.arange(99), 4), 0.05)

    # The ceil((n + 1) (1 - rate))-th of n = 99: four may be accepted, and the new one is the fifth of 100.
    for cut in (lone, pairs):
        assert 95 < cut.tau < 95 + 1e-9
        assert cut.expected_rate == pytest.approx(0.05)
        assert cut.effective_size == pytest.approx(99)


def test_a_place_more_in_the_gallery_is_made_up_for() -> None:
    """Each question met one place fewer than a query will, so the threshold is that of a lower rate."""
    scores = np.arange(1.0, 400.0)

    shifted = threshold(scores, np.arange(399), 0.05, left=4 / 5)

    assert shifted.tau == threshold(scores, np.arange(399), 0.04).tau
    assert shifted.expected_rate == pytest.approx(0.05)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.integers(0, 4)), min_size=2, max_size=40),
    st.floats(0.001, 0.999),
)
def test_a_threshold_keeps_its_rate_or_says_what_it_promises(rows: list[tuple[float, int]], rate: float) -> None:
    """Whatever the ties: the promise is no more than wanted, or tau is above all questions and the promise says so."""
    scores, groups = np.array([score for score, _ in rows]), np.array([group for _, group in rows])
    if len(np.unique(groups)) < 2:
        with pytest.raises(CalibrationError, match=r"^open-set questions must come from two or more places, got 1;"):
            threshold(scores, groups, rate)
        return

    cut = threshold(scores, groups, rate, left=0.8)

    assert np.isfinite(cut.tau)
    assert 0 < cut.expected_rate <= 1
    assert 0 <= cut.interval[0] <= cut.interval[1] <= 1
    if cut.expected_rate > rate + 1e-9:
        assert cut.tau > scores.max()
    stricter = threshold(scores, groups, rate / 2, left=0.8)
    assert stricter.tau >= cut.tau


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_is_never_a_silent_tau(value: float) -> None:
    """A broken embedding would otherwise become a threshold that nothing reaches."""
    with pytest.raises(CalibrationError, match=r"^open-set questions must have a finite confidence and a place each"):
        threshold([0.1, value, 0.3], [0, 1, 2], 0.1)


@pytest.mark.parametrize("rate", [1e-9, 0.999999999999])
def test_extreme_rates_are_kept_too(rate: float) -> None:
    """Next to nothing and next to everything: tau stays within the questions' reach, and no index is out of bounds."""
    cut = threshold(np.arange(30.0), np.arange(30), rate)

    assert 0 <= cut.tau <= np.nextafter(29, 30)
    with pytest.raises(OptionError, match=r"^left must be above 0 and at most 1, got 0$"):
        threshold(np.arange(30.0), np.arange(30), rate, left=0)


def test_the_intraclass_correlation_knows_its_ends() -> None:
    """About 0 for independent scores, about its value for correlated ones, 1 where groups are constant."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 10)

    assert intraclass(rng.normal(size=3000), groups) < 0.03
    assert intraclass(np.repeat(rng.normal(size=300), 10), groups) == pytest.approx(1, abs=1e-6)
    assert 0.3 < intraclass(rng.normal(size=300)[groups] + 0.7 * rng.normal(size=3000), groups) < 0.8
    assert intraclass(np.full(20, 0.5), np.repeat([0, 1], 10)) == 1
    assert intraclass(rng.normal(size=20), np.arange(20)) == 0


# ---- the confidence ------------------------------------------------------------------------------------------------


def questions(count: int, *, centre: float, seed: int, right: bool = True) -> Questions:
    """Made-up questions of 20 places."""
    rng = np.random.default_rng(seed)
    evidence = centre + rng.normal(size=(count, 3))
    groups = np.arange(count) % 20
    return Questions(evidence, groups, groups, np.full(count, right))


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.integers(0, 2), st.floats(0, 5))
def test_confidence_never_falls_when_evidence_rises(evidence: list[float], column: int, more: float) -> None:
    """It is monotone in each number of the evidence, even where the questions say the contrary of one of them."""
    known, open_set = questions(200, centre=1.0, seed=0), questions(200, centre=0.0, seed=1, right=False)
    known.evidence[:, 2] *= -1
    model = fit(known, open_set)
    higher = np.array([evidence])
    higher[0, column] += more

    assert model(higher)[0] >= model(np.array([evidence]))[0]
    assert model.weights[2] == 0


def test_confidence_is_a_probability() -> None:
    """Of many questions like those that it was fitted on, as many are right as it says, in each tenth."""
    model = fit(questions(2000, centre=1.0, seed=0), questions(2000, centre=0.0, seed=1, right=False))
    known, open_set = questions(20_000, centre=1.0, seed=2), questions(20_000, centre=0.0, seed=3, right=False)

    values = model(np.concatenate([known.evidence, open_set.evidence]))

    outcomes = np.concatenate([known.right, open_set.right])
    from placewise.metrics import reliability

    assert reliability(values, outcomes).ece < 0.03


def test_cross_fitting_leaves_out_the_place() -> None:
    """What the model says of a place's questions does not depend on them."""
    known, open_set = questions(60, centre=1.0, seed=0), questions(60, centre=0.0, seed=1, right=False)
    changed = dataclasses.replace(known, evidence=known.evidence.copy())
    changed.evidence[known.groups == 3] += 2  # only the questions of place 3 are other ones

    values, unknown = out_of_fold(known, open_set)
    values_changed, unknown_changed = out_of_fold(changed, open_set)

    third = open_set.groups == 3
    assert np.array_equal(unknown[third], unknown_changed[third])
    assert not np.array_equal(unknown[~third], unknown_changed[~third])
    assert not np.array_equal(values[known.groups == 4], values_changed[known.groups == 4])


def test_a_confidence_from_the_similarity_alone_decides_as_the_similarity() -> None:
    """One weight and a bias only rename tau."""
    known, open_set = questions(60, centre=1.0, seed=0), questions(60, centre=0.0, seed=1, right=False)
    model = fit(known, open_set, SIMILARITY_ONLY)

    assert model.weights[1:] == (0, 0)
    assert np.argsort(model(known.evidence)).tolist() == np.argsort(known.evidence[:, 0]).tolist()


# ---- the calibration -----------------------------------------------------------------------------------------------


def test_a_calibration_foresees_what_comes_true() -> None:
    """On photos that it has not seen, the rates of accepting are near those that it stated."""
    rows, places = town(80, 12, noise=1.4)
    gallery = np.array([number for number in range(40 * 12) if number % 2])
    calibration = calibrated(rows[gallery], [places[number] for number in gallery], Aim(0.1))
    codes = Places.of_labels([places[number] for number in gallery]).codes
    cohort = np.array(calibration.cohort)
    rule = CalibratedRule(calibration, rows[gallery][cohort], codes[cohort])

    queries = np.setdiff1d(np.arange(len(rows)), gallery)
    similarities = rows[queries] @ rows[gallery].T
    best = np.argsort(-similarities, axis=1)[:, : rule.hits]
    verdicts = rule.judge(rows[queries], np.take_along_axis(similarities, best, axis=1), codes[best])

    known = queries < 40 * 12
    accepted = np.array([verdict.known for verdict in verdicts])
    named = np.array([places[gallery[best[row, verdict.hit]]] for row, verdict in enumerate(verdicts)])
    right = named == np.array(places)[queries]
    assert calibration.learned
    assert calibration.known_accepted == pytest.approx(np.mean(accepted & right & known) / np.mean(known), abs=0.08)
    assert 0.05 <= np.mean(accepted[~known]) <= 0.14
    assert 0.09 <= calibration.expected_rate <= 0.10


def test_few_places_say_what_they_cannot_promise() -> None:
    """Four places cannot promise 1 in 100: tau is above every open-set question, and the notes say both."""
    rows, places = town(4, 5)

    calibration = calibrated(rows, places, Aim(0.01))

    assert calibration.expected_rate > 0.01
    first, second = calibration.notes[:2]
    assert first == "so few places (4) say little: the achieved rate may be far from the expected one"
    assert second.startswith("4 places cannot promise a rate of 1.0 %: tau is just above every open-set question")
    assert calibration.confidence is None  # so few teach no model
    assert calibration.cohort == ()


def test_one_photo_a_place_calibrates_the_similarity() -> None:
    """Nothing can be said of known queries then, and is not."""
    rows, places = town(30, 1)

    calibration = calibrated(rows, places, Aim(0.1))

    assert (calibration.known_accepted, calibration.oscr, calibration.rate_at_95) == (None, None, None)
    assert calibration.confidence is None
    assert calibration.confusions == ()
    assert any(note.startswith("no place has a second photo") for note in calibration.notes)
    assert -1 < calibration.tau < 1


def test_constant_scores_accept_nothing() -> None:
    """Where all similarities are the same, no threshold tells anything, and none of the questions is accepted."""
    rows = np.tile(np.eye(1, 8, dtype=np.float32), (40, 1))
    places = [f"place {number // 4}" for number in range(40)]

    calibration = calibrated(rows, places)

    assert calibration.tau > 1
    assert calibration.known_accepted is None  # every photo is a near-duplicate of its neighbours


def test_look_alikes_are_named_and_the_cost_is_stated() -> None:
    """Two pairs of places that show the same thing: the notes say how few are accepted, and the pairs are named."""
    rows, places = town(6, 8, noise=0.6)
    rows[8:16] = unit(rows[0:8].astype(float) + 0.1 * np.random.default_rng(1).normal(size=(8, 24)))
    rows[24:32] = unit(rows[16:24].astype(float) + 0.1 * np.random.default_rng(2).normal(size=(8, 24)))

    calibration = calibrated(rows, places, Aim(0.05))

    assert {confusion.places for confusion in calibration.confusions[:2]} == {
        ("place 000", "place 001"),
        ("place 002", "place 003"),
    }
    assert calibration.known_accepted is not None
    assert calibration.known_accepted < 0.5
    assert any(note.startswith("at this rate only") for note in calibration.notes)


@pytest.mark.parametrize("places", [["a"] * 6, [None] * 6, ["a", None, "a", None, "a", "a"]])
def test_one_place_calibrates_nothing(places: list[str | None]) -> None:
    """There is no other place to learn from, and the line says what to do."""
    with pytest.raises(CalibrationError, match=r"^a gallery that examines itself must .* got [01]; label their places"):
        self_exam(town(1, 6)[0], Places.of_labels(places))


def test_a_calibration_survives_being_written() -> None:
    """What is read is what was written, with and without a model."""
    rows, places = town(12, 6, noise=1.4)

    for aim in (Aim(0.1), Aim(0.1, "similarity")):
        calibration = calibrated(rows, places, aim)
        assert openset.calibration_from_json(openset.calibration_to_json(calibration)) == calibration


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tau": 1}', "null", "[" * 100_000])
def test_a_damaged_calibration_is_refused(text: str) -> None:
    """One line that says what to do."""
    with pytest.raises(CalibrationError, match=r"^a calibration must be readable, got .*; run 'placewise calibrate'"):
        openset.calibration_from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("tau", value) for value in (math.nan, math.inf, "0.5", None, 10**400, True)),
        *(("cohort", value) for value in (["a"], "abc", [2**70], [-1], [0.5], None)),
        *(("interval", value) for value in ([0.1], [0.1, "b"], 0.1, [math.nan, 1.0])),
        ("choices", [{}]),
        ("choices", [[1]]),
        ("choices", 3),
        ("confusions", [{"places": ["a"], "photos": 1}]),
        ("confusions", [{"places": [1, 2], "photos": 1}]),
        *(("places", value) for value in (1.5, "3", -1, None)),
        ("unit", "town"),
        ("learned", 1),
        ("basis", None),
        ("surplus", 1),
    ],
)
def test_a_calibration_with_an_impossible_value_is_refused(field: str, value: object) -> None:
    """Edited or damaged, it never decides, and never becomes another exception."""
    fields = json.loads(openset.calibration_to_json(calibrated(*town(12, 6, noise=1.4))))

    with pytest.raises(CalibrationError, match="must be readable"):
        openset.calibration_from_json(json.dumps({**fields, field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("weights", value) for value in ([1, 2], ["a", 1, 1], [-1, 1, 1], [math.nan, 1, 1], 3)),
        *(("scale", value) for value in ([1, 0, 1], [1, 1])),
        *(("bias", value) for value in (None, math.nan, "1")),
    ],
)
def test_a_model_that_cannot_be_is_refused(field: str, value: object) -> None:
    """A negative weight, say, would accept what resembles the place less."""
    fields = json.loads(openset.calibration_to_json(calibrated(*town(12, 6, noise=1.4))))
    fields["confidence"][field] = value

    with pytest.raises(CalibrationError, match="must be readable"):
        openset.calibration_from_json(json.dumps(fields))


def test_an_unknown_method_is_refused() -> None:
    """A typo is not silently the default."""
    with pytest.raises(OptionError, match=r"^method must be one of auto, similarity, got 'similarty'$"):
        Aim(0.1, "similarty")  # type: ignore[arg-type]


@given(st.integers(0, 10_000), st.sampled_from([-180.0, -179.9, 0.0, 10.0, 179.9999]))
@settings(max_examples=25)
def test_photos_of_one_spot_are_one_place_wherever_it_lies(seed: int, lon: float) -> None:
    """Spots of some metres, 300 m apart, are as many places as there are spots, also at the 180th meridian."""
    rng = np.random.default_rng(seed)
    metre = 1 / 111_195
    spots = np.repeat(np.arange(8), 5)
    lat = 300 * metre * spots + rng.uniform(-5, 5, 40) * metre
    east = lon + rng.uniform(-5, 5, 40) * metre
    degrees = np.stack([lat, (east + 180) % 360 - 180], axis=1)

    places = Places.of_positions(degrees)

    assert places.count == 8
    assert len(set(zip(spots.tolist(), places.codes.tolist(), strict=True))) == 8
    assert all(
        abs(float(name.split(",")[0]) - degrees[places.codes == code, 0].mean()) < 20 * metre
        for code, name in enumerate(places.names)
    )


def street(rng: np.random.Generator, metres: int) -> Embeddings:
    """A photo at each metre: what they show changes along the way, within some ten metres, in 10 dimensions."""
    kernel = np.exp(-((np.arange(-30, 31) / 8) ** 2))
    noise = rng.normal(size=(metres + 60, 10))
    return unit(np.stack([np.convolve(column, kernel, mode="valid") for column in noise.T], axis=1))


@pytest.mark.parametrize(("metres", "spots"), [(300, 3), (900, 8)])
def test_a_street_without_labels_keeps_its_promise(metres: int, spots: int) -> None:
    """Up to 200 m are taken away for each question, which is made up for: other streets are accepted as was wanted."""
    rng = np.random.default_rng(0)
    degrees = np.stack([np.arange(0, metres, 3) / 111_195, np.zeros(metres // 3)], axis=1)
    places = Places.of_positions(degrees)
    achieved = []
    for _ in range(60):
        rows = street(rng, metres)[::3]
        exam = self_exam(rows, places)
        aim = Aim(0.2, "similarity")
        tau = calibrate(exam, names=places.names, ids=np.arange(len(rows)), unit="position", aim=aim).tau
        achieved.append(float(np.mean((street(rng, 300)[::3] @ rows.T).max(axis=1) >= tau)))

    assert places.count >= spots
    assert 0.1 <= np.mean(achieved) <= 0.22


def test_a_calibration_does_not_depend_on_the_numbers_of_places() -> None:
    """The same labels in another numbering give the same places."""
    names = ("b", "c", "a")
    codes = np.array([0, 1, 2, -1, 0])

    places = Places.of_codes(codes, names)

    assert places.names == ("a", "b", "c")
    assert places.codes.tolist() == Places.of_labels(["b", "c", "a", None, "b"]).codes.tolist() == [1, 2, 0, -1, 1]


def test_reasons_name_what_decided() -> None:
    """A reason is one line with the confidence, tau and the evidence, and tells confidence from tau in its digits."""
    rows, places = town(30, 8, noise=1.4)
    calibration = dataclasses.replace(calibrated(rows, places), tau=0.5)
    codes = Places.of_labels(places).codes
    cohort = np.array(calibration.cohort)
    rule = CalibratedRule(calibration, rows[cohort], codes[cohort])

    good, bad = rule.judge(rows[:2], np.array([[0.95, 0.94], [0.05, 0.04]]), np.array([[0, 0], [0, 1]]))
    (none,) = rule.judge(rows[:1], np.array([[0.9]]), np.array([[-1]]))

    assert good.known
    assert good.reason.startswith(f"confidence {good.confidence:.3f} >= tau 0.500: ")
    assert good.reason.endswith(" deviations above other places, first two hits of the place 0.945 on average")
    assert bad.known is False
    assert ": weakest is the " in bad.reason
    assert none == (False, None, "no photo of a place to compare with", -1)
    assert openset.SimilarityRule(0.5).judge(rows[:1], np.array([[0.4999]]), codes[:1, None])[0].reason == (
        "plain similarity 0.499900 < tau 0.500000"
    )


def test_a_reason_says_what_has_a_weight_and_of_which_hit_it_is() -> None:
    """Where geometry orders the hits, the first need not be the most similar; what has no weight gives no reason."""
    rows, places = town(30, 8, noise=1.4)
    calibration, codes = calibrated(rows, places), Places.of_labels(places).codes
    cohort = np.array(calibration.cohort)

    def reason(*weights: float, bias: float = 0) -> str:
        model = Confidence(weights, bias, centre=(0.0,) * 4, scale=(1.0,) * 4)
        one = dataclasses.replace(calibration, confidence=model, learned=True, tau=0.5)
        rule = CalibratedRule(one, rows[cohort], codes[cohort])
        hits, geometry = np.array([[0.7, 0.9, 0.8]]), np.array([[np.log1p(424), 0, 0]])
        return rule.judge(rows[:1], hits, np.zeros((1, 3), dtype=np.int64), geometry)[0].reason

    similarity, support = "similarity of the first hit 0.700", "first two hits of the place 0.800 on average"
    chance = "the geometry is no chance but 1 in 10^424"

    assert reason(1, 0, 1, 0).endswith(f"tau 0.500: {similarity}, {support}")
    assert reason(0, 0, 0.1, 1).endswith(f"tau 0.500: {support}, {chance}")
    assert reason(1, 0, 0, 1e-4, bias=-2).endswith(f"weakest is the geometry ({similarity}, {chance})")


def test_an_exam_without_open_set_questions_calibrates_nothing() -> None:
    """Photos that all lie near one another are one place, whatever their number of cells."""
    nothing = questions(0, centre=0.0, seed=0)
    exam = Exam(questions(10, centre=0.0, seed=0), nothing, np.arange(3), 2, left=0.5)

    with pytest.raises(CalibrationError, match=r"must come from two or more places, got 0"):
        calibrate(exam, names=("a", "b"), ids=np.arange(10))
