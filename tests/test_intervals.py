"""Intervals: what is drawn, which percentiles are the limits, and whether they hold the truth."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import metrics
from placewise.errors import OptionError
from placewise.metrics.intervals import interval_of, student_quantile
from placewise.metrics.resampling import resamples

METHODS: tuple[metrics.Method, ...] = ("percentile", "expanded", "bca")
Rows = list[tuple[str, float, str]]

# Of one draw the limits are its value: that makes each draw visible from outside.
by_place = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from([-math.inf, 0.25, 0.5, 1.0]), st.booleans()),
    min_size=1,
    max_size=14,
).map(
    lambda rows: [(place, c, "open-set" if place > "c" else "right" if right else "wrong") for place, c, right in rows]
)
"""Queries of places a to c, which are known, and of d and e, which are not."""
by_sequence = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from(["right", "wrong", "open-set"])
    ),
    min_size=1,
    max_size=14,
)
"""Queries of sequences that may hold both kinds."""


def answered(rows: Rows, tau: float | None = None) -> metrics.Answered:
    """What the module takes for it."""
    outcomes = [outcome for _, _, outcome in rows]
    return metrics.Answered(
        np.array([confidence for _, confidence, _ in rows]),
        np.array([outcome == "right" for outcome in outcomes]),
        np.array([outcome == "open-set" for outcome in outcomes]),
        tau,
    )


def naive_metrics(rows: Rows, tau: float) -> dict[str, float]:
    """Each metric by its unweighted function, on rows that are repeated as often as they were drawn."""
    known = [confidence for _, confidence, outcome in rows if outcome != "open-set"]
    correct = [outcome == "right" for _, _, outcome in rows if outcome != "open-set"]
    open_set = [confidence for _, confidence, outcome in rows if outcome == "open-set"]
    counts = metrics.open_set_counts(known, open_set, tau)
    right = [c >= tau and ok for c, ok in zip(known, correct, strict=True)]
    return {
        "auroc": metrics.auroc(known, open_set),
        "fpr95": metrics.fpr95(known, open_set),
        "fpr95_open_set": metrics.fpr95_open_set(known, open_set),
        "oscr": metrics.oscr(known, correct, open_set),
        "gap": metrics.gap(known, correct, open_set),
        "recall_at_100_precision": metrics.recall_at_100_precision(known, correct, open_set),
        "auc_pr": metrics.auc_pr(known, correct, open_set),
        "aurc": metrics.risk_coverage(known, correct, open_set).area,
        "unknown_precision": counts.unknown_precision,
        "unknown_recall": counts.unknown_recall,
        "unknown_f1": counts.unknown_f1,
        "false_accept_rate": counts.false_accept_rate,
        "false_reject_rate": counts.false_reject_rate,
        "wrong_place_rate": metrics.wrong_place_rate(known, correct, tau),
        "known_accepted_right": sum(right) / len(known) if known else math.nan,
    }


def one_draw(rows: Rows, seed: int) -> tuple[Rows, int, int]:
    """The rows of the first draw, and how many places are known and open-set; kinds are apart if no place is both."""
    known = sorted({place for place, _, outcome in rows if outcome != "open-set"})
    unknown = sorted({place for place, _, outcome in rows if outcome == "open-set"})
    mixed = bool({*known} & {*unknown})
    names = sorted({*known, *unknown}) if mixed else [*known, *unknown]
    strata = [len(names)] if mixed else [size for size in (len(known), len(unknown)) if size]
    counts = dict(zip(names, next(resamples(strata, draws=1, seed=seed))[0].tolist(), strict=True))
    return [row for row in rows for _ in range(counts[row[0]])], len(known), len(unknown)


@given(st.one_of(by_place, by_sequence), st.sampled_from([-1.0, 0.25, 0.3, 2.0]), st.integers(0, 3))
def test_each_draw_has_the_metrics_of_its_rows_repeated(rows: Rows, tau: float, seed: int) -> None:
    """All fifteen weighted metrics equal the unweighted ones on repeated rows; NaN with fewer than two places."""
    found = metrics.bootstrap_open_set(answered(rows, tau), [place for place, _, _ in rows], draws=1, seed=seed)
    drawn, known, unknown = one_draw(rows, seed)
    expected = naive_metrics(drawn, tau)

    assert found.keys() == expected.keys()
    for name, interval in found.items():
        of_one_kind = {"unknown_recall": unknown, "false_accept_rate": unknown}
        of_one_kind |= dict.fromkeys(["false_reject_rate", "wrong_place_rate", "known_accepted_right"], known)
        enough = of_one_kind.get(name, min(size for size in (known, unknown) if size)) > 1
        value = expected[name] if enough else math.nan
        assert interval.low == pytest.approx(value, abs=1e-12, nan_ok=True), name
        assert interval.high == pytest.approx(value, abs=1e-12, nan_ok=True), name


@given(by_place, st.integers(0, 3))
def test_a_paired_draw_takes_the_same_queries_of_both_models(rows: Rows, seed: int) -> None:
    """The difference in a draw is that of the two models' metrics on the same repeated rows."""
    other = [(place, -confidence, outcome) for place, confidence, outcome in rows]
    groups = [place for place, _, _ in rows]
    found = metrics.paired_bootstrap_open_set(answered(rows), answered(other), groups, draws=1, seed=seed)
    first, known, unknown = one_draw(rows, seed)
    second, _, _ = one_draw(other, seed)
    before, after = naive_metrics(first, 0), naive_metrics(second, 0)

    assert "unknown_f1" not in found
    for name, interval in found.items():
        enough = min(size for size in (known, unknown) if size) > 1
        value = after[name] - before[name] if enough else math.nan
        assert interval.low == pytest.approx(value, abs=1e-12, nan_ok=True), name


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 0.25, 0.7, math.nan])), max_size=15),
    st.sampled_from(METHODS),
)
def test_bootstrap_means_equals_a_loop_over_draws(rows: list[tuple[str, float]], method: metrics.Method) -> None:
    """It has the limits of the general machinery on means of repeated rows; places without a value are not drawn."""
    values, groups = [value for _, value in rows], [group for group, _ in rows]
    evaluated = [(group, value) for group, value in rows if not math.isnan(value)]
    places = sorted({group for group, _ in evaluated})
    found = metrics.bootstrap_means(values, groups, draws=40, method=method)
    if len(places) < 2:
        assert math.isnan(found.low)
        return
    if {value for _, value in evaluated} == {0.0} and method != "percentile":
        assert (found.low, found.high) == pytest.approx((0, 1 - 0.025 ** (1 / len(places))))
        return
    if len(evaluated) > 1 and len({value for _, value in evaluated}) == 1 and method != "percentile":
        assert math.isnan(found.low)  # draws of one value say nothing
        return

    def mean(weights: dict[str, int]) -> float:
        repeated = [value for group, value in evaluated for _ in range(weights[group])]
        return sum(repeated) / len(repeated)

    drawn = np.vstack([*resamples([len(places)], draws=40, seed=0)])
    means = [mean(dict(zip(places, counts, strict=True))) for counts in drawn.tolist()]
    expected = interval_of(
        np.array(means),
        len(places),
        level=0.95,
        method=method,
        estimate=mean(dict.fromkeys(places, 1)),
        left_out=np.array([mean({place: int(place != left) for place in places}) for left in places]),
    )
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_general_and_special_bootstraps_agree_on_means() -> None:
    """With the same method the loop over draws and the weighted means differ by the chance of their draws alone."""
    rng = np.random.default_rng(1)
    groups, values = np.repeat(np.arange(60), 4), rng.random(240)

    for method in METHODS:
        special = metrics.bootstrap_means(values, groups, method=method)
        general = metrics.bootstrap(lambda rows: float(values[rows].mean()), groups, method=method)
        assert special.low == pytest.approx(general.low, abs=0.004)
        assert special.high == pytest.approx(general.high, abs=0.004)


@pytest.mark.parametrize(
    ("degrees", "two_sided"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (19, 2.0930), (30, 2.0423), (100, 1.9840)],
)
def test_student_quantiles_are_those_of_the_tables(degrees: int, two_sided: float) -> None:
    """The 97.5 % quantiles agree with printed tables to four digits; with many degrees they are the normal's."""
    assert student_quantile(0.95, degrees) == pytest.approx(two_sided, abs=6e-5)
    assert student_quantile(0.95, 100_000) == pytest.approx(1.95996, abs=5e-5)


def test_methods_take_the_percentiles_that_they_name() -> None:
    """Of draws 0 to 1000: 25 and 975 plain; Φ(∓√(20/19) 2.093) of 20 groups; without bias and skewness bca likewise."""
    values = np.arange(1001.0)
    reach = math.sqrt(20 / 19) * 2.0930240544
    tail = 1000 * NormalDist().cdf(-reach)
    plain, expanded = (interval_of(values, 20, level=0.95, method=method) for method in METHODS[:2])
    still = interval_of(values, 20, level=0.95, method="bca", estimate=500, left_out=np.array([-1.0, 1.0] * 10))

    assert (plain.low, plain.high) == pytest.approx((25, 975))
    assert (expanded.low, expanded.high) == pytest.approx((tail, 1000 - tail))
    assert (still.low, still.high) == pytest.approx((expanded.low, expanded.high))


def test_bca_moves_by_bias_and_skewness() -> None:
    """Its tails are Φ(b + (b ± z) / (1 - a (b ± z))) by the formula of Efron, worked out here on its own."""
    values = np.arange(1001.0)
    left_out = np.array([1.0] * 19 + [0.0])
    normal, reach = NormalDist(), math.sqrt(20 / 19) * 2.0930240544
    influence = [0.95 - value for value in left_out]
    a = sum(i**3 for i in influence) / (6 * sum(i**2 for i in influence) ** 1.5)
    b = normal.inv_cdf(400.5 / 1001)
    tails = [normal.cdf(b + (b + z) / (1 - a * (b + z))) for z in (-reach, reach)]
    interval = interval_of(values, 20, level=0.95, method="bca", estimate=400, left_out=left_out)

    assert (interval.low, interval.high) == pytest.approx((1000 * tails[0], 1000 * tails[1]))


def test_nothing_but_hits_does_not_promise_a_perfect_recall() -> None:
    """Twenty places without a miss are no proof: the lower limit is 0.025^(1/20); without a hit it is the mirror."""
    groups = np.repeat(np.arange(20), 3)
    perfect, hopeless = metrics.bootstrap_means(np.ones(60), groups), metrics.bootstrap_means(np.zeros(60), groups)

    assert perfect.low == pytest.approx(0.025 ** (1 / 20))
    assert (perfect.high, perfect.share_above_zero) == (1, 1)
    assert hopeless.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert (hopeless.low, hopeless.share_above_zero) == (0, 0.5)
    plain = metrics.bootstrap_means(np.ones(60), groups, method="percentile")
    assert (plain.low, plain.high) == (1, 1)


def test_decisions_without_a_mistake_do_not_promise_that_there_are_none() -> None:
    """Rates that are 0 or 1 in all places have the limit of as many trials as there are places of their kind."""
    rows = [(place, 0.9, "right") for place in "abcde"] + [(place, 0.1, "open-set") for place in "xyz"]
    found = metrics.bootstrap_open_set(answered(rows, 0.5), [place for place, _, _ in rows])
    of_three, of_five = 0.025 ** (1 / 3), 0.025 ** (1 / 5)

    for name in ("unknown_recall", "unknown_precision", "unknown_f1", "auroc", "oscr", "gap"):
        assert (found[name].low, found[name].high) == pytest.approx((of_three, 1)), name
    for name in ("false_accept_rate", "fpr95"):
        assert (found[name].low, found[name].high) == pytest.approx((0, 1 - of_three)), name
    for name in ("false_reject_rate", "wrong_place_rate"):
        assert (found[name].low, found[name].high) == pytest.approx((0, 1 - of_five)), name
    assert found["known_accepted_right"].low == pytest.approx(of_five)
    assert math.isnan(found["aurc"].low)  # the same in all draws, but neither 0 nor 1


@pytest.mark.parametrize("places", [3, 10, 20])
def test_intervals_of_rare_false_accepts_hold_the_truth(places: int) -> None:
    """A rate of 0.05 that differs between places: sets without any false accept are not taken for proof."""
    rng, held = np.random.default_rng(places), 0
    for _ in range(200):
        chance = rng.beta(2, 38, places)
        accepted = rng.random((places, 10)) < chance[:, None]
        confidence = np.r_[np.full(10, 0.9), np.where(accepted.ravel(), 0.9, 0.1)]
        open_set = np.arange(confidence.size) >= 10
        group = np.r_[np.arange(10) // 2, 10 + np.repeat(np.arange(places), 10)]
        found = metrics.bootstrap_open_set(metrics.Answered(confidence, ~open_set, open_set, 0.5), group, draws=200)
        held += found["false_accept_rate"].low <= 0.05 <= found["false_accept_rate"].high

    assert held >= 0.9 * 200


def test_known_and_open_set_places_are_drawn_apart() -> None:
    """With one query a place, a draw has as many queries of either kind as the set, so no draw lacks a class."""
    rows = [("a", 0.9, "right"), ("b", 0.8, "right"), ("y", 0.2, "open-set"), ("z", 0.1, "open-set")]
    drawn = [one_draw(rows, seed)[0] for seed in range(20)]
    found = metrics.bootstrap_open_set(answered(rows, 0.5), [place for place, _, _ in rows], method="percentile")

    assert all([outcome for _, _, outcome in each].count("open-set") == 2 for each in drawn)
    assert (found["auroc"].low, found["auroc"].high) == (1, 1)
    assert found["auroc"].share_above_zero == 1


def test_blocks_of_draws_do_not_change_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all draws are weighed at once or a few at a time, or drawn in several blocks, the limits are the same."""
    rng = np.random.default_rng(4)
    rows = [(str(g), float(rng.normal(g < 5)), "right" if g < 5 else "open-set") for g in [*range(8)] * 2]
    groups = [group for group, _, _ in rows]
    whole = metrics.bootstrap_open_set(answered(rows, 0.5), groups, draws=50, method="bca")
    mean = metrics.bootstrap_means(rng.random(16), groups, draws=50)
    monkeypatch.setattr("placewise.metrics.open_set_resampling._AT_ONCE", 50)

    assert metrics.bootstrap_open_set(answered(rows, 0.5), groups, draws=50, method="bca") == whole
    monkeypatch.setattr("placewise.metrics.resampling._AT_ONCE", 60)
    rng = np.random.default_rng(4)
    rng.normal(size=16)
    assert metrics.bootstrap_means(rng.random(16), groups, draws=50) == mean


def test_bca_of_open_set_metrics_leaves_out_each_place() -> None:
    """Its limits are those of the general machinery, given the AUROC of all places and without each of them."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(16), 3)
    rows = [(str(g), float(rng.normal(g < 10)), "right" if g < 10 else "open-set") for g in groups]
    found = metrics.bootstrap_open_set(answered(rows), groups, method="bca", draws=200)["auroc"]
    draws = [
        naive_metrics([row for row in rows for _ in range(counts[int(row[0])])], 0)["auroc"]
        for counts in np.vstack([*resamples([10, 6], draws=200, seed=0)])
    ]
    expected = interval_of(
        np.array(draws),
        6,
        level=0.95,
        method="bca",
        estimate=naive_metrics(rows, 0)["auroc"],
        left_out=np.array([naive_metrics([r for r in rows if r[0] != str(g)], 0)["auroc"] for g in range(16)]),
    )

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_many_places_are_left_out_in_parts_with_nearly_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving out 120 places in 40 parts moves no limit by more than a twentieth of the interval's width."""
    rng = np.random.default_rng(6)
    groups = np.arange(120)
    rows = [(str(g), float(rng.normal(2 * (g < 80))), "right" if g < 80 else "open-set") for g in groups]
    one_by_one = metrics.bootstrap_open_set(answered(rows), groups)["auroc"]
    monkeypatch.setattr("placewise.metrics.open_set_resampling._PARTS", 40)
    in_parts = metrics.bootstrap_open_set(answered(rows), groups)["auroc"]

    assert in_parts != one_by_one
    assert in_parts.low == pytest.approx(one_by_one.low, abs=(one_by_one.high - one_by_one.low) / 20)
    assert in_parts.high == pytest.approx(one_by_one.high, abs=(one_by_one.high - one_by_one.low) / 20)


def test_pairing_sees_a_small_gain_that_two_intervals_hide() -> None:
    """Where places differ much and each gains a little, the paired interval is above 0 and the single ones overlap."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(40), 5)
    first = np.clip(rng.random(40)[groups] * 0.8, 0, 1)
    second = first + 0.02 + 0.01 * rng.random(200)
    paired = metrics.paired_bootstrap(first, second, groups)
    one, other = metrics.bootstrap_means(first, groups), metrics.bootstrap_means(second, groups)

    assert 0.02 < paired.low < paired.high < 0.03
    assert paired.share_above_zero == 1
    assert other.low < one.high


def test_a_model_compared_with_itself_shows_no_difference() -> None:
    """All draws are 0, also where every query is right: the interval is 0 to 0, and one half is above zero."""
    nothing = metrics.Interval(0.0, 0.0, 0.5)
    groups = [0, 0, 1, 2, 3]
    rows = [("a", 0.9, "right"), ("b", 0.8, "wrong"), ("y", 0.2, "open-set"), ("z", 0.3, "open-set")]

    assert metrics.paired_bootstrap([1] * 5, [1] * 5, groups) == nothing
    assert metrics.paired_bootstrap([1] * 5, [1] * 5, groups, statistic=np.median) == nothing
    itself = metrics.paired_bootstrap_open_set(answered(rows, 0.5), answered(rows, 0.5), [*"abyz"])
    assert set(itself.values()) == {nothing}


def test_a_general_paired_statistic_takes_rows_of_both() -> None:
    """With a statistic of several columns, the difference is that of the statistic on the same rows of each model."""
    first = np.array([[0.1, 1.0], [0.4, 0.0], [0.3, 1.0], [0.8, 0.0]])
    second = first + np.array([0.5, 0.0])
    interval = metrics.paired_bootstrap(first, second, [*"abcd"], statistic=lambda rows: rows[:, 0].max())

    assert (interval.low, interval.high) == pytest.approx((0.5, 0.5))


def coverage(places: int, method: metrics.Method) -> float:
    """The share of 400 sets of hits whose interval holds their true mean of 0.8."""
    rng = np.random.default_rng(places)
    held = 0
    for seed in range(400):
        place = np.repeat(np.arange(places), rng.geometric(1 / 3, places))
        hits = rng.random(place.size) < rng.beta(4, 1, places)[place]
        interval = metrics.bootstrap_means(hits, place, draws=300, seed=seed, method=method)
        held += interval.low <= 0.8 <= interval.high
    return held / 400


def test_intervals_hold_the_truth_in_95_percent_of_the_sets() -> None:
    """Over 400 sets of 40 and of 100 places within 2 points; the plain percentiles of 15 places fall short of that."""
    assert coverage(40, "bca") == pytest.approx(0.95, abs=0.02)
    assert coverage(100, "bca") == pytest.approx(0.95, abs=0.02)
    assert coverage(15, "percentile") < 0.93
    assert coverage(15, "percentile") < coverage(15, "bca")


def test_what_does_not_belong_together_is_refused() -> None:
    """Other groups than values, other queries than the first model's, and an unknown method are one line each."""
    with pytest.raises(OptionError, match=r"^groups must be one per value, shape \(2,\), got shape \(3,\)$"):
        metrics.bootstrap_means([0.0, 1.0], [0, 1, 2])
    with pytest.raises(
        OptionError, match=r"^both models must be evaluated on the same queries, got 2 of shape \(2,\) and"
    ):
        metrics.paired_bootstrap([0.0, 1.0], [0.0, math.nan], [0, 1])
    with pytest.raises(OptionError, match=r"^method must be one of percentile, expanded, bca, got 'BCa'$"):
        metrics.bootstrap_means([0.0, 1.0], [0, 1], method="BCa")  # type: ignore[arg-type]
    rows = [("a", 0.9, "right"), ("b", 0.8, "wrong"), ("y", 0.2, "open-set")]
    with pytest.raises(
        OptionError, match=r"^both models must have answered the same queries, got other open-set ones$"
    ):
        metrics.paired_bootstrap_open_set(answered(rows), answered(rows[::-1]), [0, 1, 2])
    with pytest.raises(OptionError, match=r"^groups must be one per value, shape \(3,\), got shape \(2,\)$"):
        metrics.bootstrap_open_set(answered(rows), [0, 1])


def test_answers_that_contradict_themselves_are_refused() -> None:
    """A correct answer to an open-set query, a NaN for a tau and missing rows are one line each."""
    two = np.array([0.5, 0.4])
    yes, no = np.array([True, True]), np.array([False, False])
    with pytest.raises(OptionError, match=r"^an open-set query must not be correct, got 2 that are$"):
        metrics.Answered(two, yes, yes)
    with pytest.raises(OptionError, match=r"^tau must be a number, got NaN$"):
        metrics.Answered(two, no, yes, math.nan)
    with pytest.raises(OptionError, match=r"^outcomes must be one per confidence, shape \(2,\), got shape \(1,\)$"):
        metrics.Answered(two, no[:1], yes)


def test_no_queries_have_no_intervals() -> None:
    """An empty set, and one without open-set queries, give NaN where a metric is undefined and numbers elsewhere."""
    nothing = np.array([])
    empty = metrics.bootstrap_open_set(metrics.Answered(nothing, nothing.astype(bool), nothing.astype(bool), 0.5), [])
    known = metrics.bootstrap_open_set(answered([("a", 0.9, "right"), ("b", 0.8, "right")]), ["a", "b"])

    assert all(math.isnan(interval.low) for interval in empty.values())
    assert math.isnan(known["auroc"].low)
    assert math.isnan(known["fpr95"].low)
    assert known["gap"].low == known["recall_at_100_precision"].low == pytest.approx(0.025 ** (1 / 2))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=15).filter(lambda labels: len(set(labels)) > 1))
def test_bootstrap_draws_whole_groups(labels: list[int]) -> None:
    """Each draw takes as many groups as there are, each with all its rows, as often as it was drawn."""
    drawn: list[NDArray[np.int64]] = []

    def statistic(rows: NDArray[np.int64]) -> float:
        drawn.append(rows)
        return 0.0

    metrics.bootstrap(statistic, labels, draws=5)

    assert len(drawn) == 5
    for rows in drawn:
        times = np.bincount(rows, minlength=len(labels))
        per_group = {label: {int(times[row]) for row, own in enumerate(labels) if own == label} for label in labels}
        assert all(len(counts) == 1 for counts in per_group.values())
        assert sum(counts.pop() for counts in per_group.values()) == len(set(labels))


def test_bootstrap_is_wider_over_groups_than_over_rows() -> None:
    """Rows of one place that agree tell no more than one row: taken as independent they promise too much."""
    places = np.repeat(np.arange(10), 20)
    right = np.repeat([1.0, 0.0] * 5, 20)

    def mean(rows: NDArray[np.int64]) -> float:
        return float(right[rows].mean())

    over_places = metrics.bootstrap(mean, places)
    over_rows = metrics.bootstrap(mean, np.arange(200))

    assert over_places.high - over_places.low > 3 * (over_rows.high - over_rows.low)


def test_bootstrap_is_repeated_by_its_seed() -> None:
    """The same seed draws the same groups, another seed draws others."""
    score = np.random.default_rng(3).random(40)

    def interval(seed: int) -> metrics.Interval:
        return metrics.bootstrap(lambda rows: float(score[rows].mean()), np.arange(40) // 2, draws=50, seed=seed)

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)


def test_bootstrap_interval_and_share_of_known_draws() -> None:
    """The limits are percentiles of the draws that have a value; a draw of zero counts one half as above zero."""
    values = [math.nan, *range(-1, 100)]
    replay = iter(values)
    interval = metrics.bootstrap(lambda _: next(replay), ["a", "b"], draws=len(values), level=0.9, method="percentile")

    assert interval.low == pytest.approx(np.percentile(np.arange(-1, 100), 5))
    assert interval.high == pytest.approx(np.percentile(np.arange(-1, 100), 95))
    assert interval.share_above_zero == pytest.approx(99.5 / 101)


def test_what_has_no_value_in_any_draw_has_no_interval() -> None:
    """A statistic that is NaN in every draw gives NaN limits and a NaN share."""
    interval = metrics.bootstrap(lambda _: math.nan, [0, 1], draws=3)

    assert all(math.isnan(value) for value in (interval.low, interval.high, interval.share_above_zero))


@pytest.mark.parametrize("groups", [[], ["here"] * 5])
def test_bootstrap_refuses_fewer_than_two_groups(groups: list[str]) -> None:
    """One place or none cannot be resampled, so it is an error and never an interval of width zero."""
    with pytest.raises(OptionError, match=rf"two or more, got {len(set(groups))}"):
        metrics.bootstrap(lambda rows: float(rows.size), groups)


@pytest.mark.parametrize("options", [{"draws": 0}, {"level": 0.0}, {"level": 1.0}, {"level": 95.0}])
def test_bootstrap_refuses_options_without_meaning(options: dict[str, float]) -> None:
    """No draws, or a level that is no share, is one line and not an interval of NaN or numpy's error."""
    with pytest.raises(OptionError, match=r"^draws must be at least 1 and level between 0 and 1, got"):
        metrics.bootstrap(lambda _: 0.0, [0, 1], **options)  # type: ignore[arg-type]
