"""Chance: the binomial tail is the sum that it stands for, and the NFA is what comes of trying at random."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise.chance import agreement, log_binomial_tail, significance


def naive_tail(trials: int, successes: int, probability: Fraction) -> Fraction:
    """P[Bin >= successes], by its definition, in fractions."""
    return sum(
        (
            math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
            for k in range(max(successes, 0), trials + 1)
        ),
        Fraction(0),
    )


@given(trials=st.integers(0, 25), successes=st.integers(-2, 27), probability=st.floats(0, 1))
def test_the_tail_is_the_sum(trials: int, successes: int, probability: float) -> None:
    """At every number of trials and successes, none and all included, and every probability."""
    exact = naive_tail(trials, successes, Fraction(probability))
    got = log_binomial_tail(trials, successes, probability)

    if exact < Fraction(1, 10**290):
        assert got < -660
    else:
        assert got == pytest.approx(math.log(exact), rel=1e-9, abs=1e-9)


def test_a_tail_too_small_for_a_float_has_a_logarithm() -> None:
    """Hundreds of matches that agree are more significant than tens: nothing underflows."""
    assert log_binomial_tail(800, 700, 1e-4) == pytest.approx(
        math.log(math.comb(800, 700)) + 700 * math.log(1e-4) + 100 * math.log1p(-1e-4), rel=1e-3
    )


@given(
    matches=st.integers(4, 300),
    agreeing=st.integers(0, 300),
    probability=st.floats(1e-6, 1),
    determined_by=st.sampled_from([1, 4, 7]),
)
def test_significance_grows_with_what_agrees(
    matches: int, agreeing: int, probability: float, determined_by: int
) -> None:
    """One more inlier never makes it less, one more try never more; it is never negative."""
    agreeing = min(agreeing, matches - 1)

    def surely(agreeing: int, tries: int) -> float:
        return significance(matches, agreeing, probability=probability, determined_by=determined_by, tries=tries)

    assert 0 <= surely(agreeing, 10) <= surely(agreeing + 1, 10)
    assert surely(agreeing, 11) <= surely(agreeing, 10)


def test_the_number_of_false_alarms_bounds_what_happens() -> None:
    """Best of 20 models on 30 random matches: a significance above 1 comes in at most a tenth of the cases."""
    rng = np.random.default_rng(0)
    agreeing = rng.binomial(29, 0.05, (4000, 20)).max(axis=1) + 1
    found = [significance(30, int(k), probability=0.05, determined_by=1, tries=20) for k in agreeing]

    assert 0 < np.mean(np.array(found) > 1) <= 0.1


def test_agreement_is_never_nothing_and_never_less_than_was_seen() -> None:
    """Evenly scattered points give the area; a cluster gives what is in it; none at all gives little, not 0."""
    rng = np.random.default_rng(0)
    even = np.linalg.norm(rng.uniform(-50, 50, (100_000, 2)), axis=1)

    assert agreement(even, 5.0, wide=40.0, power=2) == pytest.approx(math.pi * 25 / 10_000, rel=0.05)
    assert agreement(np.full(100, 1.0), 5.0, wide=40.0, power=2) == 1.0
    assert 0 < agreement(np.full(100, np.inf), 5.0, wide=40.0, power=2) < 0.001
