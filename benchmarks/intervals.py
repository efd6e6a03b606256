"""Do the intervals hold the truth as often as they say? Synthetic queries of places, whose true metrics are known.

python benchmarks/intervals.py [--sets 2000]

Each set draws new places, and a geometric number of queries of each, so that places differ in size. The truth is that
of the population which places are drawn from. A 95 % interval should hold it in 95 % of the sets.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from placewise import metrics

PLACES = (20, 50, 100, 300)
METHODS: tuple[metrics.Method, ...] = ("percentile", "expanded", "bca")
NORMAL = NormalDist()
RECALL = 0.8
SHIFT, BETWEEN, WITHIN = 1.5, 0.5, 0.9
"""By how much known queries are more confident, and how confidences spread between places and within one."""
SPREAD = math.hypot(BETWEEN, WITHIN)
TAU = 0.8
OPEN_SET_SHARE = 0.5
"""Open-set places for each known one."""

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Draw = Callable[[np.random.Generator, int], tuple[Array, Places]]


def places_of(rng: np.random.Generator, count: int, at_least: int = 1) -> Places:
    """The place of each query; a place has 3 queries on average, most have fewer."""
    return np.repeat(np.arange(count), at_least - 1 + rng.geometric(1 / 3, count))


def hits(rng: np.random.Generator, count: int) -> tuple[Array, Places]:
    """Recall@1 of 0.8: some places are hard, some easy."""
    place = places_of(rng, count)
    return (rng.random(place.size) < rng.beta(4, 1, count)[place]).astype(np.float64), place


def easy_hits(rng: np.random.Generator, count: int) -> tuple[Array, Places]:
    """Recall@1 of 0.97: in small sets often nothing is missed."""
    place = places_of(rng, count)
    return (rng.random(place.size) < rng.beta(9.7, 0.3, count)[place]).astype(np.float64), place


def hits_of_unlike_places(rng: np.random.Generator, count: int) -> tuple[Array, Places]:
    """Half of the places have 9 queries more, of which fewer are recalled: (3 x 0.9 + 12 x 0.6) / 15."""
    large = rng.random(count) < 0.5
    place = np.repeat(np.arange(count), rng.geometric(1 / 3, count) + 9 * large)
    chance = np.where(large, rng.beta(6, 4, count), rng.beta(9, 1, count))
    return (rng.random(place.size) < chance[place]).astype(np.float64), place


def average_precisions(rng: np.random.Generator, count: int) -> tuple[Array, Places]:
    """Values from 0 to 1 whose mean is 0.6."""
    place = places_of(rng, count)
    middle = rng.beta(3, 2, count)[place]
    return rng.beta(4 * middle, 4 * (1 - middle)), place


def answers(rng: np.random.Generator, known: int) -> tuple[metrics.Answered, Places]:
    """Known and open-set queries whose confidences are normal between and within places."""
    total = known + round(OPEN_SET_SHARE * known)
    place = places_of(rng, total)
    confidence = rng.normal(0, BETWEEN, total)[place] + rng.normal(0, WITHIN, place.size) + SHIFT * (place < known)
    right = (rng.random(place.size) < rng.beta(4, 1, total)[place]) & (place < known)
    return metrics.Answered(confidence, right, place >= known, TAU), place


def rare_accepts(rng: np.random.Generator, known: int) -> tuple[metrics.Answered, Places]:
    """A false-accept rate of 0.05, higher in some open-set places than in others: in small sets often nothing is."""
    total = known + round(OPEN_SET_SHARE * known)
    place = places_of(rng, total)
    accepted = (rng.random(place.size) < rng.beta(1, 19, total)[place]) | (place < known)
    return metrics.Answered(np.where(accepted, 1.0, 0.0), place < known, place >= known, TAU), place


def true_values() -> dict[str, float]:
    """What the metrics of `answers` are in the population."""
    auroc = NORMAL.cdf(SHIFT / (math.sqrt(2) * SPREAD))
    tail = NORMAL.inv_cdf(0.95)
    rejected, flagged = NORMAL.cdf((TAU - SHIFT) / SPREAD), NORMAL.cdf(TAU / SPREAD)
    of_all = OPEN_SET_SHARE * flagged
    return {
        "auroc": auroc,
        "oscr": RECALL * auroc,
        "fpr95": 1 - NORMAL.cdf(SHIFT / SPREAD - tail),
        "fpr95_open_set": NORMAL.cdf(tail - SHIFT / SPREAD),
        "gap": true_gap(),
        "unknown_f1": 2 * of_all / (of_all + rejected + OPEN_SET_SHARE),
        "false_accept_rate": 1 - flagged,
        "false_reject_rate": rejected,
    }


def true_gap() -> float:
    """The integral of precision over the right answers, by their confidence."""
    known = (np.arange(100_000) + 0.5) / 100_000  # the share of known queries that is more confident
    taus = [SHIFT - SPREAD * NORMAL.inv_cdf(share) for share in known]
    open_set = np.array([NORMAL.cdf(-tau / SPREAD) for tau in taus])
    return float(np.mean(RECALL * RECALL * known / (known + OPEN_SET_SHARE * open_set)))


def holds(interval: metrics.Interval, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return interval.low <= truth <= interval.high


def coverage_of_means(values: Draw, truth: float, places: int, sets: int, draws: int) -> list[float]:
    """The share of sets whose interval holds the truth, by each method."""
    rng, held = np.random.default_rng(places), dict.fromkeys(METHODS, 0)
    for number in range(sets):
        drawn = values(rng, places)
        for method in METHODS:
            held[method] += holds(metrics.bootstrap_means(*drawn, draws=draws, seed=number, method=method), truth)
    return [count / sets for count in held.values()]


def coverage_of_open_set(
    values: Callable[[np.random.Generator, int], tuple[metrics.Answered, Places]],
    truths: dict[str, float],
    places: int,
    sets: int,
    draws: int,
) -> dict[str, list[float]]:
    """The same for each open-set metric."""
    rng = np.random.default_rng(places)
    held = {name: dict.fromkeys(METHODS, 0) for name in truths}
    for number in range(sets):
        answered, place = values(rng, places)
        for method in METHODS:
            found = metrics.bootstrap_open_set(answered, place, draws=draws, seed=number, method=method)
            for name, truth in truths.items():
                held[name][method] += holds(found[name], truth)
    return {name: [count / sets for count in counts.values()] for name, counts in held.items()}


def show(name: str, truth: float, columns: list[list[float]]) -> None:
    """One line for each method."""
    for number, method in enumerate(METHODS):
        shares = "".join(f"{column[number]:8.3f}" for column in columns)
        print(f"{name:26} {truth:6.3f}  {method:10}{shares}", flush=True)


def show_speed() -> None:
    """Seconds of one core for all headline intervals of 10,000 queries of 2,000 places."""
    rng = np.random.default_rng(0)
    place = rng.integers(0, 2000, 10_000)
    known = place < 1600
    confidence = rng.random(10_000) + 0.3 * known
    answered = metrics.Answered(confidence, known & (rng.random(10_000) < RECALL), ~known, TAU)
    start = time.process_time()
    metrics.bootstrap_open_set(answered, place)
    middle = time.process_time()
    for _ in range(10):
        metrics.bootstrap_means(np.where(known, rng.random(10_000), math.nan), place)
    end = time.process_time()
    print("10,000 queries of 2,000 places, 1,000 draws")
    print(f"15 open-set metrics {middle - start:.2f} s of a core, 10 means {end - middle:.2f} s")


def main() -> None:
    """Print the share of sets whose interval holds the truth, for each number of known places."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    show_speed()
    print(f"{options.sets:,} sets, {options.draws:,} draws; s.e. {math.sqrt(0.95 * 0.05 / options.sets):.4f}")
    print(f"{'metric':27} truth  {'method':10}" + "".join(f"{count:8,}" for count in PLACES) + " places")
    means: dict[str, tuple[Draw, float]] = {
        "recall@1": (hits, RECALL),
        "recall@1, unlike places": (hits_of_unlike_places, 0.66),
        "recall@1, hardly a miss": (easy_hits, 0.97),
        "map": (average_precisions, 0.6),
    }
    for name, (values, truth) in means.items():
        show(name, truth, [coverage_of_means(values, truth, n, options.sets, options.draws) for n in PLACES])
    sets, draws = options.sets // 4, options.draws * 2 // 5
    print(f"{sets:,} sets, {draws:,} draws; half as many open-set places; s.e. {math.sqrt(0.95 * 0.05 / sets):.4f}")
    of_answers = [coverage_of_open_set(answers, true_values(), n, sets, draws) for n in PLACES[:3]]
    for name, truth in true_values().items():
        show(name, truth, [column[name] for column in of_answers])
    show_rare(sets, draws)


def show_rare(sets: int, draws: int) -> None:
    """The lines of rare false accepts, by the number of open-set places."""
    truth = {"false_accept_rate": 0.05}
    print("false accepts that are rare: 5, 10, 25 and 50 open-set places, twice as many known ones")
    rare = [coverage_of_open_set(rare_accepts, truth, n, sets, draws) for n in (10, *PLACES[:3])]
    show("false_accept_rate, rare", 0.05, [column["false_accept_rate"] for column in rare])


if __name__ == "__main__":
    main()
