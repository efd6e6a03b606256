"""What do the parts of the model without weights gain, and what does it cost?

PLACEWISE_PHOTOS=… python benchmarks/vlad.py

On the photos of `landmarks`. Parts are chosen on every second gallery place, where the other gallery places play the
unknown ones, and on `corridor`; the report is on those other places, with the 7 places that the gallery never holds as
the unknown ones. Each time the words are learned from the gallery that is asked.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from placewise import images, metrics
from placewise.fitting import fit_model
from placewise.models import load_model, vlad
from placewise.models.words import Projection, learn_directions, learn_words
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from placewise.core import Source

    Rows = NDArray[np.float32]
    Described = tuple[Rows, Rows]

SHRINKAGES = (0.3, 0.8)
TIMED = 40


def main() -> None:
    """Describe all photos, print a line a variant, then what a photo costs."""
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        print("skipped: PLACEWISE_PHOTOS is not set")
        return
    root = Path(folder)
    sources = [read_source(root / "landmarks" / "manifest.csv"), read_source(root / "corridor")]
    described = [describe(source) for source in sources]
    photos = sources[0].photos
    held = sorted({photo.place or "" for photo in photos if photo.split == "gallery"})
    unseen = sorted({photo.place or "" for photo in photos} - {*held})
    print("mAP, Recall@1, AUROC of the best similarity; of corridor mAP and Recall@1, 3 frames to each side right")
    print(f"{'variant':44s} chosen on            corridor       report")
    for name, variant in variants().items():
        chosen = places_line(sources[0], described[0], variant, held[::2], held[1::2])
        report = places_line(sources[0], described[0], variant, held[1::2], unseen)
        print(f"{name:44s} {chosen}  {frames_line(sources[1], described[1], variant)}  {report}", flush=True)
    costs(sources[0])


def describe(source: Source) -> list[Described]:
    """The descriptors of all photos on a grid and at keypoints."""
    model = load_model("vlad")
    return [vlad._descriptors(model.read(images.read_bytes(source.file(photo)))) for photo in source.photos]  # noqa: SLF001


def variants() -> dict[str, Callable[[Sequence[Described], Sequence[Described]], tuple[Rows, Rows]]]:
    """What makes rows of a gallery and its queries, by name."""
    made = {"grid": lambda g, q: long_rows(g, q, 0.0), "keypoints": lambda g, q: long_rows(g, q, 1e6)}
    made["both"] = lambda g, q: long_rows(g, q, 0.7)
    made["both, in 1024 values (the model)"] = lambda g, q: shortened(*long_rows(g, q, 0.7))
    made["both, less the gallery's mean"] = lambda g, q: whitened(*long_rows(g, q, 0.7), 0.0, 1.0)
    for power in (0.5, 1.0):
        for shrinkage in SHRINKAGES:
            name = f"both, whitened to the power {power}, shrunk {shrinkage}"
            made[name] = lambda g, q, p=power, s=shrinkage: whitened(*long_rows(g, q, 0.7), p, s)  # type: ignore[misc]
    return made


def long_rows(gallery: Sequence[Described], queries: Sequence[Described], share: float) -> tuple[Rows, Rows]:
    """The sums about words that the gallery teaches; ``share``: how long the keypoints' part is beside the grid's."""
    rng = np.random.default_rng(0)
    words = []
    for kind, count in enumerate((256, 64)):
        some = [found[kind][rng.permutation(len(found[kind]))[: 60_000 // len(gallery)]] for found in gallery]
        words.append(learn_words(np.concatenate(some), count))

    def rows(photos: Sequence[Described]) -> Rows:
        made = [np.concatenate((words[0].sums(grid), share * words[1].sums(points))) for grid, points in photos]
        return unit(np.array(made, np.float32))

    return rows(gallery), rows(queries)


def unit(rows: Rows) -> Rows:
    """Rows of unit length."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)


def shortened(gallery: Rows, queries: Rows) -> tuple[Rows, Rows]:
    """Rows of 1024 values, as the model has them."""
    project = Projection(learn_directions(list(gallery), 768), 1024).project
    return np.array([project(row) for row in gallery]), np.array([project(row) for row in queries])


def whitened(gallery: Rows, queries: Rows, power: float, shrinkage: float) -> tuple[Rows, Rows]:
    """Rows whose directions are evened out, as the gallery's covariance, shrunk towards its mean variance, says."""
    mean = gallery.mean(axis=0)
    _, lengths, directions = np.linalg.svd(gallery - mean, full_matrices=False)
    variances = lengths**2 / len(gallery)
    even = shrinkage * variances.mean()
    gains = ((1 - shrinkage) * variances + even) ** (-power / 2)

    def row(photos: Rows) -> Rows:
        along = (photos - mean) @ directions.T
        outside = photos - mean - along @ directions
        return unit(np.concatenate((along * gains, outside * even ** (-power / 2)), axis=1))

    return row(gallery), row(queries)


def places_line(
    source: Source,
    described: Sequence[Described],
    variant: Callable[[Sequence[Described], Sequence[Described]], tuple[Rows, Rows]],
    known: Sequence[str],
    unknown: Sequence[str],
) -> str:
    """A gallery of the known places, asked by their queries and by those of the unknown places."""
    pairs = list(zip(source.photos, described, strict=True))
    held = [pair for pair in pairs if pair[0].split == "gallery" and pair[0].place in known]
    asking = [pair for pair in pairs if pair[0].split == "query" and pair[0].place in {*known, *unknown}]
    gallery, queries = variant([found for _, found in held], [found for _, found in asking])
    similarities = queries @ gallery.T
    order = np.argsort(-similarities, axis=1, kind="stable")
    names = np.array([photo.place for photo, _ in held])
    is_known = np.array([photo.place in known for photo, _ in asking])
    right = names[order] == np.array([photo.place for photo, _ in asking])[:, np.newaxis]
    ranks = [np.flatnonzero(row) + 1 for row in right[is_known]]
    best = similarities.max(axis=1)
    auroc = metrics.auroc(best[is_known], best[~is_known])
    return f"{metrics.mean_average_precision(ranks):.3f} {metrics.recall_at_k(ranks, 1):.3f} {auroc:.3f}"


def frames_line(
    source: Source,
    described: Sequence[Described],
    variant: Callable[[Sequence[Described], Sequence[Described]], tuple[Rows, Rows]],
) -> str:
    """Frames of one walk, asked by those of another."""
    pairs = sorted(zip(source.photos, described, strict=True), key=lambda pair: str(pair[0].path))
    sides = [[found for photo, found in pairs if photo.split == split] for split in ("gallery", "query")]
    gallery, queries = variant(*sides)
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    right = np.abs(order - np.arange(len(order))[:, np.newaxis]) <= 3
    ranks = [np.flatnonzero(row) + 1 for row in right]
    return f"{metrics.mean_average_precision(ranks):.3f} {metrics.recall_at_k(ranks, 1):.3f}"


def costs(source: Source) -> None:
    """Milliseconds of processor time a photo, reading and embedding."""
    data = [images.read_bytes(source.file(photo)) for photo in source.of("gallery")[:TIMED]]
    for name in ("vlad", "efficientnet-lite0", "efficientnet-lite0+vlad"):
        model = load_model(name)
        began = time.process_time()
        model = fit_model(model, source, source.of("gallery")[:TIMED])
        fitted = time.process_time()
        model.infer([model.read(photo) for photo in data])
        cost = (time.process_time() - fitted) * 1000 / TIMED
        print(f"{name}: {cost:.0f} ms of a core a photo, {(fitted - began) * 1000 / TIMED:.0f} ms to learn from one")


if __name__ == "__main__":
    main()
