"""Does the promised false-accept rate come true, and is the learned confidence better than the best similarity?

PLACEWISE_PHOTOS=… python benchmarks/openset.py [--partitions 200] [--preset balanced] [--known 14]

The 20 places of `landmarks` are parted at random, again and again: 14 known, half of their photos in the gallery and
half as queries, and 6 that the gallery has never seen. Each gallery calibrates itself and is then asked. How the rates
are spread over the partitions, and which places are accepted when they are unknown, is said of the first method.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from placewise import metrics
from placewise.core import Photo
from placewise.embed import embed_photos
from placewise.models import load_model
from placewise.openset import DEFAULT_TAU, HITS, Aim, CalibratedRule, Calibration, Places, calibrate, self_exam
from placewise.photo_table import PhotoTable
from placewise.presets import find_preset
from placewise.rank import Learned, SelfTaught, Stack, learn, usable
from placewise.search import ExactSearcher
from placewise.sources import read_source

if TYPE_CHECKING:
    from placewise.core import Embedder, Embeddings
    from placewise.openset import Exam, Method

KNOWN_PLACES = 14
RATES = (0.05, 0.10)
METHODS: tuple[Method, ...] = ("auto", "similarity")


@dataclass(frozen=True)
class Set:
    """Embedded photos: embeddings, places and splits belong together by position; and how galleries of them rank."""

    embeddings: Embeddings
    places: NDArray[np.str_]
    splits: NDArray[np.str_]
    stack: Stack

    def learned(self, gallery: NDArray[np.int64]) -> Learned:
        """What a gallery of some of them learns."""
        codes = Places.of_labels(self.places[gallery].tolist()).codes
        return learn(self.taken(gallery), self.embeddings[gallery], codes)

    def taken(self, gallery: NDArray[np.int64]) -> Stack:
        """The steps that it takes."""
        photos = [Photo(PurePosixPath(f"{row}"), "gallery", str(self.places[row])) for row in gallery.tolist()]
        return usable(self.stack, PhotoTable.of(gallery.tolist(), photos), self.embeddings.shape[1]).stack

    def exam(self, gallery: NDArray[np.int64]) -> Exam:
        """How it examines itself."""
        places = Places.of_labels(self.places[gallery].tolist())
        told = SelfTaught(self.taken(gallery), self.embeddings[gallery], places.codes, places.codes)
        return self_exam(self.embeddings[gallery], places, told=told)


@dataclass(frozen=True)
class Outcome:
    """What a calibrated gallery answered: confidences, which of the known ones were right, and the unknown places."""

    calibration: Calibration
    known: NDArray[np.float64]
    right: NDArray[np.bool_]
    open_set: NDArray[np.float64]
    strangers: NDArray[np.str_]

    @property
    def rate(self) -> float:
        """The achieved false-accept rate."""
        return float(np.mean(self.open_set >= self.calibration.tau))

    @property
    def inside(self) -> bool:
        """Whether it lies in the printed interval."""
        low, high = self.calibration.interval
        return low <= self.rate <= high

    @property
    def accepted_right(self) -> float:
        """The share of known queries that were accepted with the right place."""
        return float(np.mean((self.known >= self.calibration.tau) & self.right))


def embedded(manifest: Path, embedder: Embedder, stack: Stack) -> Set:
    """All photos of a source."""
    source = read_source(manifest)
    batches = list(embed_photos(source, source.photos, embedder))
    photos = [photo for batch in batches for photo in batch.photos]
    return Set(
        np.concatenate([batch.embeddings for batch in batches]),
        np.array([photo.place for photo in photos]),
        np.array([photo.split for photo in photos]),
        stack,
    )


def ask(photos: Set, gallery: NDArray[np.int64], queries: NDArray[np.int64], exam: Exam, aim: Aim) -> Outcome:
    """Calibrate a gallery by its exam, and ask it."""
    places = Places.of_labels(photos.places[gallery].tolist())
    calibration = calibrate(exam, names=places.names, ids=np.arange(len(gallery)), aim=aim)
    cohort = np.array(calibration.cohort, dtype=np.int64)
    learned = photos.learned(gallery)
    asked = learned.ask(photos.embeddings[queries])
    rule = CalibratedRule(calibration, learned.matrix[cohort], places.codes[cohort])
    searcher = ExactSearcher(learned.matrix.shape[1])
    searcher.upsert(np.arange(len(gallery), dtype=np.int64), learned.matrix)
    found = searcher.search(asked, HITS)
    verdicts = rule.judge(asked, found.similarities, places.codes[found.ids])
    confidence = np.array([verdict.confidence for verdict in verdicts], dtype=np.float64)
    named = photos.places[gallery][[ids[verdict.hit] for ids, verdict in zip(found.ids, verdicts, strict=True)]]
    known = np.isin(photos.places[queries], photos.places[gallery])
    right = named == photos.places[queries]
    return Outcome(calibration, confidence[known], right[known], confidence[~known], photos.places[queries][~known])


def parted(photos: Set, rng: np.random.Generator, known: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a gallery and of its queries."""
    names = rng.permutation(np.unique(photos.places))
    gallery: list[int] = []
    for name in names[:known]:
        rows = rng.permutation(np.flatnonzero(photos.places == name))
        gallery += rows[: len(rows) // 2].tolist()
    chosen = np.array(gallery)
    return chosen, np.setdiff1d(np.arange(len(photos.places)), chosen)


def partitions(photos: Set, count: int, known: int) -> None:
    """Print what came of the promises over many partitions."""
    rng = np.random.default_rng(0)
    outcomes: dict[tuple[Method, float], list[Outcome]] = {}
    fixed = []
    for number in range(count):
        gallery, queries = parted(photos, rng, known)
        exam = photos.exam(gallery)
        for method in METHODS:
            for rate in RATES:
                outcomes.setdefault((method, rate), []).append(ask(photos, gallery, queries, exam, Aim(rate, method)))
        fixed.append(at_fixed_tau(photos, gallery, queries))
        print(f"\r{number + 1} of {count}", end="", file=sys.stderr)
    print(f"\n{count} partitions of {len(np.unique(photos.places))} places, {known} of them known")
    print("confidence  wanted  achieved (s.e.)    expected  in interval  known right  expected  AUROC   OSCR")
    for (method, rate), all_of_them in outcomes.items():
        rates = np.array([outcome.rate for outcome in all_of_them])
        mean = {
            "expected": np.mean([o.calibration.expected_rate for o in all_of_them]),
            "inside": np.mean([o.inside for o in all_of_them]),
            "right": np.mean([o.accepted_right for o in all_of_them]),
            "foreseen": np.mean([o.calibration.known_accepted or 0.0 for o in all_of_them]),
            "auroc": np.mean([_auroc(o) for o in all_of_them]),
            "oscr": np.mean([_oscr(o) for o in all_of_them]),
        }
        print(
            f"{method:10}  {rate:.2f}    {rates.mean():.4f} ({rates.std() / np.sqrt(count):.4f})"
            f"    {mean['expected']:.4f}    {mean['inside']:.3f}        {mean['right']:.3f}"
            f"        {mean['foreseen']:.3f}     {mean['auroc']:.4f}  {mean['oscr']:.4f}"
        )
    accepted, right = np.mean(fixed, axis=0)
    print(f"tau {DEFAULT_TAU:.2f} on the plain similarity accepts {accepted:.4f}, known right {right:.3f}")
    auto, plain = (outcomes[method, RATES[0]] for method in METHODS)
    spread(auto)
    for title, score in (("AUROC", _auroc), ("OSCR", _oscr)):
        better = np.mean([score(one) > score(other) for one, other in zip(auto, plain, strict=True)])
        print(f"{title} of auto above that of similarity in {better:.1%} of the partitions")


def at_fixed_tau(photos: Set, gallery: NDArray[np.int64], queries: NDArray[np.int64]) -> tuple[float, float]:
    """The shares of open-set queries, and of known ones with the right place, that an uncalibrated gallery accepts."""
    learned = photos.learned(gallery)
    best = (learned.ask(photos.embeddings[queries]) @ learned.matrix.T).argmax(axis=1)
    plain = np.einsum("qd,qd->q", photos.embeddings[queries], photos.embeddings[gallery[best]])
    known = np.isin(photos.places[queries], photos.places[gallery])
    right = (plain >= DEFAULT_TAU) & (photos.places[gallery[best]] == photos.places[queries])
    return float(np.mean(plain[~known] >= DEFAULT_TAU)), float(np.mean(right[known]))


def spread(outcomes: list[Outcome]) -> None:
    """Print how the achieved rates differ, and the share of each place's queries that is accepted while unknown."""
    rates = np.array([outcome.rate for outcome in outcomes])
    quantiles = np.quantile(rates, [0.1, 0.25, 0.5, 0.75, 0.9])
    print("achieved rate, quantiles 10 25 50 75 90 %:", " ".join(f"{value:.3f}" for value in quantiles))
    print(
        "share of the partitions at or above:",
        " ".join(f"{at:.2f} {np.mean(rates >= at):.2f}" for at in (0.1, 0.15, 0.18)),
    )
    shares: dict[str, list[float]] = {}
    for outcome in outcomes:
        accepted = outcome.open_set >= outcome.calibration.tau
        for name in np.unique(outcome.strangers).tolist():
            shares.setdefault(name, []).append(float(np.mean(accepted[outcome.strangers == name])))
    worst = sorted(shares, key=lambda name: -float(np.mean(shares[name])))
    print("accepted while unknown:", ", ".join(f"{name} {np.mean(shares[name]):.3f}" for name in worst))


def _auroc(outcome: Outcome) -> float:
    return metrics.auroc(outcome.known, outcome.open_set)


def _oscr(outcome: Outcome) -> float:
    return metrics.oscr(outcome.known, outcome.right, outcome.open_set)


def manifest(name: str, photos: Set) -> None:
    """Print what a set's own gallery makes of its queries, and whether the learned confidence is better there."""
    gallery, queries = np.flatnonzero(photos.splits == "gallery"), np.flatnonzero(photos.splits == "query")
    exam = photos.exam(gallery)
    asked = photos.places[queries]
    known = np.isin(asked, photos.places[gallery])
    groups = np.concatenate([asked[known], asked[~known]])
    learned, plain = (ask(photos, gallery, queries, exam, Aim(0.05, method)) for method in METHODS)
    print(
        f"\n{name}: {len(gallery)} gallery photos, {known.sum()} known and {(~known).sum()} open-set queries, rate 0.05"
    )
    for title, outcome in (("auto", learned), ("similarity", plain)):
        counts = metrics.open_set_counts(outcome.known, outcome.open_set, outcome.calibration.tau)
        print(
            f"{title:10}  AUROC {_auroc(outcome):.4f}  OSCR {_oscr(outcome):.4f}"
            f"  achieved rate {counts.false_accept_rate:.4f}  known right {outcome.accepted_right:.3f}"
            f"  UNKNOWN precision {counts.unknown_precision:.3f} recall {counts.unknown_recall:.3f}"
        )
    split = int(known.sum())

    def drawn(outcome: Outcome, rows: NDArray[np.int64]) -> Outcome:
        k, o = rows[rows < split], rows[rows >= split] - split
        strangers = outcome.strangers[o]
        return Outcome(outcome.calibration, outcome.known[k], outcome.right[k], outcome.open_set[o], strangers)

    def auroc_gain(rows: NDArray[np.int64]) -> float:
        return _auroc(drawn(learned, rows)) - _auroc(drawn(plain, rows))

    def oscr_gain(rows: NDArray[np.int64]) -> float:
        return _oscr(drawn(learned, rows)) - _oscr(drawn(plain, rows))

    for title, gained in (("AUROC", auroc_gain), ("OSCR", oscr_gain)):
        gain = metrics.bootstrap(gained, groups, draws=2000)
        print(f"{title} gained: {gain.low:+.4f} to {gain.high:+.4f} (95 %), above 0 in {gain.share_above_zero:.1%}")


def main() -> None:
    """Measure on the photos of PLACEWISE_PHOTOS."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--known", type=int, default=KNOWN_PLACES)
    given = parser.parse_args()
    preset = find_preset(given.preset)
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        print("PLACEWISE_PHOTOS is not set: nothing measured")
        return
    embedder = load_model(look=preset.look)
    landmarks = Path(folder) / "landmarks"
    photos = embedded(landmarks / "manifest.csv", embedder, preset.stack)
    partitions(photos, given.partitions, given.known)
    manifest("landmarks/manifest.csv", photos)
    manifest("landmarks/manifest-66.csv", embedded(landmarks / "manifest-66.csv", embedder, preset.stack))
    manifest("tower/manifest.csv", embedded(Path(folder) / "tower" / "manifest.csv", embedder, preset.stack))


if __name__ == "__main__":
    main()
